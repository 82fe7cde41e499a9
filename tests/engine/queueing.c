/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting times against queueing theory: a worker of one place whose steps take a known time is a server, and a
 * request's output length its service time. M/M/1 and M/G/1 by Pollaczek and Khinchine's formula (with the moments of
 * the lengths as they are in the file), M/M/k by Erlang's. The mean over independent runs must lie within four standard
 * errors of theory, and those must be small enough to tell.
 */
#include <math.h>

#include "../support.h"
#include "harness.h"
#include "tandem/base.h"

#define STEP_S 1e-3
#define PREFILL_S 5e-4
enum { RUNS = 8, REQUESTS = 40000, LENGTHS = 20000 };

#define NUMBER(name, number, unit) \
#name " = { value = " number "; unit = \"" unit "\"; evidence = \"measured\"; source = \"made\"; };\n"
#define CHIP \
  "title = \"a server\"; kind = \"chip\";\n" NUMBER(memory_bytes, "80", "GB") NUMBER(memory_bandwidth, "1", "TB/s")  \
      NUMBER(memory_efficiency, "1", "1") NUMBER(compute_efficiency, "1", "1") NUMBER(op_overhead, "1", "us")        \
          NUMBER(flops_f32, "1", "TFLOP/s") NUMBER(flops_f16, "1", "TFLOP/s") "steps = ({ model = \"Llama-3-8B\"; "  \
      "tensor = 1;\nprefill = {" NUMBER(step, "0.5", "ms") NUMBER(token, "0", "us") NUMBER(square, "0", "ns")        \
          "};\ndecode = {" NUMBER(step, "1", "ms") NUMBER(context, "0", "us") NUMBER(sequence, "0", "us") "}; });\n"

static void write_file(const char *name, const char *text) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", harness_scratch(), name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

/* Output lengths with the mean 1 + steps; the moments of the service time. */
struct service {
  double mean, square;
};
static struct service write_lengths(double (*law)(double unit), double steps) {
  struct service service = {0};
  char path[4200];
  snprintf(path, sizeof path, "%s/lengths.csv", harness_scratch());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int i = 0; i < LENGTHS; i++) {
    long output = 1 + lround(steps * law(td_random_unit(3, 0, (uint64_t)i)));
    double time = PREFILL_S + (double)(output - 1) * STEP_S;
    fprintf(file, "8,%ld\n", output);
    service.mean += time / LENGTHS;
    service.square += time * time / LENGTHS;
  }
  assert_int_equal(fclose(file), 0);
  return service;
}

static double exponential(double unit) {
  return -log(1 - unit);
}
static double two_kinds(double unit) {
  return unit < 0.9 ? 0.5 : 5.5;
}

static double mean_wait(int servers, double rate, int seed) {
  char config[4200], out[16384];
  snprintf(config, sizeof config,
           "name = \"queue\"; seed = %d; model = \"%s/experiments/models/llama-3-8b.cfg\";\n"
           "engine = { pace = \"priced\"; policy = \"colocated\"; chunk_tokens = 0; batch_sequences = 1; };\n"
           "cluster = { pools = ( { name = \"server\"; backend = \"modelled\"; device = \"./server.cfg\"; count = %d; "
           "} ); };\n"
           "workload = { source = { format = \"lengths\"; file = \"lengths.csv\"; arrivals = \"poisson\"; rate = %.9g; "
           "requests = %d; draw = true; }; };\n",
           seed, TANDEM_SOURCE_DIR, servers, rate, REQUESTS);
  write_file("queue.cfg", config);
  int code = test_run(out, sizeof out, "%s run %s/queue.cfg --no-trace --json 2>&1", TANDEM_PROGRAM, harness_scratch());
  if (code) fail_msg("%s", out);
  const char *at = strstr(out, "\"queueing\"");
  assert_non_null(at);
  at = strstr(at, "\"mean\": ");
  assert_non_null(at);
  return strtod(at + 8, NULL);
}

static void compare(const char *what, int servers, double rate, double theory) {
  double waits[RUNS], mean = 0, square = 0;
  for (int i = 0; i < RUNS; i++) {
    waits[i] = mean_wait(servers, rate, i + 1);
    mean += waits[i] / RUNS;
  }
  for (int i = 0; i < RUNS; i++) square += (waits[i] - mean) * (waits[i] - mean) / (RUNS - 1);
  double error = sqrt(square / RUNS);
  print_message("%s: waits %.6f s, theory %.6f s, standard error %.6f s\n", what, mean, theory, error);
  if (fabs(mean - theory) > 4 * error) fail_msg("%s: off by %.1f standard errors", what, (mean - theory) / error);
  if (error > 0.04 * theory) fail_msg("%s: the runs differ too much to tell", what);
}

/* Mean wait of M/G/1: rate E[S^2] / (2 (1 - rate E[S])). */
static void one_server(const char *what, double (*law)(double unit)) {
  struct service service = write_lengths(law, 200);
  double rate = 0.7 / service.mean;
  compare(what, 1, rate, rate * service.square / (2 * (1 - rate * service.mean)));
}

static void m_m_1(void **state) {
  (void)state;
  one_server("M/M/1", exponential);
}

static void m_g_1(void **state) {
  (void)state;
  one_server("M/G/1", two_kinds);
}

/* Erlang's C: the chance to wait at k servers of `load` in all; the mean wait is C S / (k - load). */
static void m_m_k(void **state) {
  (void)state;
  enum { SERVERS = 5 };
  struct service service = write_lengths(exponential, 400);
  double load = 0.8 * SERVERS, term = 1, sum = 0;
  for (int i = 0; i < SERVERS; i++) {
    sum += term;
    term *= load / (i + 1);
  }
  double busy = term * SERVERS / (SERVERS - load), waits = busy / (sum + busy);
  compare("M/M/5", SERVERS, load / service.mean, waits * service.mean / (SERVERS - load));
}

static int prepare(void **state) {
  (void)state;
  write_file("server.cfg", CHIP);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(m_m_1), cmocka_unit_test(m_g_1), cmocka_unit_test(m_m_k)};
  return cmocka_run_group_tests(tests, prepare, NULL);
}
