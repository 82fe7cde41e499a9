/* SPDX-License-Identifier: Apache-2.0 */
#include "fleet_pipeline.h"

#include <inttypes.h>
#include <stdlib.h>

#include "fleet.h"
#include "tandem/base.h"

__extension__ typedef __int128 wide;

enum { ACTIVATION_BYTES = 2, ID_BYTES = 4 };

static struct fleet_stages *stages_of(const struct fleet *fleet, int32_t worker) {
  return fleet->pools[fleet->replicas[worker].pool].stages;
}

static struct fleet_books *books_of(const struct fleet *fleet, int32_t worker) {
  return fleet->replicas[fleet->cluster->workers[worker].leader].books;
}

/* ---- opening ---- */

/* The same operators in the same order: prices are the same, in all and up to each layer. */
static td_status compare(const struct td_graph *graph, const struct td_slice *a, const struct td_slice *b,
                         bool *out_same) {
  struct td_slice_ops first = {0}, second = {0};
  td_status status = td_slice_ops_build(graph, a, &first);
  if (!status) status = td_slice_ops_build(graph, b, &second);
  bool same = !status && first.op_count == second.op_count;
  for (int32_t i = 0; same && i < first.op_count; i++) {
    int32_t alike = graph->ops[first.ops[i]].alike;
    same = alike && alike == graph->ops[second.ops[i]].alike;
  }
  td_slice_ops_free(&first);
  td_slice_ops_free(&second);
  *out_same = same;
  return status;
}

static td_status open_stage(const struct fleet *fleet, const struct cluster_worker *worker, int32_t index,
                            struct fleet_stage *stage) {
  const struct td_graph *graph = fleet->cluster->graph;
  bool same = false;
  stage->slice = cluster_stage(fleet->cluster, worker->pool, index);
  stage->priced_as = index;
  if (index) TD_TRY(compare(graph, &stage[-1].slice, &stage->slice, &same));
  if (!same) return td_pricer_open(worker->params, graph, &stage->slice, fleet->cluster->kv_dtype, &stage->pricer);
  stage->priced_as = stage[-1].priced_as;
  stage->pricer = stage[-1].pricer;
  return TD_OK;
}

td_status fleet_stages_open(struct fleet *fleet, const struct cluster_worker *worker, struct fleet_stages **out) {
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct fleet_stages), &memory));
  struct fleet_stages *stages = *out = memory;
  TD_TRY(td_alloc((size_t)worker->pool->pipeline, sizeof *stages->of, (void **)&stages->of));
  stages->count = (int32_t)worker->pool->pipeline;
  stages->link = fleet->cluster->stage_links[worker->pool_index];
  stages->row_bytes = fleet->cluster->graph->shape.hidden * ACTIVATION_BYTES;
  for (int32_t s = 0; s < stages->count; s++) TD_TRY(open_stage(fleet, worker, s, &stages->of[s]));
  return TD_OK;
}

void fleet_stages_close(struct fleet_stages *stages) {
  if (!stages) return;
  for (int32_t s = 0; s < stages->count; s++) {
    if (stages->of[s].priced_as == s) td_pricer_close(stages->of[s].pricer);
  }
  free(stages->of);
  free(stages);
}

static td_status open_books(int32_t stages, struct replica *replica) {
  size_t count = (size_t)stages;
  TD_TRY(td_alloc(1, sizeof *replica->books, (void **)&replica->books));
  TD_TRY(td_alloc(count, sizeof *replica->books->stage_free_ps, (void **)&replica->books->stage_free_ps));
  return td_alloc(count, sizeof *replica->books->link_free_ps, (void **)&replica->books->link_free_ps);
}

td_status fleet_pipeline_open(struct fleet *fleet, int32_t worker) {
  const struct fleet_stages *stages = stages_of(fleet, worker);
  struct replica *replica = &fleet->replicas[worker];
  if (!stages) return TD_OK;
  if (!fleet->pipelined) TD_TRY(worker_queue_open(&fleet->passing, fleet->cluster->worker_count));
  fleet->pipelined = true;
  if (!fleet->cluster->workers[worker].batch) TD_TRY(open_books(stages->count, replica));
  TD_TRY(td_alloc(1, sizeof *replica->flow, (void **)&replica->flow));
  return td_alloc((size_t)stages->count, sizeof *replica->flow->stages, (void **)&replica->flow->stages);
}

void fleet_pipeline_close(struct replica *replica) {
  if (replica->books) {
    free(replica->books->stage_free_ps);
    free(replica->books->link_free_ps);
    free(replica->books);
  }
  if (replica->flow) {
    free(replica->flow->stages);
    free(replica->flow->told.paces);
    free(replica->flow->passing);
    free(replica->flow->spans);
    free(replica->flow);
  }
}

