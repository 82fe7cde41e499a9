/* SPDX-License-Identifier: Apache-2.0
 *
 * The fleet's queues and its index of loads, against the plainest code that does the same.
 */
#include <time.h>

#include "../support.h"
#include "engine/fleet_queue.h"
#include "engine/load.h"
#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

static uint64_t draws;

static int64_t draw(int64_t below) {
  return (int64_t)(td_random(7, 1, draws++) % (uint64_t)below);
}

/* ---- events by worker ---- */

static int32_t first_of(const int64_t *times, int32_t workers) {
  int32_t first = 0;
  for (int32_t i = 1; i < workers; i++) {
    if (times[i] < times[first]) first = i;
  }
  return first;
}

static void change(struct worker_queue *queue, int64_t *times, int32_t workers) {
  int32_t worker = (int32_t)draw(workers);
  if (draw(4)) {
    times[worker] = draw(40); /* few of them: workers of one time come by number */
    worker_queue_set(queue, worker, times[worker]);
  } else {
    times[worker] = INT64_MAX;
    worker_queue_remove(queue, worker);
  }
}

static void check_workers(int32_t workers) {
  struct worker_queue queue;
  int64_t *times;
  assert_int_equal(worker_queue_open(&queue, workers), TD_OK);
  assert_int_equal(td_alloc((size_t)workers, sizeof *times, (void **)&times), TD_OK);
  for (int32_t i = 0; i < workers; i++) times[i] = INT64_MAX;
  for (int turn = 0; turn < 4000; turn++) {
    change(&queue, times, workers);
    int32_t first = first_of(times, workers);
    assert_true(worker_queue_time(&queue) == times[first]);
    if (times[first] == INT64_MAX) continue;
    if (draw(2)) assert_int_equal(worker_queue_first(&queue), first);
    if (draw(3)) continue;
    assert_true(worker_queue_has(&queue, first));
    assert_int_equal(worker_queue_pop(&queue), first);
    assert_false(worker_queue_has(&queue, first));
    times[first] = INT64_MAX;
  }
  worker_queue_close(&queue);
  free(times);
}

static void workers_come_in_order(void **state) {
  (void)state;
  static const int32_t counts[] = {1, 2, 7, 8, 9, 63, 64, 65, 600};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) check_workers(counts[i]);
}

/* ---- a worker's batch ---- */

enum { OWN = 4, MOST = 60 };

/* As they joined. */
struct batch {
  int64_t step[MOST];
  int32_t slot[MOST];
  int32_t count;
};

static void leave(struct batch *batch, int32_t at) {
  for (int32_t i = at; i + 1 < batch->count; i++) {
    batch->step[i] = batch->step[i + 1];
    batch->slot[i] = batch->slot[i + 1];
  }
  batch->count--;
}

static void pop_both(struct endings *endings, struct batch *batch) {
  int32_t first = 0;
  for (int32_t i = 1; i < batch->count; i++) {
    if (batch->step[i] < batch->step[first]) first = i;
  }
  assert_true(endings->heap[0].step == batch->step[first]);
  assert_int_equal(endings_pop(endings), batch->slot[first]);
  leave(batch, first);
}

static void remove_both(struct endings *endings, struct batch *batch) {
  int32_t at = (int32_t)draw(endings->count), i = 0;
  while (batch->slot[i] != endings->heap[at].slot) i++;
  endings_remove(endings, at);
  leave(batch, i);
}

static void batches_end_in_order(void **state) {
  (void)state;
  struct ending own[OWN];
  struct endings endings;
  struct batch batch = {.count = 0};
  endings_open(&endings, own, OWN);
  for (int32_t turn = 0; turn < 20000; turn++) {
    bool grows = turn / 500 % 2 == 0;
    if (batch.count < MOST && draw(4) < (grows ? 3 : 1)) {
      if (draw(50) == 0) endings.joined = UINT32_MAX - (uint32_t)draw(3); /* numbers end now and then */
      batch.step[batch.count] = draw(20);
      batch.slot[batch.count++] = turn;
      assert_int_equal(endings_push(&endings, own, batch.step[batch.count - 1], turn), TD_OK);
    } else if (batch.count && draw(5)) {
      pop_both(&endings, &batch);
    } else if (batch.count) {
      remove_both(&endings, &batch);
    }
    assert_int_equal(endings.count, batch.count);
  }
  endings_close(&endings, own);
}

