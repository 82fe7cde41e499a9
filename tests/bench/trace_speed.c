/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a trace is written and read on one core, and how large it gets: by hand, not a test. CPU time of the
 * process, user and system.
 *
 *   trace_speed FILE.h5 [REQUESTS [DEVICES [disaggregated]]]      writes FILE.h5 and leaves it there
 *   trace_speed --read FILE.h5...                                 reads traces that are there, of tandem run say
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../traces/fleet.h"
#include "tandem/export.h"

struct counted {
  uint64_t rows, tokens;
};

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "trace_speed: %s\n", td_error_text());
  exit(1);
}

/* Children count: loading starts one. */
static double cpu_seconds(void) {
  double sum = 0;
  const int who[2] = {RUSAGE_SELF, RUSAGE_CHILDREN};
  for (int i = 0; i < 2; i++) {
    struct rusage use;
    getrusage(who[i], &use);
    sum += (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
           1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
  }
  return sum;
}

static td_status count_row(void *context, enum td_table table, const void *row) {
  struct counted *counted = context;
  counted->rows++;
  if (table == TD_TABLE_REQUESTS) counted->tokens += ((const struct td_row_request *)row)->output_tokens;
  return TD_OK;
}

static void write_speed(const char *path, const struct fleet *fleet, struct counted *counted) {
  struct stat info;
  uint64_t rows = 0;
  double start = cpu_seconds();
  must(fleet_rows(fleet, count_row, counted));
  double middle = cpu_seconds();
  must(fleet_write(path, fleet, &rows));
  double making = middle - start, writing = cpu_seconds() - middle - making;
  if (stat(path, &info)) exit(1);
  printf("write: %" PRIu64
         " requests, %.1f rows and %.1f tokens each; %.2f us a request, %.3f us a row; %.3f B a token\n",
         fleet->requests, (double)rows / (double)fleet->requests, (double)counted->tokens / (double)fleet->requests,
         writing / (double)fleet->requests * 1e6, writing / (double)rows * 1e6,
         (double)info.st_size / (double)counted->tokens);
}

static uint64_t stream(const struct td_trace *trace) {
  struct td_trace_stream *stream = NULL;
  const struct td_trace_token *rows = NULL;
  uint64_t tokens = 0;
  size_t count = 0;
  must(td_trace_stream_open(trace, &stream));
  do {
    must(td_trace_stream_next(stream, &rows, &count));
    tokens += count;
  } while (count);
  td_trace_stream_close(stream);
  return tokens;
}

static uint64_t by_request(const struct td_trace *trace) {
  uint64_t tokens = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    struct td_trace_token *rows = NULL;
    uint64_t count = 0;
    must(td_trace_request_tokens(trace, i, &rows, &count));
    tokens += count;
    free(rows);
  }
  return tokens;
}

static uint64_t export(const struct td_trace *trace) {
  FILE *out = fopen("/dev/null", "w");
  if (!out) exit(1);
  must(td_export_csv(trace, "tokens", out));
  fclose(out);
  uint64_t tokens = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) tokens += trace->requests[i].output_tokens;
  return tokens;
}

/* Best of three. */
static double million_rows_a_second(uint64_t (*read)(const struct td_trace *trace), const struct td_trace *trace) {
  double best = 0;
  for (int i = 0; i < 3; i++) {
    double start = cpu_seconds();
    uint64_t tokens = read(trace);
    double rate = (double)tokens / (cpu_seconds() - start) / 1e6;
    if (rate > best) best = rate;
  }
  return best;
}

static void read_speed(const char *path) {
  struct td_trace *trace = NULL;
  double start = cpu_seconds();
  must(td_trace_load(path, &trace));
  double load = cpu_seconds() - start;
  printf("load: %.2f s; million token rows/s: request by request %.1f, stream %.1f, export %.1f\n", load,
         million_rows_a_second(by_request, trace), million_rows_a_second(stream, trace),
         million_rows_a_second(export, trace));
  td_trace_free(trace);
}

static int read_all(int count, char **paths) {
  for (int i = 0; i < count; i++) {
    printf("%s: ", paths[i]);
    read_speed(paths[i]);
  }
  return 0;
}

int main(int argc, char **argv) {
  struct fleet fleet = {.requests = 200000, .seed = 42, .devices = 40};
  struct counted counted = {0};
  bool read = argc > 1 && !strcmp(argv[1], "--read");
  if (read && argc > 2) return read_all(argc - 2, argv + 2);
  if (argc < 2 || argc > 5 || read) {
    fprintf(stderr,
            "usage: trace_speed FILE.h5 [REQUESTS [DEVICES [disaggregated]]]\n"
            "       trace_speed --read FILE.h5...\n");
    return 2;
  }
  if (argc > 2) fleet.requests = strtoull(argv[2], NULL, 10);
  if (argc > 3) fleet.devices = (uint32_t)strtoul(argv[3], NULL, 10);
  fleet.disaggregated = argc > 4 && !strcmp(argv[4], "disaggregated");
  write_speed(argv[1], &fleet, &counted);
  read_speed(argv[1]);
  return 0;
}
