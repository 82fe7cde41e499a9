/* SPDX-License-Identifier: Apache-2.0
 *
 * Links: one vector at a time, received exactly when it is there and not a moment within the drift that the machine
 * declares.
 */
#include "check.h"

/* The chip and link at the other end of a link; false if it is not wired. */
static bool peer_of(const struct check *check, int32_t chip, int32_t link, int32_t *out_chip, int32_t *out_link) {
  if (link >= check->machine->links) return false;
  return td_lpu_link_peer(check->machine, check->program->chips, chip, link, out_chip, out_link);
}

static struct check_sent *sent_at(const struct check *check, const struct check_link *link, int32_t ordinal) {
  return &link->sent[ordinal % check->most_sent];
}

/* Whether the link can take a vector in this cycle. */
static bool judge_send(struct check *check, const struct check_issue *issue, const struct check_link *link) {
  int32_t chip, far;
  const struct check_sent *before = link->count ? sent_at(check, link, link->count - 1) : NULL;
  if (!peer_of(check, issue->chip_number, issue->place->index, &chip, &far)) {
    check_found(check, TD_RULE_LINK, issue, "link %d of chip %d leads nowhere", issue->place->index,
                issue->chip_number);
  } else if (check->spacing > check->machine->link_latency) {
    check_found(check, TD_RULE_LINK, issue, "a vector takes %d cycles on the link, expected at most its latency of %d",
                check->spacing, check->machine->link_latency);
  } else if (before && check->now - before->cycle < check->spacing) {
    check_found(check, TD_RULE_LINK, issue, "sends %d cycles after the last vector, which takes %d",
                check->now - before->cycle, check->spacing);
  } else {
    return true;
  }
  return false;
}

/* What is read may break a rule before LINK, in this very cycle. */
void check_send_issue(struct check *check, const struct check_issue *issue) {
  const struct check_tag none = {TD_LPU_TYPE_COUNT, 0};
  struct check_link *link = &issue->chip->links[issue->place->index];
  bool goes = judge_send(check, issue, link);
  struct check_group in = {issue->at->in[0], 1, 1};
  if (goes) {
    *sent_at(check, link, link->count++) = (struct check_sent){check_maker_of(check, issue), check->now, false, none};
  }
  if (!check_group_fits(check, issue, in, "what is sent")) return;
  check_later(check, issue, CHECK_READ, CHECK_OPERANDS, check->machine->delay[TD_LPU_SEND].skew, none);
  if (goes) check_later(check, issue, CHECK_READ, CHECK_DUE, check->machine->link_latency, none);
}

/* The vector that an instruction sent, of the ring; NULL: long gone. */
static struct check_sent *find_sent(struct check *check, const struct check_issue *issue) {
  struct check_link *link = &issue->chip->links[issue->place->index];
  for (int32_t i = link->count - 1; i >= 0 && i > link->count - check->most_sent; i--) {
    struct check_sent *sent = sent_at(check, link, i);
    if (sent->maker.instruction == issue->instruction && sent->maker.iteration == issue->iteration) return sent;
  }
  return NULL;
}

void check_send_operands(struct check *check, const struct check_issue *issue) {
  struct check_sent *sent = find_sent(check, issue);
  struct check_tag tag = check_stream_read(check, issue, 0, issue->at->in[0], NULL);
  if (sent) sent->tag = tag;
}

void check_send_due(struct check *check, const struct check_issue *issue) {
  const struct check_sent *sent = find_sent(check, issue);
  if (sent && sent->received) return;
  check_found(check, TD_RULE_LINK, issue, "what was sent in cycle %d is not received in this one",
              check->now - check->machine->link_latency);
}

static void receive(struct check *check, const struct check_issue *issue, struct check_link *link) {
  struct check_sent *sent = sent_at(check, link, link->oldest++);
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, TD_MEANING_SENT, 0, issue->iteration);
  sent->received = true;
  if (!check_meant(check, meaning, issue->iteration, &sent->maker)) {
    check_found(check, TD_RULE_LINK, issue, "receives what instruction %d iteration %d sent, expected %d",
                sent->maker.instruction, sent->maker.iteration, meaning ? meaning->producer : -1);
  }
  struct check_group out = {issue->at->out, 1, 1};
  if (!check_group_fits(check, issue, out, "the result")) return;
  check_later(check, issue, CHECK_PUT, CHECK_RESULT, check->machine->delay[TD_LPU_RECEIVE].func, sent->tag);
}

void check_receive_issue(struct check *check, const struct check_issue *issue) {
  int32_t chip, far;
  if (!peer_of(check, issue->chip_number, issue->place->index, &chip, &far)) {
    check_found(check, TD_RULE_LINK, issue, "link %d of chip %d leads nowhere", issue->place->index,
                issue->chip_number);
    return;
  }
  struct check_link *link = &check->chips[chip].links[far];
  const struct check_sent *sent = link->oldest < link->count ? sent_at(check, link, link->oldest) : NULL;
  int32_t early = sent ? sent->cycle + check->machine->link_latency - check->now : 0;
  if (sent && early == 0) {
    receive(check, issue, link);
  } else if (sent && early > 0 && early <= check->machine->link_slack) {
    check_found(check, TD_RULE_EPOCH, issue,
                "receives %d cycles before the vector is there for certain: the clocks of "
                "two chips may differ by %d",
                early, check->machine->link_slack);
  } else {
    check_found(check, TD_RULE_LINK, issue, "no vector is there: the next comes %d cycles later", early);
  }
}
