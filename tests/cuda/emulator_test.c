/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated device itself: that it runs what is right, and notices what is wrong.
 */
#include "driver.h"
#include "emulator/self_kernels.h"
#include "support.h"

enum { INVALID_VALUE = 1, ILLEGAL_ADDRESS = 700, LAUNCH_FAILED = 719, CAPTURE_UNSUPPORTED = 900, INVALIDATED = 901 };

static const struct cuda_driver *driver;
static cuda_context context;
static cuda_stream stream, other;
static cuda_module module;

#define assert_done(call) assert_int_equal(driver->call, CUDA_RESULT_OK)

static int open_device(void **state) {
  (void)state;
  static const unsigned image = 0xba55ed50u; /* a fat binary's first word */
  driver = &cuda_system_get()->driver;
  assert_int_equal(cuda_system_get()->count, 1);
  assert_done(cuDevicePrimaryCtxRetain(&context, 0));
  assert_done(cuCtxSetCurrent(context));
  assert_done(cuStreamCreate(&stream, CUDA_STREAM_NON_BLOCKING));
  assert_done(cuStreamCreate(&other, CUDA_STREAM_NON_BLOCKING));
  assert_done(cuModuleLoadData(&module, &image));
  return 0;
}
static int close_device(void **state) {
  (void)state;
  unsetenv("TANDEM_EMULATED_FAIL");
  driver->cuStreamDestroy_v2(stream);
  driver->cuStreamDestroy_v2(other);
  driver->cuModuleUnload(module);
  return driver->cuDevicePrimaryCtxRelease_v2(0); /* nobody has the context now: what went wrong in it is gone */
}

static unsigned long long memory(size_t bytes) {
  unsigned long long address = 0;
  assert_done(cuMemAlloc_v2(&address, bytes));
  return address;
}

static int run_in(cuda_stream in, const char *name, struct self_args args, unsigned threads, unsigned dynamic) {
  cuda_function function;
  void *parameters[] = {&args};
  assert_done(cuModuleGetFunction(&function, module, name));
  return driver->cuLaunchKernel(function, 1, 1, 1, threads, 1, 1, dynamic, in, parameters, NULL);
}
static void run(const char *name, struct self_args args) {
  assert_int_equal(run_in(stream, name, args, SELF_THREADS, 0), CUDA_RESULT_OK);
}

/* The 64 numbers that `name` leaves in fresh memory; in: 4 * 64 numbers, 1000 and up. */
static void numbers(const char *name, int32_t out[SELF_THREADS]) {
  int32_t in[4 * SELF_THREADS];
  for (int i = 0; i < 4 * SELF_THREADS; i++) in[i] = 1000 + i;
  struct self_args args = {.in = memory(sizeof in), .out = memory(SELF_THREADS * sizeof *out)};
  assert_done(cuMemcpyHtoDAsync_v2(args.in, in, sizeof in, stream));
  run(name, args);
  assert_done(cuMemcpyDtoHAsync_v2(out, args.out, SELF_THREADS * sizeof *out, stream));
  assert_done(cuStreamSynchronize(stream));
  assert_done(cuMemFree_v2(args.in));
  assert_done(cuMemFree_v2(args.out));
}

static void test_right_ones(void **state) {
  (void)state;
  int32_t out[SELF_THREADS];
  for (int round = 0; round < 2; round++) { /* threads ascending, then descending */
    numbers("self_neighbours", out);
    for (int i = 0; i < SELF_THREADS; i++) assert_int_equal(out[i], (i + 1) % SELF_THREADS);
    numbers("self_shuffle", out);
    for (int i = 0; i < SELF_THREADS; i++) assert_int_equal(out[i], i ^ 1);
    numbers("self_copy_behind", out);
    for (int i = 0; i < SELF_THREADS; i++) assert_int_equal(out[i], i % 2 ? 1000 + 4 * i : 0);
  }
}

/* What runs, and is wrong, must show in the numbers. */
static void test_races_show(void **state) {
  (void)state;
  int32_t out[SELF_THREADS];
  int wrong = 0;
  numbers("self_no_barrier", out);
  for (int i = 0; i < SELF_THREADS; i++) wrong += out[i] != (i + 1) % SELF_THREADS;
  assert_int_not_equal(wrong, 0);
  numbers("self_uninitialised", out);
  for (int i = 0; i < SELF_THREADS; i++) assert_int_equal(out[i], -1);
  numbers("self_copy_not_awaited", out);
  for (int i = 0; i < SELF_THREADS; i++) assert_int_equal(out[i], -1);
}

