/* SPDX-License-Identifier: Apache-2.0
 *
 * What a cluster must fulfil beyond its config's grammar. All errors are TD_CONFIG with file:line.
 */
#ifndef ENGINE_CLUSTER_CHECK_H
#define ENGINE_CLUSTER_CHECK_H

#include "cluster.h"

/* The pool's backend exists, has a device here, and has the device file it needs. */
td_status cluster_check_backend(const struct cluster *cluster, int32_t pool, const struct td_backend **out_backend);
/* Every worker has a device here; over ranks only its own rank can tell, and tells when it opens it. */
td_status cluster_check_devices(const struct cluster *cluster);
/* Puts the config's line before a model that could not be opened, if the path is what is wrong. Returns the status. */
td_status cluster_check_model(const struct cluster *cluster, td_status status);
/* The policy and what it goes by. */
td_status cluster_find_policy(struct cluster *cluster);
/* Policy and roles, pace and prices, links, executing after modelled pools. */
td_status cluster_check(const struct cluster *cluster);
/* KV can go from one worker to another: a link where its time is priced, bytes where they will be read. Asked before
 * the run for pools of roles between which the policy sends, and for every pair it comes up with. */
td_status cluster_check_handoff(const struct cluster *cluster, int32_t from, int32_t to);
/* Does the policy send KV from a pool to another, or within one? */
bool cluster_sends(const struct cluster *cluster, int32_t from, int32_t to);
/* Of a cluster where workers execute or the pace is not priced: what is priced has a price. */
td_status cluster_check_prices(const struct cluster *cluster);

#endif