/* ---- loads ---- */

static void draw_view(struct td_worker_view *view) {
  view->role = draw(8) ? view->role : (int)draw(3);
  view->free_blocks = draw(30);
  view->free_sequences = draw(4);
  view->waiting_tokens = draw(3) * 100;
  view->active = draw(5);
}

static int64_t anything; /* of a policy's own */

/* Leaves some out, and goes by its own state too. */
static int64_t own_measure(const struct td_cluster_view *cluster, int32_t worker) {
  const struct td_worker_view *view = &cluster->workers[worker];
  return view->active == 3 || worker == anything ? TD_NOT_HERE : view->waiting_tokens / 100 - view->active;
}

static void change_state(const struct td_cluster_view *indexed) {
  int64_t before = anything;
  anything = draw(indexed->worker_count);
  td_policy_changed(indexed, (int32_t)before);
  td_policy_changed(indexed, (int32_t)anything);
}

static void ask_all(const struct td_cluster_view *all, const struct td_cluster_view *indexed) {
  uint32_t roles = (uint32_t)draw(8);
  int64_t blocks = draw(35);
  int32_t from = (int32_t)draw(all->worker_count);
  assert_int_equal(td_policy_least_work(indexed, roles, blocks), td_policy_least_work(all, roles, blocks));
  assert_int_equal(td_policy_next(indexed, roles, blocks, from), td_policy_next(all, roles, blocks, from));
  if (!draw(3)) return; /* measures are not all asked each time */
  assert_int_equal(td_policy_least(indexed, own_measure, roles, blocks),
                   td_policy_least(all, own_measure, roles, blocks));
}

static void check_loads(int32_t workers) {
  static const td_policy_measure measures[] = {own_measure, NULL};
  struct td_worker_view *views;
  struct td_load_index *index;
  assert_int_equal(td_alloc((size_t)workers, sizeof *views, (void **)&views), TD_OK);
  for (int32_t i = 0; i < workers; i++) draw_view(&views[i]);
  assert_int_equal(load_open(views, workers, measures, &index), TD_OK);
  struct td_cluster_view all = {.workers = views, .worker_count = workers}, indexed = all;
  indexed.loads = index;
  for (int turn = 0; turn < 3000; turn++) {
    for (int64_t i = draw(4); i > 0; i--) {
      int32_t worker = (int32_t)draw(workers);
      draw_view(&views[worker]);
      assert_int_equal(load_role(index, views[worker].role), TD_OK);
      load_changed(index, worker);
    }
    if (!draw(3)) change_state(&indexed);
    ask_all(&all, &indexed);
  }
  load_close(index);
  free(views);
}

static void the_least_loaded_is_found(void **state) {
  (void)state;
  static const int32_t counts[] = {1, 2, 8, 9, 64, 65, 300};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) check_loads(counts[i]);
}

/* Workers that are down have no work: a search that looked into them all would take minutes here. */
static void who_is_down_is_not_looked_for(void **state) {
  (void)state;
  enum { WORKERS = 65536, APART = 8, ASKS = 50000 };
  struct td_worker_view *views;
  struct td_load_index *index;
  assert_int_equal(td_alloc(WORKERS, sizeof *views, (void **)&views), TD_OK);
  for (int32_t i = 0; i < WORKERS; i += APART) {
    views[i] = (struct td_worker_view){.free_blocks = 10, .free_sequences = 4, .active = 2};
  }
  assert_int_equal(load_open(views, WORKERS, NULL, &index), TD_OK);
  const struct td_cluster_view cluster = {.workers = views, .worker_count = WORKERS, .loads = index};
  const clock_t begin = clock();
  for (int32_t turn = 0; turn < ASKS; turn++) {
    views[0].active = 1 + turn % 3;
    load_changed(index, 0);
    assert_int_equal(td_policy_least_work(&cluster, 1u << TD_ROLE_BOTH, 5), turn % 3 < 2 ? 0 : APART);
  }
  assert_true(clock() - begin < CLOCKS_PER_SEC);
  load_close(index);
  free(views);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(workers_come_in_order),
      cmocka_unit_test(batches_end_in_order),
      cmocka_unit_test(the_least_loaded_is_found),
      cmocka_unit_test(who_is_down_is_not_looked_for),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