/* ---- prices ---- */

static td_status add_price(const struct td_price *part, struct td_price *sum) {
  if (__builtin_add_overflow(sum->base_ps, part->base_ps, &sum->base_ps) ||
      __builtin_add_overflow(sum->slope_ps, part->slope_ps, &sum->slope_ps)) {
    return fleet_too_long();
  }
  if (part->valid_steps < sum->valid_steps) sum->valid_steps = part->valid_steps;
  sum->energy_j += part->energy_j;
  sum->flops += part->flops;
  sum->bytes += part->bytes;
  sum->compute_bound_ps += part->compute_bound_ps;
  sum->low_ps += part->low_ps;
  sum->high_ps += part->high_ps;
  return TD_OK;
}

/* A step that meets nobody: all stages, a hop before each but the first, and the way back. */
td_status fleet_stages_sum(const struct fleet_stages *stages, struct td_price *out) {
  struct td_price sum = {.valid_steps = INT64_MAX};
  wide hops = (wide)stages->hop_ps * (stages->count - 1) + stages->back_ps;
  if (hops > INT64_MAX) return fleet_too_long();
  sum.base_ps = (int64_t)hops;
  sum.low_ps = sum.high_ps = (double)hops;
  for (int32_t s = 0; s < stages->count; s++) TD_TRY(add_price(&stages->of[s].price, &sum));
  if (sum.slope_ps > 0 && sum.valid_steps > (INT64_MAX - sum.base_ps) / sum.slope_ps) {
    sum.valid_steps = (INT64_MAX - sum.base_ps) / sum.slope_ps + 1;
  }
  *out = sum;
  return TD_OK;
}

td_status fleet_stages_price(struct fleet_stages *stages, const struct td_step_stats *stats,
                             struct td_price *out_price) {
  uint64_t rows = (uint64_t)stats->v[TD_SYM_TOKENS], ids = (uint64_t)stats->v[TD_SYM_LOGITS];
  TD_TRY(td_price_transfer(stages->link, rows * (uint64_t)stages->row_bytes, &stages->hop_ps));
  TD_TRY(td_price_transfer(stages->link, ids * ID_BYTES, &stages->back_ps));
  for (int32_t s = 0; s < stages->count; s++) {
    struct fleet_stage *stage = &stages->of[s];
    if (stage->priced_as < s) stage->price = stages->of[stage->priced_as].price;
    if (stage->priced_as == s) TD_TRY(td_pricer_step(stage->pricer, stats, &stage->price));
    if (stage->price.base_ps > 0) continue;
    return td_fail(TD_UNSUPPORTED, "stage %" PRId32 ": found a step that takes no time, expected some", s);
  }
  return fleet_stages_sum(stages, out_price);
}

/* ---- who meets whom ---- */

static bool is_sibling(const struct fleet *fleet, int32_t worker, int32_t other) {
  return other < fleet->cluster->worker_count &&
         fleet->cluster->workers[other].leader == fleet->cluster->workers[worker].leader;
}

/* The replica's next batch; a round leads back to the worker. */
static int32_t next_batch(const struct fleet *fleet, int32_t worker) {
  int32_t other = worker + (int32_t)fleet->cluster->workers[worker].pool->count;
  return is_sibling(fleet, worker, other) ? other : fleet->cluster->workers[worker].leader;
}

td_status fleet_pipeline_look(struct fleet *fleet) {
  for (int32_t i = 0; i < fleet->touched_count; i++) {
    int32_t worker = fleet->touched[i];
    if (!fleet->replicas[worker].flow || fleet->replicas[worker].busy) continue;
    for (int32_t other = next_batch(fleet, worker); other != worker; other = next_batch(fleet, other)) {
      TD_TRY(fleet_interrupt(fleet, other)); /* may touch it: who moves up in the list is as good as done */
    }
  }
  return TD_OK;
}

/* ---- books ---- */

/* The way of a step that is ready at *at_ps, with stages' times of step number `step` of its row. */
static td_status book(struct fleet_books *books, const struct fleet_flow *flow, int32_t count, int64_t step,
                      int64_t start_ps, int64_t *out_end_ps) {
  int64_t at = start_ps;
  for (int32_t s = 0; s < count; s++) {
    int64_t begin = at > books->stage_free_ps[s] ? at : books->stage_free_ps[s];
    flow->stages[s].start_ps = begin - start_ps;
    TD_TRY(fleet_later(begin, flow->stages[s].base_ps + flow->stages[s].slope_ps * step, &at));
    books->stage_free_ps[s] = at;
    if (at < books->link_free_ps[s]) at = books->link_free_ps[s];
    TD_TRY(fleet_later(at, s < count - 1 ? flow->hop_ps : flow->back_ps, &at));
    books->link_free_ps[s] = at;
  }
  *out_end_ps = at;
  return TD_OK;
}