static void fails_with(const char *name, int result) {
  struct self_args args = {.in = 64, .out = memory(SELF_THREADS * sizeof(int32_t))};
  run(name, args); /* queued: nothing has happened yet */
  assert_int_equal(driver->cuStreamSynchronize(stream), result);
  unsigned long long more;
  assert_int_equal(driver->cuMemAlloc_v2(&more, 4), result); /* the context is gone */
}
static void test_half_at_barrier(void **state) {
  (void)state;
  fails_with("self_half_at_barrier", LAUNCH_FAILED);
}
static void test_two_barriers(void **state) {
  (void)state;
  fails_with("self_two_barriers", LAUNCH_FAILED);
}
static void test_half_shuffle(void **state) {
  (void)state;
  fails_with("self_half_shuffle", LAUNCH_FAILED);
}
#if !defined(TANDEM_SANITIZED) /* the sanitizer stops the program at these, as it should */
static void test_past_the_end(void **state) {
  (void)state;
  fails_with("self_past_the_end", ILLEGAL_ADDRESS);
}
static void test_before_the_start(void **state) {
  (void)state;
  fails_with("self_before_the_start", ILLEGAL_ADDRESS);
}
static void test_past_shared(void **state) {
  (void)state;
  fails_with("self_past_shared", LAUNCH_FAILED);
}
#endif
static void test_host_address(void **state) {
  (void)state;
  fails_with("self_add_one", LAUNCH_FAILED); /* reads address 64 */
}

static void test_launch_limits(void **state) {
  (void)state;
  struct self_args args = {.out = memory(1024)};
  assert_int_equal(run_in(stream, "self_shuffle", args, SELF_THREADS + 32, 0), INVALID_VALUE);
  assert_int_equal(run_in(stream, "self_shuffle", args, 48, 0), INVALID_VALUE);
  assert_int_equal(run_in(stream, "self_shuffle", args, 32, 49 * 1024), INVALID_VALUE);
  cuda_function function;
  assert_int_equal(driver->cuModuleGetFunction(&function, module, "self_nothing"), CUDA_RESULT_NOT_FOUND);
  assert_done(cuMemFree_v2(args.out));
}

/* ---- queues ---- */

/* Work happens when somebody waits for it, and reads host memory then. */
static void test_lazy(void **state) {
  (void)state;
  int32_t in[SELF_THREADS] = {0}, out[SELF_THREADS] = {0};
  struct self_args args = {.in = memory(sizeof in), .out = memory(sizeof out), .add = 1};
  cuda_event half_way;
  assert_done(cuEventCreate(&half_way, CUDA_EVENT_DISABLE_TIMING));
  assert_done(cuMemcpyHtoDAsync_v2(args.in, in, sizeof in, stream));
  run("self_add_one", args);
  args.add = 100; /* arguments were taken at the launch */
  assert_done(cuEventRecord(half_way, stream));
  assert_done(cuMemcpyDtoHAsync_v2(out, args.out, sizeof out, stream));
  in[3] = 7;
  assert_int_equal(out[3], 0);
  assert_done(cuEventSynchronize(half_way));
  assert_int_equal(out[3], 0); /* no more than was waited for */
  assert_done(cuStreamSynchronize(stream));
  assert_int_equal(out[3], 8);
  assert_done(cuEventDestroy_v2(half_way));
  assert_done(cuMemFree_v2(args.in));
  assert_done(cuMemFree_v2(args.out));
}

