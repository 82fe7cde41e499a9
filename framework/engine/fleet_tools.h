/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls on the cores of orchestrators: a session's tool between two turns, and the host's own work on a request's text.
 * A call goes to the machine that has the least asked of its cores (asked by cores, equals by number), or to where its
 * session's calls go; there it waits in line until the cores it takes are free, and nobody is passed. It has them for
 * its time over the machine's speed.
 *
 * At one instant calls end, in the order they were asked for, behind steps and transfers and before arrivals; those
 * that were asked for at the instant are sent and begin when work is given out, in the same order.
 *
 * Under a cap of the cluster's power a call whose cores are free also waits for its share of it: first asked first,
 * nobody is passed, and calls come before steps at each instant (fleet_tools_power.c).
 *
 * When a machine fails, its calls are sent anew, at their places in line, and begin from nothing.
 */
#ifndef ENGINE_FLEET_TOOLS_H
#define ENGINE_FLEET_TOOLS_H

#include <uthash.h>

#include "fleet_queue.h"

__extension__ typedef __int128 core_time; /* ps */

struct tool_call {
  uint64_t request, session;
  uint64_t place; /* how many were asked for before it */
  uint32_t kind;  /* enum td_call_kind */
  int32_t cores;
  int64_t needs_ps; /* of cores of speed 1 */
  int64_t enqueued_ps, start_ps;
  int32_t orchestrator; /* -1: not sent yet */
  int32_t slot;         /* TD_CALL_TOKENIZE: the request's */
  int32_t next;         /* of free entries */
};

struct orchestrator {
  int32_t cores, taken;      /* taken: by calls that run */
  int64_t asked;             /* by those and by those in line */
  struct slot_queue waiting; /* in line, by place */
  core_time had;             /* by calls so far, done or lost, summed as the number taken changes, up to since_ps */
  int64_t since_ps;
  bool wants_power; /* the call in line at `power_place`, whose cores are free: so much */
  uint64_t power_place;
  int64_t power_uw;
};

/* Where a session's calls stay. */
struct tool_home {
  uint64_t session;
  int32_t orchestrator;
  UT_hash_handle hh;
};

struct fleet_tools {
  struct orchestrator *all;  /* [orchestrators] */
  struct worker_queue least; /* of those up, by what is asked of their cores */
  struct slot_queue unsent;  /* calls without a machine, by place */
  struct slot_queue ends;    /* of calls that run, by time and place */
  struct slot_queue powered; /* machines whose next call waits for power, by its place; and what is left of others */
  struct tool_call *calls;
  size_t capacity;
  int32_t used, free; /* entries ever used; the first of the free ones, -1: none */
  int32_t *touched;   /* machines where calls may begin */
  uint8_t *is_touched;
  int32_t touched_count;
  struct tool_home *homes; /* of sessions that go on; without `sticky` none */
  uint64_t asked, done;    /* calls */
  core_time needed, given; /* sums of needs_ps: of calls asked for, of calls done */
  core_time rows;          /* cores by time, of calls done or lost */
};

#endif