/* The last step of its event is the one under way. */
static td_status book_under_way(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t before = replica->count - 1, end_ps;
  wide start = (wide)replica->next_base * before + (wide)replica->row.slope * before * (before - 1) / 2;
  replica->flow->booked = true;
  return book(books_of(fleet, worker), replica->flow, stages_of(fleet, worker)->count, replica->row.count + before,
              replica->start_ps + (int64_t)start, &end_ps);
}

td_status fleet_pipeline_meet(struct fleet *fleet, int32_t worker, bool *out_others) {
  *out_others = false;
  if (!fleet->replicas[worker].flow) return TD_OK;
  for (int32_t other = next_batch(fleet, worker); other != worker; other = next_batch(fleet, other)) {
    TD_TRY(fleet_interrupt(fleet, other));
    if (!fleet->replicas[other].busy) continue;
    *out_others = true;
    if (!fleet->replicas[other].flow->booked) TD_TRY(book_under_way(fleet, other));
  }
  if (books_of(fleet, worker)->through_ps > fleet->replicas[worker].start_ps) *out_others = true;
  return TD_OK;
}

/* Rows and ids of a step, of all groups of chips, over all links. */
static void count_bytes(const struct fleet *fleet, const struct replica *replica) {
  const struct fleet_stages *stages = fleet->pools[replica->pool].stages;
  uint64_t rows = (uint64_t)replica->endings.count, ids = rows;
  for (size_t i = 0; i < replica->chunk_count; i++) {
    const struct fleet_request *request = &fleet->requests[replica->chunks[i].slot];
    rows += (uint64_t)replica->chunks[i].tokens;
    ids += request->computed + replica->chunks[i].tokens == request->target;
  }
  replica->flow->bytes = rows * (uint64_t)stages->row_bytes * (uint64_t)(stages->count - 1) + ids * ID_BYTES;
  replica->flow->quiet = !ids;
}

static void take_times(const struct fleet_stages *stages, struct fleet_flow *flow) {
  int64_t start = 0;
  flow->hop_ps = stages->hop_ps;
  flow->back_ps = flow->quiet ? 0 : stages->back_ps;
  flow->work_ps = flow->more_ps = 0;
  for (int32_t s = 0; s < stages->count; s++) {
    const struct td_price *price = &stages->of[s].price;
    int64_t start_ps = flow->booked_ps ? flow->stages[s].start_ps : start; /* the books know it already */
    flow->stages[s] = (struct stage_time){price->base_ps, price->slope_ps, start_ps, stages->of[s].slower};
    start += price->base_ps + stages->hop_ps; /* less than the whole step, which is a time */
    flow->work_ps += price->base_ps;
    flow->more_ps += price->slope_ps;
  }
}

/* The step that the worker begins, of such a number in its row. */
static td_status book_next(struct fleet *fleet, int32_t worker, int64_t step) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t end_ps;
  TD_TRY(
      book(books_of(fleet, worker), replica->flow, stages_of(fleet, worker)->count, step, replica->start_ps, &end_ps));
  replica->flow->booked_ps = end_ps - replica->start_ps;
  return TD_OK;
}

/* Its batch goes on when it leaves the first stage; how sure that is goes by the whole of it. */
static td_status enter_quiet(struct fleet *fleet, int32_t worker, struct td_price *price) {
  struct fleet_flow *flow = fleet->replicas[worker].flow;
  TD_TRY(book_next(fleet, worker, 0));
  flow->as_priced = false;
  TD_TRY(fleet_later(fleet->replicas[worker].start_ps, flow->booked_ps, &flow->through_ps));
  books_of(fleet, worker)->through_ps = flow->through_ps;
  flow->booked_ps = 0;
  int64_t first_ps = flow->stages[0].start_ps + flow->stages[0].base_ps;
  double share = (double)first_ps / (double)price->base_ps;
  price->base_ps = first_ps;
  price->low_ps *= share;
  price->high_ps *= share;
  return TD_OK;
}

