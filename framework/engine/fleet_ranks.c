/* SPDX-License-Identifier: Apache-2.0
 *
 * Data-parallel attention inside a replica (pools with expert > tensor): groups of chips deal out a step's sequences,
 * and the experts behind take in the tokens of all. A step is as long as the group with most tokens needs.
 *
 * Decoding sequences are dealt out evenly, and of their positions each group has its sequences' share, rounded down.
 * With C positions of S sequences, s of them in the group, a step adds S to C and s to floor(C s / S), so prices of
 * decode steps stay lines. All groups take as many tokens then as that with most (as padded batches do).
 *
 * A request's KV is on one group. Like sequences, blocks are dealt out evenly, so one of R groups has at least the Rth
 * part of what is free, rounded up, wherever requests are; a policy is shown that many, and a request comes in if they
 * are enough for it.
 */
#include "fleet.h"

__extension__ typedef __int128 wide;

void fleet_share(int64_t sequences, struct td_step_stats *stats) {
  int64_t all = stats->v[TD_SYM_SEQS];
  for (int s = TD_SYM_CONTEXT; s <= TD_SYM_FULL_PAIRS && all; s++) {
    stats->v[s] = (int64_t)((wide)(stats->v[s] - all) * sequences / all) + sequences;
  }
  stats->v[TD_SYM_TOKENS] = stats->v[TD_SYM_LOGITS] = stats->v[TD_SYM_SEQS] = sequences;
  stats->v[TD_SYM_DECODES] = sequences;
  stats->v[TD_SYM_DECODE_CONTEXT] = stats->v[TD_SYM_CONTEXT];
}

void fleet_rank_blocks(struct fleet *fleet, int32_t worker, int64_t blocks) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t ranks = fleet->pools[replica->pool].ranks;
  if (ranks == 1) {
    fleet->views[worker].free_blocks += blocks;
    return;
  }
  replica->free_blocks += blocks;
  fleet->views[worker].free_blocks = (replica->free_blocks + ranks - 1) / ranks;
}

int64_t fleet_rank_room(const struct fleet *fleet, const struct replica *replica) {
  const struct fleet_pool *pool = &fleet->pools[replica->pool];
  int64_t room = 0;
  for (int32_t rank = 0; rank < pool->ranks; rank++) {
    if (pool->rank_tokens[rank] < fleet->batch_tokens) room += fleet->batch_tokens - pool->rank_tokens[rank];
  }
  return room;
}

static int32_t extreme(const int64_t *tokens, int32_t ranks, bool most) {
  int32_t found = 0;
  for (int32_t rank = 1; rank < ranks; rank++) {
    if (most ? tokens[rank] > tokens[found] : tokens[rank] < tokens[found]) found = rank;
  }
  return found;
}

static int64_t part_of(int64_t sequences, int32_t ranks, int32_t rank) {
  return sequences / ranks + (rank < sequences % ranks);
}

int64_t fleet_rank_sequences(const struct fleet *fleet, const struct replica *replica, int32_t rank) {
  return part_of(replica->endings.count, fleet->pools[replica->pool].ranks, rank);
}

void fleet_rank_deal(const struct fleet *fleet, const struct replica *replica, int64_t sequences) {
  const struct fleet_pool *pool = &fleet->pools[replica->pool];
  for (int32_t rank = 0; rank < pool->ranks; rank++) pool->rank_tokens[rank] = part_of(sequences, pool->ranks, rank);
}

int32_t fleet_rank_idlest(const struct fleet *fleet, const struct replica *replica) {
  const struct fleet_pool *pool = &fleet->pools[replica->pool];
  return extreme(pool->rank_tokens, pool->ranks, false);
}

int32_t fleet_rank_busiest(const struct fleet *fleet, const struct replica *replica) {
  const struct fleet_pool *pool = &fleet->pools[replica->pool];
  fleet_rank_deal(fleet, replica, replica->endings.count);
  for (size_t i = 0; i < replica->chunk_count; i++) {
    pool->rank_tokens[replica->chunks[i].rank] += replica->chunks[i].tokens;
  }
  return extreme(pool->rank_tokens, pool->ranks, true);
}