/* Streams know of each other by events alone. */
static void test_two_streams(void **state) {
  (void)state;
  int32_t out[SELF_THREADS];
  struct self_args args = {.in = memory(sizeof out), .out = memory(sizeof out), .add = 1};
  cuda_event zeroed;
  assert_done(cuEventCreate(&zeroed, CUDA_EVENT_DISABLE_TIMING));
  for (int waits = 0; waits < 2; waits++) {
    assert_done(cuMemsetD8Async(args.in, (unsigned char)(waits ? 0 : 1), sizeof out, stream));
    assert_done(cuEventRecord(zeroed, stream));
    if (waits) assert_done(cuStreamWaitEvent(other, zeroed, 0));
    assert_int_equal(run_in(other, "self_add_one", args, SELF_THREADS, 0), CUDA_RESULT_OK);
    assert_done(cuMemcpyDtoHAsync_v2(out, args.out, sizeof out, other));
    assert_done(cuStreamSynchronize(other));
    assert_int_equal(out[0], waits ? 1 : 0); /* without the wait: fresh memory, -1, plus one */
    assert_done(cuStreamSynchronize(stream));
  }
  assert_done(cuEventDestroy_v2(zeroed));
  assert_done(cuMemFree_v2(args.in));
  assert_done(cuMemFree_v2(args.out));
}

static void test_graph(void **state) {
  (void)state;
  int32_t out[SELF_THREADS];
  struct self_args args = {.out = memory(sizeof out), .add = 1};
  cuda_graph graph;
  cuda_graph_exec exec;
  args.in = args.out;
  assert_done(cuStreamBeginCapture_v2(stream, CUDA_CAPTURE_THREAD_LOCAL));
  run("self_add_one", args);
  run("self_add_one", args);
  assert_done(cuStreamEndCapture(stream, &graph));
  assert_done(cuGraphInstantiateWithFlags(&exec, graph, 0));
  assert_done(cuGraphDestroy(graph));
  assert_done(cuMemsetD8Async(args.out, 0, sizeof out, stream));
  for (int i = 0; i < 3; i++) assert_done(cuGraphLaunch(exec, stream));
  assert_done(cuGraphExecDestroy(exec));
  assert_done(cuMemcpyDtoHAsync_v2(out, args.out, sizeof out, stream));
  assert_done(cuStreamSynchronize(stream));
  assert_int_equal(out[9], 6);
  assert_done(cuStreamBeginCapture_v2(stream, CUDA_CAPTURE_THREAD_LOCAL));
  assert_int_equal(driver->cuStreamSynchronize(stream), CAPTURE_UNSUPPORTED);
  assert_int_equal(driver->cuStreamEndCapture(stream, &graph), INVALIDATED);
  assert_done(cuMemFree_v2(args.out));
}

/* ---- faults and limits ---- */

static void test_injected(void **state) {
  (void)state;
  unsigned long long address;
  setenv("TANDEM_EMULATED_FAIL", "cuMemAlloc_v2:2=2,execute:2=719", 1);
  assert_done(cuMemAlloc_v2(&address, 64));
  unsigned long long second;
  assert_int_equal(driver->cuMemAlloc_v2(&second, 64), CUDA_RESULT_OUT_OF_MEMORY);
  assert_done(cuMemsetD8Async(address, 0, 64, stream));
  assert_done(cuStreamSynchronize(stream));
  assert_done(cuMemsetD8Async(address, 0, 64, stream));
  assert_int_equal(driver->cuStreamSynchronize(stream), LAUNCH_FAILED);
}

static void test_memory(void **state) {
  (void)state;
  size_t left, total, after;
  assert_done(cuMemGetInfo_v2(&left, &total));
  unsigned long long address = memory(1 << 20), all;
  assert_done(cuMemGetInfo_v2(&after, &total));
  assert_int_equal(left - after, 1 << 20);
  assert_int_equal(driver->cuMemAlloc_v2(&all, total), CUDA_RESULT_OUT_OF_MEMORY);
  assert_int_equal(driver->cuMemFree_v2(address + 256), INVALID_VALUE);
  assert_int_equal(driver->cuMemsetD8Async(address + 1, 0, 1 << 20, stream), INVALID_VALUE);
  assert_done(cuMemFree_v2(address));
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device, close_device)
  const struct CMUnitTest tests[] = {
    TEST(test_right_ones),
    TEST(test_races_show),
    TEST(test_half_at_barrier),
    TEST(test_two_barriers),
    TEST(test_half_shuffle),
#if !defined(TANDEM_SANITIZED)
    TEST(test_past_the_end),
    TEST(test_before_the_start),
    TEST(test_past_shared),
#endif
    TEST(test_host_address),
    TEST(test_launch_limits),
    TEST(test_lazy),
    TEST(test_two_streams),
    TEST(test_graph),
    TEST(test_injected),
    TEST(test_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
