/* SPDX-License-Identifier: Apache-2.0 */
#include "fiber.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define ASAN_FIBERS 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_FIBERS 0
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulated {

/* Kernels keep small arrays on the stack; instrumented builds need several times as much. Untouched pages cost
 * nothing, and the lowest one is not mapped, so that an overflow is a crash. */
constexpr size_t stack_bytes = 256 * 1024, guard_bytes = 4096;

struct fiber {
  void *pointer = nullptr; /* the saved stack pointer */
  unsigned char *stack = nullptr;
  void (*entry)() = nullptr;
#if !defined(__x86_64__)
  ucontext_t context;
#endif
#if ASAN_FIBERS
  void *fake = nullptr;
  const void *bottom = nullptr;
  size_t size = 0;
#endif
};

namespace {

auto &pool = *new std::vector<fiber *>; /* outlives everything: the process ends with it */
fiber host;
[[maybe_unused]] fiber *leaving; /* who switched last */

fiber *make() {
  auto *made = new fiber;
  void *stack = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED || mprotect(stack, guard_bytes, PROT_NONE)) {
    std::fprintf(stderr, "emulated device: no memory for a thread's stack\n");
    std::abort();
  }
  made->stack = static_cast<unsigned char *>(stack);
  return made;
}

[[maybe_unused]] void arrived(fiber *self) {
#if ASAN_FIBERS
  const void *bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(self->fake, &bottom, &size);
  if (leaving == &host) host.bottom = bottom, host.size = size;
#else
  (void)self;
#endif
}

}  // namespace

#if defined(__x86_64__)

/* Saves what a call must preserve, changes stacks, restores. */
extern "C" void emulated_switch(void **save, void *load);
asm(R"(
.text
.p2align 4
.hidden emulated_switch
.globl emulated_switch
.type emulated_switch, @function
emulated_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulated_switch, .-emulated_switch
)");

namespace {
fiber *starting;
[[noreturn]] void start() {
  fiber *self = starting;
  arrived(self);
  self->entry();
  std::abort();
}
}  // namespace

static void prepare(fiber *one) {
  auto *top = reinterpret_cast<uint64_t *>(one->stack + stack_bytes);
  *--top = 0; /* keeps the stack aligned as after a call */
  *--top = reinterpret_cast<uint64_t>(&start);
  top -= 6; /* the registers that emulated_switch pops */
  for (int i = 0; i < 6; i++) top[i] = 0;
  one->pointer = top;
}
static void change(fiber *from, fiber *to) {
  starting = to;
  emulated_switch(&from->pointer, to->pointer);
}

#else

static void start_context() {
  fiber *self = leaving->pointer ? static_cast<fiber *>(leaving->pointer) : nullptr;
  arrived(self);
  self->entry();
  std::abort();
}
static void prepare(fiber *one) {
  getcontext(&one->context);
  one->context.uc_stack.ss_sp = one->stack;
  one->context.uc_stack.ss_size = stack_bytes;
  one->context.uc_link = nullptr;
  makecontext(&one->context, start_context, 0);
}
static void change(fiber *from, fiber *to) {
  from->pointer = to;
  swapcontext(&from->context, &to->context);
}

#endif

fiber *fiber_take(void (*entry)()) {
  fiber *one;
  if (pool.empty()) {
    one = make();
  } else {
    one = pool.back();
    pool.pop_back();
  }
  one->entry = entry;
#if ASAN_FIBERS
  one->fake = nullptr;
  one->bottom = one->stack;
  one->size = stack_bytes;
  __asan_unpoison_memory_region(one->stack, stack_bytes); /* frames that a failed launch left */
#endif
  prepare(one);
  return one;
}

void fiber_give_back(fiber *used) {
  pool.push_back(used);
}

void fiber_switch(fiber *from, fiber *to) {
  leaving = from;
#if ASAN_FIBERS
  __sanitizer_start_switch_fiber(&from->fake, to->bottom, to->size);
#endif
  change(from, to);
  arrived(from);
}

fiber *fiber_host() {
  return &host;
}

}  // namespace emulated
