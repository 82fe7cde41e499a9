/* SPDX-License-Identifier: Apache-2.0
 *
 * A thread starts on the running fiber when the one before it has returned, so that a kernel without barriers never
 * switches; a thread that has to wait keeps its fiber, and the next one starts on another.
 */
#include "grid.h"

#include <cstdarg>
#include <cstdio>
#include <vector>

#include "fiber.h"
#include "poison.h"

namespace emulated {

uint3 thread_index, block_index, block_size, grid_size;
kernel *kernels;

namespace {

constexpr size_t shared_guard = 256;

struct pending_copy {
  void *to;
  const void *from;
  unsigned bytes, filled, group;
};

struct thread {
  fiber *on;
  int waits_at;    /* line, 0: it does not wait */
  unsigned groups; /* of copies, committed */
  std::vector<pending_copy> copies;
};

/* Two rounds of values: while some lanes still read one, others may have begun the next. */
struct warp {
  uint64_t values[2][warp_lanes];
  unsigned round, arrived, mask;
  int line;
};

const launch *now;
thread threads[most_threads];
warp warps[most_threads / warp_lanes];
unsigned count, unstarted, finished, current, at_barrier;
int barrier_line;
bool descending;
unsigned turns;              /* launches so far */
std::vector<unsigned> ready; /* threads that may go on, a queue */
size_t ready_first;
fiber *running;
std::vector<fiber *> idle, taken;
std::string failure;
alignas(128) unsigned char static_memory[most_static_shared + shared_guard];
alignas(128) unsigned char dynamic_memory[most_dynamic_shared + shared_guard];
size_t static_bytes;

void go(fiber *to) {
  fiber *from = running;
  running = to;
  fiber_switch(from, to);
}

void enter(unsigned index) {
  current = index;
  thread_index = {index, 0, 0};
}

void body();

fiber *spare() {
  if (idle.empty()) {
    taken.push_back(fiber_take(body));
    return taken.back();
  }
  fiber *one = idle.back();
  idle.pop_back();
  return one;
}

/* The fiber that goes on when the running one cannot: the longest ready thread's, else one for a new thread; the host's
 * if there is neither. */
fiber *next_fiber() {
  if (ready_first < ready.size()) {
    enter(ready[ready_first++]);
    return threads[current].on;
  }
  return unstarted < count ? spare() : fiber_host();
}

/* Lets others run until somebody has woken this thread. */
void wait(int line) {
  unsigned self = current;
  threads[self].waits_at = line;
  go(next_fiber());
  threads[self].waits_at = 0;
}

void wake(unsigned index) {
  if (ready_first == ready.size()) ready.clear(), ready_first = 0;
  ready.push_back(index);
}

/* What a fiber does: threads that have not started, one after the other; then it is idle. */
void body() {
  for (;;) {
    while (unstarted < count) {
      unsigned turn = unstarted++;
      enter(descending ? count - 1 - turn : turn);
      threads[current].on = running;
      now->what->call(now->arguments);
      finished++;
    }
    fiber *next = next_fiber();
    idle.push_back(running);
    go(next);
  }
}

void start_block() {
  for (unsigned i = 0; i < count; i++) threads[i].waits_at = 0, threads[i].groups = 0, threads[i].copies.clear();
  for (unsigned i = 0; i < count / warp_lanes; i++) warps[i].arrived = 0;
  unstarted = finished = at_barrier = 0;
  ready.clear();
  ready_first = 0;
  static_bytes = 0;
  if (now->dynamic_bytes) poison_fill(dynamic_memory, now->dynamic_bytes, shared_guard);
}

/* Sets `failure` with what ends the launch. */
void describe(const char *text) {
  char where[160];
  std::snprintf(where, sizeof where, "kernel %s, block (%u, %u, %u), thread %u: ", now->what->name, block_index.x,
                block_index.y, block_index.z, current);
  failure = std::string(where) + text;
}

void check_block() {
  if (finished < count) {
    unsigned waiting = 0;
    while (waiting < count - 1 && !threads[waiting].waits_at) waiting++;
    char text[160];
    std::snprintf(text, sizeof text, "%u threads of %u have returned and thread %u waits at line %d for ever", finished,
                  count, waiting, threads[waiting].waits_at);
    describe(text);
  } else if (static_bytes && !poison_intact(static_memory + static_bytes, shared_guard)) {
    describe("a write past the end of shared memory");
  } else if (now->dynamic_bytes && !poison_intact(dynamic_memory + now->dynamic_bytes, shared_guard)) {
    describe("a write past the end of dynamic shared memory");
  }
}

void run_block(unsigned index) {
  unsigned plane = grid_size.x * grid_size.y;
  block_index = {index % grid_size.x, index % plane / grid_size.x, index / plane};
  descending = (index + turns) % 2 != 0;
  start_block();
  running = fiber_host();
  go(spare());
  if (failure.empty()) check_block();
}

}  // namespace

void fail(const char *format, ...) {
  char text[256];
  va_list rest;
  va_start(rest, format);
  std::vsnprintf(text, sizeof text, format, rest);
  va_end(rest);
  describe(text);
  go(fiber_host());
  __builtin_unreachable(); /* the host does not come back to a launch that failed */
}

void barrier(int line) {
  if (at_barrier && barrier_line != line) {
    fail("a barrier at line %d while %u threads wait at the one of line %d", line, at_barrier, barrier_line);
  }
  barrier_line = line;
  if (++at_barrier < count) {
    wait(line);
    return;
  }
  at_barrier = 0;
  for (unsigned turn = 0; turn < count; turn++) {
    unsigned index = descending ? count - 1 - turn : turn;
    if (index != current) wake(index);
  }
}

const uint64_t *exchange(unsigned mask, uint64_t value, int line) {
  unsigned first = current / warp_lanes * warp_lanes, self = current % warp_lanes;
  warp &mine = warps[first / warp_lanes];
  if (!(mask >> self & 1)) fail("line %d: lane %u is not in the mask %08x it names", line, self, mask);
  if (mine.arrived && (mine.mask != mask || mine.line != line)) {
    fail("a warp operation at line %d, mask %08x, while lanes %08x are at line %d, mask %08x", line, mask, mine.arrived,
         mine.line, mine.mask);
  }
  uint64_t *values = mine.values[mine.round % 2];
  mine.mask = mask;
  mine.line = line;
  mine.arrived |= 1u << self;
  values[self] = value;
  if (mine.arrived != mask) {
    wait(line);
    return values;
  }
  mine.arrived = 0;
  mine.round++;
  for (unsigned turn = 0; turn < warp_lanes; turn++) {
    unsigned index = descending ? warp_lanes - 1 - turn : turn;
    if (mask >> index & 1 && index != self) wake(first + index);
  }
  return values;
}

void warp_barrier(unsigned mask, int line) {
  exchange(mask, 0, line);
}

void *shared(size_t bytes) {
  if (!static_bytes) {
    if (bytes > most_static_shared) fail("%zu bytes of static shared memory, %u at most", bytes, most_static_shared);
    static_bytes = bytes;
    poison_fill(static_memory, bytes, shared_guard);
  }
  if (bytes != static_bytes) fail("two kinds of static shared memory, of %zu and %zu bytes", static_bytes, bytes);
  return static_memory;
}

void *dynamic_shared(size_t bytes) {
  if (bytes > now->dynamic_bytes)
    fail("%zu bytes of dynamic shared memory, launched with %u", bytes, now->dynamic_bytes);
  return dynamic_memory;
}

void copy_later(void *to, const void *from, unsigned bytes, unsigned filled) {
  thread &mine = threads[current];
  if (reinterpret_cast<uintptr_t>(to) % bytes || (filled && reinterpret_cast<uintptr_t>(from) % bytes)) {
    fail("cp.async of %u bytes from %p to %p: not aligned", bytes, from, to);
  }
  mine.copies.push_back({to, from, bytes, filled, mine.groups});
}

void copy_commit() {
  threads[current].groups++;
}

void copy_wait(unsigned groups_left) {
  thread &mine = threads[current];
  size_t kept = 0;
  for (const pending_copy &one : mine.copies) {
    if (one.group + groups_left >= mine.groups) {
      mine.copies[kept++] = one;
      continue;
    }
    std::memcpy(one.to, one.from, one.filled);
    std::memset(static_cast<char *>(one.to) + one.filled, 0, one.bytes - one.filled);
  }
  mine.copies.resize(kept);
}

std::string run_grid(const launch &asked) {
  now = &asked;
  grid_size = asked.grid;
  block_size = asked.block;
  count = asked.block.x;
  failure.clear();
  turns++;
  unsigned blocks = asked.grid.x * asked.grid.y * asked.grid.z;
  for (unsigned i = 0; i < blocks && failure.empty(); i++) run_block(turns % 2 ? i : blocks - 1 - i);
  for (fiber *one : taken) fiber_give_back(one);
  taken.clear();
  idle.clear();
  return failure;
}

}  // namespace emulated
