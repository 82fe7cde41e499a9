/* SPDX-License-Identifier: Apache-2.0
 *
 * lpu_products [FIRST LAST STEP]: [2304 x 4096] x [4096 x N] in fp16 on groq-lpu-v1 for N = FIRST, FIRST + STEP ...
 * LAST (1376 3500 4: all that ISCA 2022 shows): cycles and share of the planes' rate, every program checked. And the
 * int8 vector product 1 x 8192 x 8192. Run by hand: some two minutes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tandem/lpu.h"

#define ROWS 2304
#define DEPTH 4096

static int64_t cycles_of(const struct td_lpu_machine *machine, enum td_lpu_type type, int64_t rows, int64_t n,
                         int64_t k) {
  struct td_lpu_program *program = NULL;
  struct td_lpu_row row = {0, NULL, 0};
  struct td_lpu_step step = {&row, 1};
  struct td_lpu_violation violation;
  td_status status = td_lpu_compile_product(machine, type, rows, n, k, &program);
  if (!status) status = td_lpu_check(program, 0, &step, &violation);
  if (status || violation.found) {
    fprintf(stderr, "N = %lld: %s\n", (long long)n, status ? td_error_text() : violation.text);
    exit(1);
  }
  int64_t cycles = td_lpu_program_cycles(program, 0, &step);
  td_lpu_program_free(program);
  return cycles;
}

int main(int argc, char **argv) {
  struct td_device_params *params = NULL;
  if (td_device_params_open("groq-lpu-v1", &params)) {
    fprintf(stderr, "%s\n", td_error_text());
    return 1;
  }
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  long first = argc > 1 ? atol(argv[1]) : 1376, last = argc > 2 ? atol(argv[2]) : 3500;
  long step = argc > 3 ? atol(argv[3]) : 4, count = 0, worst_n = 0;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  double worst = 1.0, sum = 0.0;
  printf("%8s %10s %8s\n", "N", "cycles", "share %");
  for (long n = first; n <= last && step > 0; n += step, count++) {
    int64_t cycles = cycles_of(machine, TD_LPU_F16, ROWS, n, DEPTH);
    double share = (double)ROWS * DEPTH * (double)n / ((double)cycles * (double)rates.macs_f16);
    printf("%8ld %10lld %8.2f\n", n, (long long)cycles, 100.0 * share);
    sum += share;
    if (share >= worst) continue;
    worst = share;
    worst_n = n;
  }
  if (count)
    printf("%ld sizes: worst %.2f %% at N = %ld, mean %.2f %%\n", count, 100.0 * worst, worst_n,
           100.0 * sum / (double)count);
  printf("int8 1 x 8192 x 8192: %lld cycles (weight stream alone: 3328)\n",
         (long long)cycles_of(machine, TD_LPU_I8, 1, 8192, 8192));
  td_device_params_close(params);
  return 0;
}
