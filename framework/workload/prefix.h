/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: hashes of the prompts' leading blocks. Only whole blocks are named.
 */
#ifndef TANDEM_WORKLOAD_PREFIX_H
#define TANDEM_WORKLOAD_PREFIX_H

#include "stream.h"

#define PREFIX_LEVELS_MAX 16

struct prefixes {
  const struct td_cfg_prefix *levels; /* a tree's, from the root */
  int32_t level_count;
  double *skewed[PREFIX_LEVELS_MAX]; /* sums of the choices' weights; NULL: all alike */
  int64_t block;
  uint64_t seed;
  uint64_t *hashes; /* of the last job */
  size_t capacity;
  int32_t count;
};
td_status prefixes_open(const struct td_cfg_source *source, int64_t block, uint64_t seed,
                        struct prefixes *out_prefixes);
void prefixes_close(struct prefixes *prefixes);

/* Each writes hashes and count. Unit i's path through the tree; *out_tokens come before its own prompt. */
td_status prefixes_tree(struct prefixes *prefixes, uint64_t i, int64_t *out_tokens);
/* `tokens` of a group's text. */
td_status prefixes_group(struct prefixes *prefixes, uint64_t key, int64_t tokens);
/* The prompt and the answer of a session's turn `next`: what it shares with the turn before is the same text. */
td_status prefixes_session(struct prefixes *prefixes, struct session *session);

#endif
