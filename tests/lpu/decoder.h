/* SPDX-License-Identifier: Apache-2.0
 *
 * A model compiled for an LPU and stepped by hand: what tests of compiled programs share.
 */
#ifndef TESTS_LPU_DECODER_H
#define TESTS_LPU_DECODER_H

#include "lpu/compile.h"
#include "support.h"
#include "tandem/lpu.h"
#include "tandem/model.h"

/* Fails the test with the error's text. */
#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

struct lpu_decoder {
  struct td_device_params *params;
  const struct td_lpu_machine *machine;
  struct td_lpu_machine varied;
  struct td_model *model;
  struct td_graph *graph;
  const void **weights;
  struct td_lpu_options options;
  struct td_lpu_program *program;
  struct td_lpu_system *system;
  int32_t *blocks; /* row r's are r * per_row ... */
  int32_t per_row;
  struct td_lpu_row *rows;
};

/* `rows` sequences of at most `context` positions, or with options->kv_blocks one, whose tokens are the rows. Fails the
 * test on any error. */
void lpu_decoder_open(struct lpu_decoder *decoder, const char *device, const char *model,
                      const struct td_lpu_options *options);
/* The same on a machine with other parameters ("name=value", NULL at the end). */
void lpu_decoder_open_varied(struct lpu_decoder *decoder, const char *device, const char *const *sets,
                             const char *model, const struct td_lpu_options *options);
/* The same on a machine of `words` words a slice, in a layout (NULL: the compiler's choice). */
void lpu_decoder_open_laid_out(struct lpu_decoder *decoder, const char *device, int32_t words, const char *model,
                               const struct td_lpu_options *options, const struct lpu_layout *layout);
void lpu_decoder_close(struct lpu_decoder *decoder);
/* One step of rows rows (lpu_decoder_step: all): ids[r] at positions[r] in row r; logits: [rows][vocab]. Checks the
 * program's step against the rules first if `check`, and always that counted cycles are those of the closed form. */
void lpu_decoder_step(struct lpu_decoder *decoder, const int32_t *ids, const int32_t *positions, bool check,
                      float *logits);
void lpu_decoder_step_of(struct lpu_decoder *decoder, int32_t rows, const int32_t *ids, const int32_t *positions,
                         bool check, float *logits);

#endif
