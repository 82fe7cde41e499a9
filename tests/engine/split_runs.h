/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of one pool whose replicas are many chips, and the prices of their stages.
 */
#ifndef TESTS_ENGINE_SPLIT_RUNS_H
#define TESTS_ENGINE_SPLIT_RUNS_H

#include "rows.h"
#include "tandem/cost.h"

extern const char *split_folder; /* with random_cluster_files in it */

struct split_setup {
  const char *model, *pool, *engine; /* further keys */
  int requests, prompt, output;
  const char *more; /* of the cluster */
};

void split_run(const struct split_setup *setup, struct rows *rows); /* must end well */
void split_fails(const struct split_setup *setup, const char *words);
const struct td_row_step *split_step(const struct rows *rows, size_t i);
const struct td_row_request *split_request(const struct rows *rows, size_t i);

struct priced {
  struct td_device_params *chip;
  struct td_graph *graph;
};

struct priced priced_open(const char *model_name);
void priced_close(struct priced *priced);
/* One sequence of `past` positions brings `tokens` more, and gets so many, or one. */
int64_t priced_chunk(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens,
                     int64_t yields);
int64_t priced_stage(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens);
/* Over fast.cfg: 2 us and 5 GB/s; a row is 256 numbers of 2 bytes, an id 4 bytes. */
int64_t priced_hop(int64_t rows);
enum { BACK_PS = 2000000 + 4 * 200 }; /* an id of 4 bytes */

#define PIPELINE "pipeline_link = \"fast.cfg\"; pipeline = "

#endif
