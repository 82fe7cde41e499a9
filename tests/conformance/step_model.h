/* SPDX-License-Identifier: Apache-2.0
 *
 * A whole model for cases of whole steps: small, seeded, written into memory as a GGUF file, with its logits in double
 * precision by plain loops of its own.
 */
#ifndef CONFORMANCE_STEP_MODEL_H
#define CONFORMANCE_STEP_MODEL_H

#include "suite.h"

#define STEP_LAYERS 2
#define STEP_HIDDEN 64
#define STEP_HEADS 4
#define STEP_KV_HEADS 2
#define STEP_HEAD_DIM 16
#define STEP_FFN 96
#define STEP_VOCAB 80
#define STEP_CONTEXT 128

/* Close with td_model_close. */
td_status step_model_open(struct td_model **out_model);
int32_t step_model_id(int64_t position);
/* logits[positions][STEP_VOCAB] of the prompt step_model_id(0), ... */
td_status step_model_logits(const struct td_model *model, int64_t positions, double *logits);

#endif
