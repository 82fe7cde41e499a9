/* SPDX-License-Identifier: Apache-2.0
 *
 * Where is a measure least, and who is next with room? For each measure a tournament over all workers of each role, so
 * that asking and telling cost the logarithm of their number.
 */
#ifndef ENGINE_LOAD_H
#define ENGINE_LOAD_H

#include "tandem/policy.h"

struct td_load_index;

/* By td_policy_work, and by a policy's own measures (ending with NULL; NULL: none). Of the views it reads the roles. */
td_status load_open(const struct td_worker_view *views, int32_t count, const td_policy_measure *own,
                    struct td_load_index **out_index);
void load_close(struct td_load_index *index); /* NULL is fine */
/* What a measure says of a worker, or its role or room, has changed or will before the next question. */
void load_changed(struct td_load_index *index, int32_t worker);
/* Before a worker takes a role that none had when the index was opened. */
td_status load_role(struct td_load_index *index, int role);
/* td_policy_least's answer in *out_worker; false: it does not keep the measure. */
bool load_least(const struct td_cluster_view *cluster, td_policy_measure measure, uint32_t roles, int64_t blocks,
                int32_t *out_worker);
/* td_policy_next's. */
int32_t load_next(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks, int32_t from);

#endif
