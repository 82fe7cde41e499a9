/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has the least work? A tournament over all workers for each role, so that asking and telling cost the logarithm of
 * their number.
 */
#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H

#include "tandem/policy.h"

struct td_load_index;

/* Borrows the views until load_close: they are read when a worker is told to have changed. */
td_status load_open(const struct td_worker_view *views, int32_t count, struct td_load_index **out_index);
void load_close(struct td_load_index *index); /* NULL is fine */
/* The view of a worker has changed, or will before the next question. */
void load_changed(struct td_load_index *index, int32_t worker);
/* Before a worker takes a role that none had when the index was opened. */
td_status load_role(struct td_load_index *index, int role);
/* td_policy_least_work's answer. */
int32_t load_least(struct td_load_index *index, uint32_t roles, int64_t blocks);

#endif
