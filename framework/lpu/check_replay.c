/* SPDX-License-Identifier: Apache-2.0
 *
 * The replay of one call, cycle by cycle. Queues wait in a wheel of cycles for their next issue; what issues cause
 * later waits there too, by phase.
 */
#include <stdlib.h>

#include "check.h"

/* ---- the wheel ---- */

static struct check_bucket *bucket_at(struct check *check, enum check_phase phase, int32_t cycle) {
  return &check->buckets[(int64_t)phase * check->wheel + (cycle & (check->wheel - 1))];
}

void check_later(struct check *check, const struct check_issue *issue, enum check_phase phase,
                 enum check_event_kind kind, int32_t delay, struct check_tag tag) {
  struct check_bucket *bucket = bucket_at(check, phase, check->now + delay);
  if (bucket->count == bucket->room) {
    int32_t room = bucket->room ? bucket->room * 2 : 8;
    struct check_event *larger = realloc(bucket->events, (size_t)room * sizeof *larger);
    if (!larger) {
      check->no_memory = true;
      return;
    }
    bucket->events = larger;
    bucket->room = room;
  }
  bucket->events[bucket->count++] = (struct check_event){issue->instruction, issue->iteration, (uint8_t)kind, tag};
  check->pending++;
}

static void wait_for(struct check *check, int32_t cursor) {
  int32_t *head = &check->waiting[check->cursors[cursor].cycle & (check->wheel - 1)];
  check->cursors[cursor].next = *head;
  *head = cursor;
}

/* ---- issues ---- */

static enum td_lpu_unit unit_of(const struct td_lpu_instruction *at) {
  switch (at->opcode) {
    case TD_LPU_MEMORY:
      return TD_UNIT_MEMORY;
    case TD_LPU_LOAD:
    case TD_LPU_INSTALL:
    case TD_LPU_PASS:
    case TD_LPU_SUM:
      return TD_UNIT_MATRIX;
    case TD_LPU_ALU:
      return TD_UNIT_VECTOR;
    case TD_LPU_SEND:
    case TD_LPU_RECEIVE:
      return TD_UNIT_LINK;
    default:
      return TD_UNIT_SWITCH;
  }
}

/* Which of a plane's queues takes the opcode; the switches' are the rule SWITCH's. */
static int32_t function_of(const struct td_lpu_instruction *at) {
  if (at->opcode == TD_LPU_LOAD) return TD_MATRIX_LOAD;
  if (at->opcode == TD_LPU_INSTALL) return TD_MATRIX_INSTALL;
  return at->opcode == TD_LPU_PASS ? TD_MATRIX_PASS : TD_MATRIX_SUM;
}

static bool takes(struct check *check, const struct check_issue *issue) {
  enum td_lpu_unit unit = unit_of(issue->at);
  bool good =
      issue->place->unit == unit && (unit != TD_UNIT_MATRIX || issue->place->function == function_of(issue->at));
  if (!good) check_found(check, TD_RULE_QUEUE, issue, "this queue takes other instructions");
  return good;
}

static void run_issue(struct check *check, const struct check_issue *issue) {
  if (!takes(check, issue)) return;
  switch (issue->at->opcode) {
    case TD_LPU_MEMORY:
      check_memory_issue(check, issue);
      break;
    case TD_LPU_LOAD:
      check_load_issue(check, issue);
      break;
    case TD_LPU_INSTALL:
      check_install_issue(check, issue);
      break;
    case TD_LPU_PASS:
      check_pass_issue(check, issue);
      break;
    case TD_LPU_SUM:
      check_sum_issue(check, issue);
      break;
    case TD_LPU_ALU:
      check_alu_issue(check, issue);
      break;
    case TD_LPU_SEND:
      check_send_issue(check, issue);
      break;
    case TD_LPU_RECEIVE:
      check_receive_issue(check, issue);
      break;
    default:
      check_switch_issue(check, issue);
      break;
  }
}

/* The next issue of the queue; false if there is none. */
static bool step_cursor(struct check *check, int32_t cursor) {
  struct check_cursor *at = &check->cursors[cursor];
  const struct td_lpu_instruction *now = &check->segment->instructions[at->instruction];
  if (++at->iteration < now->repeat) {
    at->cycle += now->gap;
    return true;
  }
  at->iteration = 0;
  if (++at->instruction >= check->looked->runs[cursor].end) {
    at->cycle = INT32_MAX;
    return false;
  }
  at->cycle = now[1].cycle;
  return true;
}

/* Issues of the queue `cursor` in this cycle; a queue that is told too much at once stays behind. */
static void issue_cursor(struct check *check, int32_t cursor) {
  struct check_cursor *at = &check->cursors[cursor];
  struct check_issue issue = check_issue_of(check, at->instruction, at->iteration);
  run_issue(check, &issue);
  if (step_cursor(check, cursor) && at->cycle > check->now) wait_for(check, cursor);
}

static void issue_cycle(struct check *check) {
  int32_t *head = &check->waiting[check->now & (check->wheel - 1)];
  int32_t cursor = *head;
  *head = -1;
  while (cursor >= 0) {
    int32_t next = check->cursors[cursor].next;
    if (check->cursors[cursor].cycle == check->now) {
      issue_cursor(check, cursor);
    } else {
      wait_for(check, cursor); /* a later turn of the wheel */
    }
    cursor = next;
  }
}

/* ---- what issues caused ---- */

