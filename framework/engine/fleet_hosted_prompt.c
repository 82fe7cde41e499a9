/* SPDX-License-Identifier: Apache-2.0
 *
 * Prompts that workers really compute. A source knows how long its prompts are and which begin alike, not what they
 * say: their ids are drawn, by the hashes of their blocks where they have some, so that equal blocks are of equal ids.
 */
#include <inttypes.h>

#include "fleet_hosted.h"
#include "tandem/base.h"

uint64_t fleet_hosted_stream(const struct fleet *fleet, const struct fleet_request *request) {
  uint64_t seed = (uint64_t)fleet->cluster->experiment->seed;
  return request->session ? td_random(seed, request->session, (uint64_t)request->turn) : request->number;
}

static uint64_t draw(const struct fleet *fleet, const struct fleet_request *request, int64_t at) {
  uint64_t seed = (uint64_t)fleet->cluster->experiment->seed;
  int64_t block = request->prefix_count ? at / request->prefix_tokens : 0;
  if (block >= request->prefix_count) return td_random(seed, fleet_hosted_stream(fleet, request), (uint64_t)at);
  return td_random(seed, request->prefix[block], (uint64_t)(at % request->prefix_tokens));
}

td_status fleet_hosted_prompt(struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct hosted_request *hosted = hosted_request(fleet, slot);
  const int32_t *given = fleet->workload ? NULL : fleet->cluster->workload.jobs[request->number].ids;
  uint64_t vocab = (uint64_t)fleet->cluster->graph->shape.vocab;
  if (hosted->own) return TD_OK;
  hosted->ids = given;
  if (given && !fleet->grow) return TD_OK;
  size_t count = (size_t)request->prompt + (fleet->grow ? (size_t)request->output : 0);
  TD_TRY(td_alloc(count, sizeof *hosted->own, (void **)&hosted->own));
  for (int64_t i = 0; i < request->prompt; i++) {
    hosted->own[i] = given ? given[i] : (int32_t)(draw(fleet, request, i) % vocab);
  }
  hosted->ids = hosted->own;
  return TD_OK;
}

td_status fleet_hosted_check_rows(const struct fleet *fleet, const struct td_job *job) {
  int64_t most = cluster_max_rows(fleet->cluster), rows = job->prompt_tokens;
  if (fleet->grow) rows += job->output_tokens - 1; /* it may start over with all but its last */
  if (!fleet->hosted->executes || fleet->chunk_tokens || rows <= most) return TD_OK;
  return td_config_fail(fleet->cluster->config, "engine.batch_tokens",
                        "found %" PRId64 ", expected at least the %" PRId64 " tokens that request %" PRIu64
                        " may have to prefill, or chunk_tokens that cut them: workers that execute have room for no "
                        "more",
                        most, rows, job->number);
}