td_status fleet_pipeline_enter(struct fleet *fleet, int32_t worker, bool others, struct td_price *price) {
  struct replica *replica = &fleet->replicas[worker];
  struct fleet_flow *flow = replica->flow;
  if (!flow) return TD_OK;
  count_bytes(fleet, replica);
  take_times(stages_of(fleet, worker), flow);
  flow->booked = others || flow->quiet;
  flow->as_priced = true;
  if (flow->quiet) return enter_quiet(fleet, worker, price);
  if (!others) return TD_OK;
  if (!flow->booked_ps) TD_TRY(book_next(fleet, worker, 0));
  int64_t waits = flow->booked_ps - price->base_ps;
  flow->booked_ps = 0;
  if (!waits) return TD_OK;
  flow->as_priced = false;
  price->base_ps += waits;
  price->low_ps += (double)waits;
  price->high_ps += (double)waits;
  price->slope_ps = 0;
  return TD_OK;
}

td_status fleet_pipeline_go_on(struct fleet *fleet, int32_t worker, bool others, bool *goes_on) {
  struct replica *replica = &fleet->replicas[worker];
  struct fleet_flow *flow = replica->flow;
  if (!flow || !*goes_on) return TD_OK;
  flow->booked = others;
  if (!others) {
    *goes_on = flow->as_priced;
    return TD_OK;
  }
  TD_TRY(book_next(fleet, worker, replica->row.count));
  if (flow->booked_ps != replica->next_base) {
    *goes_on = replica->row.count == 1 && flow->booked_ps >= replica->row.duration;
    if (!*goes_on) return TD_OK; /* its own row's first: as it is in the books */
    flow->as_priced = false;
    replica->row.slope = flow->booked_ps - replica->row.duration;
    replica->next_base = flow->booked_ps;
  }
  flow->booked_ps = 0;
  return TD_OK;
}

void fleet_pipeline_forget(struct fleet *fleet, int32_t worker) {
  struct fleet_books *books = books_of(fleet, worker);
  for (int32_t s = 0; books && s < stages_of(fleet, worker)->count; s++) {
    books->stage_free_ps[s] = books->link_free_ps[s] = books->through_ps = fleet->now_ps;
  }
  fleet_pass_forget(fleet, worker);
}

/* ---- what was done ---- */

int64_t fleet_pipeline_work(const struct replica *replica, int64_t count) {
  const struct fleet_flow *flow = replica->flow;
  if (!flow) return count * replica->row.duration + replica->row.slope * (count * (count - 1) / 2);
  return count * flow->work_ps + flow->more_ps * (count * (count - 1) / 2);
}

double fleet_pipeline_effort(const struct replica *replica) {
  int64_t count = replica->row.count;
  return (double)fleet_pipeline_work(replica, count) / (double)fleet_pipeline_work(replica, 1);
}

int64_t fleet_pipeline_spent(const struct fleet *fleet, int32_t worker, int64_t step, int64_t ps) {
  const struct replica *replica = &fleet->replicas[worker];
  const struct fleet_flow *flow = replica->flow;
  int64_t work_ps = 0;
  if (!flow) return ps;
  if (!flow->booked) return (int64_t)((wide)ps * flow->work_ps / replica->row.duration);
  for (int32_t s = 0; s < stages_of(fleet, worker)->count; s++) {
    const struct stage_time *stage = &flow->stages[s];
    int64_t whole = stage->base_ps + stage->slope_ps * step, done = ps - stage->start_ps;
    if (done > 0) work_ps += done < whole ? done : whole;
  }
  return work_ps;
}

void fleet_pipeline_count(struct fleet *fleet, int32_t worker, int64_t steps) {
  struct fleet_stages *stages = stages_of(fleet, worker);
  if (stages) stages->bytes += fleet->replicas[worker].flow->bytes * (uint64_t)steps;
}

void fleet_pipeline_rows(struct fleet *fleet, int32_t worker, int64_t rows, int64_t outputs) {
  struct fleet_stages *stages = stages_of(fleet, worker);
  if (!stages) return;
  stages->rows += (uint64_t)rows;
  stages->outputs += (uint64_t)outputs;
}

td_status fleet_pipeline_check(const struct fleet *fleet) {
  for (int32_t i = 0; i < fleet->cluster->pools; i++) {
    const struct fleet_stages *stages = fleet->pools[i].stages;
    if (!stages) continue;
    uint64_t expected =
        stages->rows * (uint64_t)stages->row_bytes * (uint64_t)(stages->count - 1) + stages->outputs * ID_BYTES;
    fleet->summary->stage_bytes += stages->bytes;
    if (stages->bytes == expected) continue;
    return td_fail(TD_INTERNAL, "pool %" PRId32 ": %" PRIu64 " bytes went between stages, expected %" PRIu64, i,
                   stages->bytes, expected);
  }
  return TD_OK;
}
