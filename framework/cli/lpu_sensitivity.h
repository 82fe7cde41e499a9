/* SPDX-License-Identifier: Apache-2.0
 *
 * How a step's cycles move over the declared ranges of what vendors do not publish.
 */
#ifndef TD_CLI_LPU_SENSITIVITY_H
#define TD_CLI_LPU_SENSITIVITY_H

#include "tandem/devices.h"
#include "tandem/lpu.h"
#include "tandem/lpu_collective.h"

/* What is compiled for each machine, without data, and which step of it is looked at. */
struct lpu_question {
  const struct td_device_params *params;
  const struct td_graph *graph;
  struct td_slice slice;
  struct td_lpu_options options; /* chips as the answer has them */
  int32_t rows, position;
  /* What is counted of a program instead of that step; NULL: nothing else. */
  td_status (*count)(void *context, const struct td_lpu_program *program, int64_t *out_cycles);
  void *context;
  const struct td_lpu_collective *collective; /* NULL, or this instead of a step */
};

/* Of one machine: cycles, or 0 and why the machine's check or the compiler refuses it. */
struct lpu_answer {
  int64_t cycles;
  char refused[400];
};
struct lpu_parameter {
  const char *name;
  const struct td_quantity *quantity;
  struct lpu_answer low, high;
};
/* All parameters that matter at the ends that make the step faster, or slower. */
struct lpu_extreme {
  struct lpu_answer together;  /* refused: then parameters join one by one, the largest effect first */
  struct lpu_answer *left_out; /* [count] of the parameters: refused says why one did not join */
  double *joined;              /* [count]: an end that is refused alone, taken beside the others; NaN: none */
  int64_t cycles;              /* of all that joined */
};
struct lpu_sensitivity {
  struct lpu_parameter *parameters; /* the largest effect first */
  int32_t count;
  int64_t nominal;
  struct lpu_extreme fastest, slowest;
  int64_t least, most; /* of all that was compiled */
  double clock_hz;
};
/* Parameters: evidence assumed or secondary, a range, no power. `nominal`: cycles at the values. */
td_status lpu_sensitivity_open(const struct lpu_question *question, int64_t nominal, struct lpu_sensitivity *out);
void lpu_sensitivity_close(struct lpu_sensitivity *sensitivity);

/* `published` in seconds; 0: none. */
void lpu_sensitivity_print(const struct lpu_sensitivity *sensitivity, double published, FILE *out);
/* Members of an object: "sensitivity": {...}. */
void lpu_sensitivity_json(const struct lpu_sensitivity *sensitivity, double published, FILE *out);

#endif
