/* SPDX-License-Identifier: Apache-2.0
 *
 * A cap on the power of all workers and orchestrators. A worker at a step takes its device's power_busy, any other
 * power_idle, so what the cap leaves beside all of them idle is shared by those at steps, and by calls on
 * orchestrators, in whole microwatts. Who wants to begin a step waits in line, first come first, equals by number, and
 * nobody is passed: at most all but one's power goes unused. Calls have a line of their own, which comes first at each
 * instant (fleet_tools_power.c).
 *
 * While somebody waits, every worker ends its turn with each step and goes to the end of the line. So merged steps are
 * cut to the one under way as soon as somebody must wait, and steps that begin while somebody does are not merged.
 *
 * A cap of a pool is for each worker alone. A step whose energy over its time is more than the cap takes as long as the
 * cap needs for it: by a factor in 2^-32ths rounded up, base and slope of each row of steps rounded up to picoseconds.
 * Its energy is what it would be.
 */
#ifndef ENGINE_FLEET_POWER_H
#define ENGINE_FLEET_POWER_H

#include "fleet_queue.h"

__extension__ typedef __int128 microwatts; /* 100,000 workers of 10^12 W are more than 64 bits hold */

struct fleet_power {
  struct worker_queue waiting; /* for power */
  int64_t free_uw, all_uw;     /* that nobody at a step or call has; before the first */
  microwatts wanted_uw;        /* by those that wait */
  int64_t *step_uw;            /* [pools]: what a step takes beside idle power */
};

#endif
