/* SPDX-License-Identifier: Apache-2.0
 *
 * When workers fail and are repaired, and orchestrators, which are numbered behind them here. A worker fails by chance,
 * at given times, or both; of outages that overlap it is the last end that counts.
 */
#ifndef ENGINE_FLEET_OUTAGE_H
#define ENGINE_FLEET_OUTAGE_H

#include "fleet_queue.h"

/* An outage of the config. */
struct planned_outage {
  int32_t worker;
  int64_t at_ps, lasts_ps; /* INT64_MAX: for good */
};

struct worker_outages {
  int64_t chance_ps;  /* of the next failure by chance; INT64_MAX: none */
  uint64_t drawn;     /* times so far */
  size_t plan, plans; /* of the list: the next one, and one past the worker's last */
  bool down;
  int64_t since_ps, until_ps; /* if it is */
  int64_t back_ps;            /* when it last came back; 0: it has not */
  int64_t down_ps;            /* so far, within the makespan */
};

struct fleet_outages {
  struct worker_queue due; /* the next failure or repair of each */
  struct worker_outages *workers;
  struct planned_outage *plans; /* by worker and time */
  size_t plan_count;
  uint64_t seed;
  int64_t alone;          /* outages in a row while nothing else was to come */
  int64_t alone_ps;       /* when something else last was */
  int64_t between;        /* instants of outages in a row without anything else */
  int32_t down;           /* workers */
  struct slot_queue lost; /* see fleet_fail; empty but there */
};

#endif
