/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine's rules once more, as plainly as they can be said: colocated workers, one step at a time, every list gone
 * through from its beginning, every step priced from its sequences. Shares no code with the engine.
 */
#ifndef TESTS_ENGINE_PLAIN_H
#define TESTS_ENGINE_PLAIN_H

#include <stdbool.h>
#include <stdint.h>

struct plain_request {
  int64_t arrival_ps, prompt, output;
  /* what became of it */
  int64_t first_step_ps, first_token_ps, finished_ps;
  int32_t worker;
  /* on the way */
  int64_t computed, emitted, pauses, joined;
  int64_t share; /* of its worker's step: tokens, 0 none */
  bool waits, paused;
};

struct plain_run {
  const char *model, *device; /* files */
  int32_t workers;
  int64_t blocks, block_tokens, batch_sequences, batch_tokens, chunk_tokens, pauses;
  bool prompts_first;
  struct plain_request *requests;
  int32_t count;
};

/* Fails the test if anything cannot be opened or priced. */
void plain_simulate(struct plain_run *run);

#endif
