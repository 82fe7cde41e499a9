/* SPDX-License-Identifier: Apache-2.0
 *
 * The ways of computing a product, and how near the logits must come to the float64 reference. LPU_MODE, if defined,
 * chooses one of them.
 */
#ifndef TESTS_LPU_MODES_H
#define TESTS_LPU_MODES_H

#include "tandem/lpu.h"

struct lpu_mode {
  const char *name;
  enum td_lpu_weights weights;
  enum td_lpu_activations activations;
  double most_kl, least_top; /* SmolLM2: mean KL, top-1 in % (one point below a trial in numpy) */
};
static const struct lpu_mode lpu_modes[] = {
    {"f16", TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, 5e-6, 98.7},
    {"f16_i8", TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_F16, 5e-3, 93.6},
    {"i8", TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_I8, 5e-2, 85},
    {"i8x2", TD_LPU_WEIGHTS_I8, TD_LPU_ACTIVATIONS_I8X2, 5e-3, 93.7},
    {"f16_f8", TD_LPU_WEIGHTS_F8, TD_LPU_ACTIVATIONS_F16, 5e-2, 85.7},
    {"f8", TD_LPU_WEIGHTS_F8, TD_LPU_ACTIVATIONS_F8, 7e-2, 84.1},
};
#define LPU_MODES (sizeof lpu_modes / sizeof lpu_modes[0])

#endif
