/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/course.h"

#include <stdlib.h>
#include <string.h>

#include "lpu/decoder.h"
#include "lpu/reference.h"

int32_t lpu_course_id(int32_t row, int32_t position, int32_t vocab) {
  return (int32_t)((uint32_t)(row * 131 + position * 37 + 5) % (uint32_t)vocab);
}

void lpu_assert_same_bits(const float *found, const float *expected, int32_t count, const char *what, int32_t row,
                          int32_t position) {
  for (int32_t i = 0; i < count; i++) {
    if (memcmp(&found[i], &expected[i], sizeof *found) == 0) continue;
    fail_msg("%s: row %d, position %d, logit %d: found %.9g, expected %.9g", what, row, position, i, (double)found[i],
             (double)expected[i]);
  }
}

void lpu_course_run(const struct lpu_course *course, const struct lpu_mode *mode) {
  struct lpu_decoder decoder;
  struct lpu_reference *reference = NULL;
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .chips = course->chips,
                                   .rows = course->rows,
                                   .block_tokens = course->block_tokens,
                                   .context = course->context};
  lpu_decoder_open(&decoder, "groq-lpu-v1", course->model, &options);
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, course->context);
  numbers.block_tokens = course->block_tokens;
  numbers.sequences = course->rows;
  assert_ok(lpu_reference_open(decoder.model, &numbers, &reference));
  int32_t vocab = td_model_shape(decoder.model)->vocab, *ids = calloc((size_t)course->rows, sizeof *ids);
  int32_t *positions = calloc((size_t)course->rows, sizeof *positions);
  float *found = calloc((size_t)(course->rows * vocab), sizeof *found),
        *expected = calloc((size_t)vocab, sizeof *found);
  assert_true(ids && positions && found && expected);
  for (int32_t step = 0; step < course->steps; step++) {
    for (int32_t r = 0; r < course->rows; r++) {
      positions[r] = step > r * course->lag ? step - r * course->lag : 0;
      ids[r] = lpu_course_id(r, positions[r], vocab);
    }
    lpu_decoder_step(&decoder, ids, positions, step < 2 || positions[0] % course->block_tokens == 0, found);
    for (int32_t r = 0; r < course->rows; r++) {
      if (step < r * course->lag) continue;
      assert_ok(lpu_reference_feed(reference, r, &ids[r], 1, 1, expected));
      lpu_assert_same_bits(found + (int64_t)r * vocab, expected, vocab, mode->name, r, positions[r]);
    }
  }
  free(ids);
  free(positions);
  free(found);
  free(expected);
  lpu_reference_close(reference);
  lpu_decoder_close(&decoder);
}