static void read_operands(struct check *check, const struct check_issue *issue) {
  const struct td_lpu_instruction *at = issue->at;
  int32_t bytes = at->type == TD_LPU_F16 ? 2 : 1;
  if (at->opcode == TD_LPU_LOAD) {
    struct check_group group = {at->in[0], check->machine->load_vectors * bytes, bytes};
    check_group_read(check, issue, 0, group, at->type);
  } else if (at->opcode == TD_LPU_PASS) {
    struct check_group group = {at->in[0], bytes, bytes};
    check_group_read(check, issue, 0, group, at->type);
  } else if (at->opcode == TD_LPU_ALU) {
    check_alu_operands(check, issue);
  } else if (at->opcode == TD_LPU_SEND) {
    check_send_operands(check, issue);
  } else {
    check_switch_operands(check, issue);
  }
}

static void run_event(struct check *check, const struct check_event *event) {
  struct check_issue issue = check_issue_of(check, event->instruction, event->iteration);
  switch ((enum check_event_kind)event->kind) {
    case CHECK_LOADED:
      check_load_arrived(check, &issue);
      break;
    case CHECK_CHAINED:
      check_alu_arrived(check, &issue);
      break;
    case CHECK_OPERANDS:
      read_operands(check, &issue);
      break;
    case CHECK_STORED:
      check_memory_stored(check, &issue);
      break;
    case CHECK_DUE:
      check_send_due(check, &issue);
      break;
    case CHECK_RESULT:
      check_streams_put(check, &issue, event->tag);
      break;
    case CHECK_WRITTEN:
      check_memory_written(check, &issue);
      break;
  }
}

/* Events may book more for the same cycle and a later phase, not for their own. */
static void run_phase(struct check *check, enum check_phase phase) {
  struct check_bucket *bucket = bucket_at(check, phase, check->now);
  for (int32_t i = 0; i < bucket->count; i++) {
    struct check_event event = bucket->events[i];
    run_event(check, &event);
  }
  check->pending -= bucket->count;
  bucket->count = 0;
}

/* ---- a call ---- */

static td_status start_cursors(struct check *check) {
  int32_t count = check->looked->run_count;
  if (count > check->cursor_room) {
    struct check_cursor *larger = realloc(check->cursors, (size_t)count * sizeof *larger);
    if (!larger) return td_fail(TD_NO_MEMORY, "checker: no memory for %d queues", count);
    check->cursors = larger;
    check->cursor_room = count;
  }
  for (int32_t i = 0; i < count; i++) {
    int32_t first = check->looked->runs[i].begin, cycle = check->segment->instructions[first].cycle;
    check->cursors[i] = (struct check_cursor){first, 0, cycle, -1};
    wait_for(check, i);
  }
  return TD_OK;
}

/* A queue that is busy at the cycle of its next instruction: nothing behind that cycle can be said. */
static void judge_queues(struct check *check) {
  if (check->looked->busy < 0 || check->looked->busy_cycle != check->now) return;
  struct check_issue issue = check_issue_of(check, check->looked->busy, 0);
  check_found(check, TD_RULE_QUEUE, &issue, "the queue is still busy with instruction %d", check->looked->busy - 1);
}

/* Before the first segment is before the epoch; before another, that of the segment before. */
static void judge_early(struct check *check) {
  if (check->looked->early < 0) return;
  struct check_issue issue = check_issue_of(check, check->looked->early, 0);
  int32_t cycle = issue.at->cycle;
  enum td_lpu_rule rule = check->call.cycle + cycle < 0 ? TD_RULE_EPOCH : TD_RULE_SEGMENT;
  check_found_at(check, rule, cycle, &issue, "issued %d cycles before %s", -cycle,
                 rule == TD_RULE_EPOCH ? "the chips are aligned" : "the segment starts");
}

static bool queues_wait(const struct check *check) {
  for (int32_t i = 0; i < check->wheel; i++) {
    if (check->waiting[i] >= 0) return true;
  }
  return false;
}

/* Where nothing is under way, the next cycle in which something is issued: a long segment may be an empty one. */
static int32_t next_cycle(const struct check *check) {
  if (check->pending) return check->now + 1;
  int32_t next = check->segment->length, busy = check->looked->busy_cycle;
  for (int32_t i = 0; i < check->looked->run_count; i++) {
    if (check->cursors[i].cycle < next) next = check->cursors[i].cycle;
  }
  if (check->looked->busy >= 0 && busy < next) next = busy;
  return next > check->now ? next : check->now + 1;
}

/* Violations of this very cycle compete with one that is known already. */
static bool goes_on(const struct check *check) {
  if (check->now >= check->segment->length) return false;
  return !check->out->found || check->call.cycle + check->now <= check->out->cycle;
}

td_status check_replay(struct check *check) {
  judge_early(check);
  TD_TRY(start_cursors(check));
  for (check->now = 0; goes_on(check); check->now = next_cycle(check)) {
    run_phase(check, CHECK_ARRIVE);
    judge_queues(check);
    issue_cycle(check);
    run_phase(check, CHECK_READ);
    run_phase(check, CHECK_PUT);
    if (check->no_memory) return td_fail(TD_NO_MEMORY, "checker: no memory for the replay");
  }
  check->now = check->segment->length;
  if (!check->out->found && (check->pending || queues_wait(check))) {
    check_found(check, TD_RULE_SEGMENT, NULL, "segment %.31s: units work on at its end, cycle %d", check->segment->name,
                check->segment->length);
  }
  return TD_OK;
}
