/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs that only price: compiled once, whatever the number of replicas.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "price.h"
#include "tandem/base.h"

/* What was asked for, and what it gave. */
struct timing {
  struct timing *next;
  int32_t users;
  uint64_t machine; /* digest */
  const struct td_graph *graph;
  struct td_shape shape;
  struct td_lpu_options options;
  struct td_lpu_price *price;
};

static struct timing *timings;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct timing *find(const struct timing *like) {
  struct timing *at = timings;
  while (at && !(at->machine == like->machine && at->graph == like->graph &&
                 memcmp(&at->shape, &like->shape, sizeof at->shape) == 0 &&
                 memcmp(&at->options, &like->options, sizeof at->options) == 0)) {
    at = at->next;
  }
  return at;
}

static td_status make(const struct td_lpu_machine *machine, const struct timing *like, struct timing **out) {
  const struct td_slice whole = td_slice_whole(like->graph);
  struct timing *made = NULL;
  TD_TRY(td_alloc(1, sizeof *made, (void **)&made));
  *made = *like;
  td_status status = td_lpu_price_compile(machine, made->graph, &whole, &made->options, &made->price);
  if (status) {
    free(made);
    return status;
  }
  made->next = timings;
  *out = timings = made;
  return TD_OK;
}

td_status td_lpu_timing_open(const struct td_lpu_machine *machine, const struct td_lpu_choice *choice,
                             const struct td_graph *graph, int32_t block_tokens,
                             const struct td_lpu_price **out_price) {
  struct timing like = {.machine = td_lpu_machine_digest(machine), .graph = graph, .shape = graph->shape};
  like.options = td_lpu_choice_options(choice, &graph->shape, block_tokens, choice->kv_blocks);
  like.options.timing_only = true;
  pthread_mutex_lock(&lock);
  struct timing *timing = find(&like);
  td_status status = timing ? TD_OK : make(machine, &like, &timing);
  if (!status) {
    timing->users++;
    *out_price = timing->price;
  }
  pthread_mutex_unlock(&lock);
  return status;
}

void td_lpu_timing_close(const struct td_lpu_price *price) {
  struct timing **at = &timings, *gone;
  if (!price) return;
  pthread_mutex_lock(&lock);
  while (*at && (*at)->price != price) at = &(*at)->next;
  gone = *at;
  if (gone && --gone->users == 0) {
    *at = gone->next;
    td_lpu_price_close(gone->price);
    free(gone);
  }
  pthread_mutex_unlock(&lock);
}
