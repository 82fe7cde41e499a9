/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes wrong with a pool's workers: the keys, and what must hold between them.
 */
#include <inttypes.h>

#include "internal.h"
#include "options.h"
#include "tandem/base.h"
#include "tandem/experiment.h"

static const struct td_option failure_options[] = {
    KEY(td_cfg_failures, mean_time_between, TD_OPT_REAL, "s", NULL, 1e-9, MOST_SECONDS,
        "of each worker, from when it begins to work to its failure"),
    KEY(td_cfg_failures, mean_time_to_repair, TD_OPT_REAL, "s", NULL, 1e-9, MOST_SECONDS,
        "from a failure until the worker takes requests again"),
    CHOICE(
        td_cfg_failures, law, "exponential|constant", "exponential",
        "how both times are drawn, from the seed, the worker and how many it has drawn; constant: they are the means"),
    END};
const struct td_option_group td_cfg_failures_group = {"failures", sizeof(struct td_cfg_failures), failure_options};

static const struct td_option outage_options[] = {
    KEY(td_cfg_outage, worker, TD_OPT_INT, NULL, NULL, 0, 99999, "the worker's number in its pool"),
    KEY(td_cfg_outage, at, TD_OPT_REAL, "s", NULL, 0, MOST_SECONDS, "when it fails, from the run's start"),
    KEY(td_cfg_outage, lasts, TD_OPT_REAL, "s", NULL, 0, MOST_SECONDS, "until it is back; 0 = it never is"), END};
const struct td_option_group td_cfg_outage_group = {"an outage", sizeof(struct td_cfg_outage), outage_options};

static td_status check_pool(const struct td_config *config, const struct td_cfg_pool *pool, int32_t index) {
  const struct td_cfg_outage *outages = pool->outages.items;
  char path[96];
  for (int32_t i = 0; i < pool->outages.count; i++) {
    if (outages[i].worker < pool->count) continue;
    TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].outages.[%" PRId32 "].worker", index, i));
    return td_config_fail(config, path, "found %" PRId64 ", expected a number below the pool's count of %" PRId64,
                          outages[i].worker, pool->count);
  }
  return TD_OK;
}

td_status td_cfg_check_faults(const struct td_config *config, const struct td_cfg_cluster *cluster) {
  const struct td_cfg_pool *pools = cluster->pools.items;
  for (int32_t i = 0; i < cluster->pools.count; i++) TD_TRY(check_pool(config, &pools[i], i));
  return TD_OK;
}
