/* SPDX-License-Identifier: Apache-2.0 */
#include "random_cluster.h"

#include "../support.h"
#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

/* ---- draws ---- */

struct dice {
  uint64_t number, throws;
  /* what goes wrong is thrown apart, often at the instants that requests were asked for */
  bool faulty, capped;
  uint64_t fault_throws;
  int idle_w, most_w; /* of all workers and orchestrators idle; beside that, of the one that takes most */
  /* and how replicas are split */
  bool split, experts;
  uint64_t split_throws;
  const int64_t *instants;
  int instant_count;
  bool caches, tools;
  uint64_t kind_throws; /* of what kinds devices, KV and pools are */
};

/* low .. high */
static int draw(struct dice *dice, int low, int high) {
  return low + (int)(td_random(11, dice->number, dice->throws++) % (uint64_t)(high - low + 1));
}

/* low .. high */
static int draw_kind(struct dice *dice, int low, int high) {
  return low + (int)(td_random(14, dice->number, dice->kind_throws++) % (uint64_t)(high - low + 1));
}

static const char *pick(struct dice *dice, const char *const *from, int count) {
  return from[draw(dice, 0, count - 1)];
}

/* ---- a config ---- */

static void add_engine(struct dice *dice, const char *policy, struct td_text *out) {
  int sequences = draw(dice, 0, 3) ? draw(dice, 1, 9) : 64;
  td_text_printf(out,
                 "engine = { pace = \"priced\"; policy = \"%s\"; chunk_tokens = %d; batch_sequences = %d; "
                 "batch_tokens = %d; block_tokens = %d; handoff = \"%s\"; handoff_layers = %d; policy_interval = %g;\n",
                 policy, draw(dice, 0, 2) ? draw(dice, 1, 96) : 0, sequences, sequences + draw(dice, 0, 128),
                 draw(dice, 1, 20), draw(dice, 0, 2) ? "layers" : "blob", draw(dice, 1, 5), 1e-4 * draw(dice, 1, 100));
  if (draw(dice, 0, 1)) td_text_printf(out, "first = \"prompts\"; pauses = %d;", draw(dice, 1, 3));
  if (dice->caches) td_text_printf(out, "prefix_cache = true;");
  if (!draw_kind(dice, 0, 2)) td_text_printf(out, "kv_dtype = \"fp8\";");
}

/* How KV blocks are taken, and what the policy reads, now and then left out where it may be. */
static void add_options(struct dice *dice, const char *policy, struct td_text *out) {
  if (draw(dice, 0, 1)) {
    td_text_printf(out, "kv = \"grow\"; preemption = \"%s\";\n", draw(dice, 0, 1) ? "recompute" : "swap");
  }
  td_text_printf(out, "policy_options = {");
  if (!strcmp(policy, "conditional") || !strcmp(policy, "mixed")) {
    td_text_printf(out, "threshold_tokens = %d;", draw(dice, 0, 120));
  } else if (!strcmp(policy, "tiers")) {
    td_text_printf(out, "tiers = ( {slo_ttft = %g;}, {slo_ttft = %g;} );", 1e-3 * draw(dice, 1, 50),
                   1e-3 * draw(dice, 1, 50));
  } else if (!strcmp(policy, "admission")) {
    if (draw(dice, 0, 1)) td_text_printf(out, "slo_ttft = %g;", 1e-3 * draw(dice, 1, 50));
    td_text_printf(out, "queue_limit = %d;", draw(dice, 0, 12));
  } else if (!strcmp(policy, "autoscale")) {
    td_text_printf(out, "slo_ttft = %g; high = %g; low = %g;", 1e-3 * draw(dice, 1, 30), 0.05 * draw(dice, 2, 12),
                   0.01 * draw(dice, 1, 9));
  } else if (!strcmp(policy, "splitwise") && draw(dice, 0, 3)) {
    td_text_printf(out, "threshold_tokens = %d;", draw(dice, 0, 400));
  } else if (!strcmp(policy, "kv_aware") && draw(dice, 0, 1)) {
    td_text_printf(out, "prefix_weight = %g;", 0.5 * draw(dice, 0, 6));
  }
  td_text_printf(out, "}; };\n");
}

/* low .. high */
static int draw_fault(struct dice *dice, int low, int high) {
  return low + (int)(td_random(12, dice->number, dice->fault_throws++) % (uint64_t)(high - low + 1));
}

/* low .. high */
static int draw_split(struct dice *dice, int low, int high) {
  return low + (int)(td_random(13, dice->number, dice->split_throws++) % (uint64_t)(high - low + 1));
}

static double fault_time(struct dice *dice) {
  if (!dice->instant_count || !draw_fault(dice, 0, 2)) return 1e-4 * draw_fault(dice, 0, 600);
  return (double)dice->instants[draw_fault(dice, 0, dice->instant_count - 1)] * 1e-12;
}

static void add_cap(struct dice *dice, int chips, struct td_text *out) {
  if (dice->capped && draw_fault(dice, 0, 1))
    td_text_printf(out, "power_cap = %d; ", chips * draw_fault(dice, 50, 320));
}

static void add_faults(struct dice *dice, int workers, struct td_text *out) {
  if (!dice->faulty) return;
  if (draw_fault(dice, 0, 1)) {
    td_text_printf(out, "failures = { mean_time_between = %g; mean_time_to_repair = %g; law = \"%s\"; }; ",
                   1e-3 * draw_fault(dice, 8, 200), 1e-4 * draw_fault(dice, 1, 200),
                   draw_fault(dice, 0, 3) ? "exponential" : "constant");
  }
  td_text_printf(out, "outages = (");
  for (int i = 0, count = draw_fault(dice, 0, 6); i < count; i++) {
    double at = fault_time(dice), lasts = 1e-4 * draw_fault(dice, 1, 100);
    if (!draw_fault(dice, 0, 40)) lasts = 0; /* for good */
    td_text_printf(out, "%s{ worker = %d; at = %.17g; lasts = %g; }", i ? "," : "", draw_fault(dice, 0, workers - 1),
                   at > 0 ? at : 0.0, lasts);
  }
  td_text_printf(out, "); ");
}

/* The host's bandwidth, a fast tier, a slow one. */
static void add_tiers(struct dice *dice, int stages, struct td_text *out) {
  static const char *const rates[] = {"", "bandwidth = 50.0;", "bandwidth = 0.01;"};
  int count = draw(dice, 0, 2);
  td_text_printf(out, "tiers = (");
  for (int i = 0; i < count; i++) {
    int tokens = stages * draw(dice, 16, 600);
    const char *rate = pick(dice, rates, 3),
               *survives = dice->faulty && draw_fault(dice, 0, 1) ? "survives = true;" : "";
    td_text_printf(out, "%s{ name = \"t%d\"; tokens = %d; %s %s }", i ? "," : "", i, tokens, rate, survives);
  }
  td_text_printf(out, "); ");
}

/* Stages, chips in tensor parallel, chips that experts are spread over; all but the first two in one place. */
struct split {
  int stages, tensor, expert;
};

static struct split draw_parts(struct dice *dice) {
  struct split split = {1, 1, 1};
  if (!dice->split) return split;
  split.stages = draw_split(dice, 0, 2) ? draw_split(dice, 2, 4) : 1;
  if (draw_split(dice, 0, 2)) return split;
  split.tensor = draw_split(dice, 1, 2);
  if (dice->experts) split.expert = split.tensor * draw_split(dice, 1, 4);
  return split;
}

static void add_parts(struct dice *dice, const struct split *split, const char *folder, struct td_text *out) {
  static const char *const links[] = {"fast", "slow"};
  if (split->tensor > 1) td_text_printf(out, "tensor = %d; ", split->tensor);
  if (split->expert > 1) td_text_printf(out, "expert = %d; ", split->expert);
  if (split->stages > 1) {
    td_text_printf(out, "pipeline = %d; pipeline_link = \"%s/%s.cfg\"; ", split->stages, folder,
                   links[draw_split(dice, 0, 1)]);
  }
  if (split->expert > split->tensor && draw_split(dice, 0, 1)) {
    td_text_printf(out, "expert_link = \"%s/%s.cfg\"; ", folder, links[draw_split(dice, 0, 1)]);
  }
}

static void add_pool(struct dice *dice, const char *name, const char *role, const char *folder, struct td_text *out) {
  int tokens = draw(dice, 0, 1) || dice->caches ? draw(dice, 420, 900) : 20000; /* the longest request has 400 */
  int workers = draw(dice, 1, 4);
  const struct split split = draw_parts(dice);
  int chips = split.expert > split.tensor ? split.expert : split.tensor;
  dice->idle_w += 50 * chips * split.stages * workers; /* of the test's chip, which takes 250 more at steps */
  if (250 * chips > dice->most_w) dice->most_w = 250 * chips;
  td_text_printf(out, "%s{ name = \"%s\"; role = \"%s\"; backend = \"modelled\"; count = %d; kv_tokens = %d; ",
                 strstr(out->data, "name = \"p") || strstr(out->data, "name = \"d") ? ", " : "", name, role, workers,
                 tokens * split.stages * (split.expert > split.tensor ? split.expert / split.tensor : 1));
  td_text_printf(out, "device = \"%s/%s.cfg\"; ", folder, draw_kind(dice, 0, 2) ? "chip" : "other");
  add_parts(dice, &split, folder, out);
  if (dice->caches) add_tiers(dice, split.stages, out);
  add_cap(dice, chips, out);
  add_faults(dice, workers, out);
  td_text_printf(out, "}");
}

/* Neither prefill nor decode alone is a role to it, so that a new policy that is a copy of such a one gets what it
 * takes. */
static bool colocates(const char *policy) {
  struct td_worker_view both = {.role = TD_ROLE_BOTH}, split[] = {{.role = TD_ROLE_PREFILL}, {.role = TD_ROLE_DECODE}};
  const struct td_cfg_policy options = {.slo_ttft = 1, .high = 0.9, .low = 0.5};
  const struct td_policy *asked = td_policy_find(policy);
  return !asked->check(&(struct td_cluster_view){.workers = &both, .worker_count = 1, .options = &options}) &&
         asked->check(&(struct td_cluster_view){.workers = split, .worker_count = 2, .options = &options});
}

static bool takes_any(const char *policy) {
  static const char *const any[] = {"tiers", "admission", "kv_aware", "round_robin"};
  bool either = false;
  for (int i = 0; i < 4; i++) either |= !strcmp(policy, any[i]);
  return either;
}

static bool both_only(const char *policy, struct dice *dice) {
  if (colocates(policy)) return true;
  return takes_any(policy) && draw(dice, 0, 1);
}

/* Every pool to every pool: what a policy does not use does no harm. */
static void add_links(struct dice *dice, const char *const *pools, int count, const char *folder, struct td_text *out) {
  static const char *const links[] = {"fast", "slow"};
  td_text_printf(out, "links = (");
  for (int i = 0; i < count * count; i++) {
    td_text_printf(out, "%s { from = \"%s\"; to = \"%s\"; device = \"%s/%s.cfg\"; }", i ? "," : "", pools[i / count],
                   pools[i % count], folder, pick(dice, links, 2));
  }
  td_text_printf(out, "); };\n");
}

static void add_orchestrators(struct dice *dice, struct td_text *out) {
  static const char *const speeds[] = {"1.0", "1.0", "0.3", "1.7"};
  int pools = draw(dice, 1, 2), least = 3;
  td_text_printf(out, "orchestrators = { pools = (");
  for (int i = 0; i < pools; i++) {
    int machines = draw(dice, 1, 3), cores = draw(dice, 1, 3);
    if (cores < least) least = cores;
    const char *speed = pick(dice, speeds, 4);
    int busy = 10 * draw(dice, 1, 20), idle = draw(dice, 0, 10);
    td_text_printf(out, "%s{ name = \"o%d\"; count = %d; cores = %d; speed = %s; power_busy = %d; power_idle = %d; ",
                   i ? "," : "", i, machines, cores, speed, busy, idle);
    dice->idle_w += machines * idle;
    if (busy > dice->most_w) dice->most_w = busy;
    add_faults(dice, machines, out);
    td_text_printf(out, "}");
  }
  td_text_printf(out, "); call_cores = %d; sticky = %s; tokenize = %g; detokenize = %g; }; ", draw(dice, 1, least),
                 draw(dice, 0, 1) ? "true" : "false", draw(dice, 0, 1) ? 0.0 : 1e-6 * draw(dice, 1, 20),
                 draw(dice, 0, 1) ? 0.0 : 1e-6 * draw(dice, 1, 20));
}

static void add_cluster(struct dice *dice, const char *policy, const char *folder, struct td_text *out) {
  const char *pools[5];
  int count = 0;
  struct td_text list = {0};
  td_text_printf(&list, " ");
  bool both = both_only(policy, dice), mixed = !strcmp(policy, "mixed");
  bool split = !both || (takes_any(policy) && draw_kind(dice, 0, 1));
  if (both) add_pool(dice, pools[count++] = "p0", "both", folder, &list);
  if (both && draw(dice, 0, 2) == 0) add_pool(dice, pools[count++] = "p1", "both", folder, &list);
  if (split) add_pool(dice, pools[count++] = "p2", "prefill", folder, &list);
  if (split) add_pool(dice, pools[count++] = "d0", "decode", folder, &list);
  if (!both && !mixed && draw(dice, 0, 2) == 0) add_pool(dice, pools[count++] = "d1", "decode", folder, &list);
  if (mixed) add_pool(dice, pools[count++] = "p3", "both", folder, &list);
  td_text_printf(out, "cluster = { pools = (%s);\n", list.data);
  td_text_free(&list);
  if (dice->tools) add_orchestrators(dice, out);
  if (dice->capped && draw_fault(dice, 0, 3)) {
    td_text_printf(out, "power_cap = %d; ", dice->idle_w + dice->most_w + draw_fault(dice, 0, 5 * dice->idle_w));
  }
  add_links(dice, pools, count, folder, out);
}

/* All at once, on a grid where many coincide, in twins, or anywhere. */
static double arrival_of(struct dice *dice, int pattern, double last) {
  switch (pattern) {
    case 1:
      return 0;
    case 2:
      return 1e-3 * draw(dice, 0, 20);
    case 3:
      return draw(dice, 0, 1) ? last : last + 1e-6 * draw(dice, 0, 4000);
    default:
      return 1e-7 * draw(dice, 0, 400000);
  }
}

/* Patterns below 1: a few equal prompts all at once, so that workers go in step. */
static void add_requests(struct dice *dice, int64_t burst_ps, struct td_text *out) {
  int count = draw(dice, 1, 40), pattern = draw(dice, -3, 4), prompt = draw(dice, 1, 200), output = draw(dice, 1, 150);
  double last = 0;
  if (pattern < 1 && count > 12) count = 12;
  td_text_printf(out, "workload = { stop_at_end = false; requests = (");
  for (int i = 0; i < count + (burst_ps < 0 ? 0 : 3); i++) {
    if (draw(dice, 0, 2)) { /* else as the one before */
      if (pattern > 0) prompt = draw(dice, 0, 4) ? draw(dice, 1, 200) : draw(dice, 1, 4) * 16;
      output = draw(dice, 0, 5) ? draw(dice, 1, 150) : draw(dice, 1, 2);
    }
    last = i < count ? pattern < 1 ? 0 : arrival_of(dice, pattern, last) : (double)burst_ps * 1e-12;
    td_text_printf(out, "%s{prompt_tokens=%d;max_tokens=%d;arrival=%.17g;}", i ? "," : "", prompt, output,
                   last > 0 ? last : 0.0);
  }
  td_text_printf(out, "); };\n");
}

/* Jobs with tiers, shared beginnings and answers that others wait for. */
static void add_source(struct dice *dice, struct td_text *out) {
  td_text_printf(
      out,
      "workload = { source = { format = \"generated\"; requests = %d;\n"
      "prompt = { law = \"uniform\"; low = 1; high = %d; }; output = { law = \"uniform\"; low = 1; high = %d; };\n",
      draw(dice, 5, 60), draw(dice, 2, 150), draw(dice, 2, 120));
  if (draw(dice, 0, 1)) {
    td_text_printf(out, "arrivals = \"closed\"; users = %d; think = %g;\n", draw(dice, 1, 12),
                   draw(dice, 0, 1) ? 0.0 : 1e-3 * draw(dice, 1, 20));
  } else {
    td_text_printf(out, "arrivals = \"gamma\"; rate = %d; cv = %d;\n", draw(dice, 100, 3000), draw(dice, 1, 4));
  }
  if (draw(dice, 0, 1)) td_text_printf(out, "tiers = ( {weight = 1.0;}, {weight = 3.0;}, {weight = 2.0;} );\n");
  if (draw(dice, 0, 1)) {
    td_text_printf(out, "block_tokens = 8; prefixes = ( {tokens = %d; choices = 2;}, {tokens = %d; choices = 3;} );\n",
                   draw(dice, 8, 60), draw(dice, 8, 60));
  }
  td_text_printf(out, "}; };\n");
}

static void add_shared_arrivals(struct dice *dice, struct td_text *out) {
  if (draw(dice, 0, 1)) {
    td_text_printf(out, "arrivals = \"closed\"; users = %d;\n", draw(dice, 1, 12));
  } else if (draw(dice, 0, 1)) {
    td_text_printf(out, "arrivals = \"constant\"; rate = %d;\n", draw(dice, 1, 30) * 100);
  } else {
    td_text_printf(out, "arrivals = \"gamma\"; rate = %d; cv = %d;\n", draw(dice, 100, 3000), draw(dice, 1, 4));
  }
  td_text_printf(out, "}; };\n");
}

/* Whose turns call tools. */
static void add_sessions(struct dice *dice, const char *folder, struct td_text *out) {
  td_text_printf(out, "workload = { source = { block_tokens = %d; format = \"sessions\"; file = \"%s/sessions.csv\"; ",
                 draw(dice, 1, 16), folder);
  td_text_printf(out, "requests = %d; ", draw(dice, 8, 24));
  add_shared_arrivals(dice, out);
}

/* Twins by constant lengths, sessions, or a tree of beginnings that a few share. */
static void add_shared_source(struct dice *dice, const char *folder, struct td_text *out) {
  int kind = draw(dice, 0, 2), block = draw(dice, 1, 16);
  td_text_printf(out, "workload = { source = { block_tokens = %d; ", block);
  if (kind == 0) {
    td_text_printf(out, "format = \"sessions\"; file = \"%s/sessions.csv\"; requests = %d; ", folder,
                   draw(dice, 8, 24));
  } else {
    td_text_printf(out,
                   "format = \"generated\"; requests = %d; prefixes = ( {tokens = %d; choices = %d;}, "
                   "{tokens = %d; choices = 4; share = 0.7;} );\n",
                   draw(dice, 20, 90), draw(dice, 8, 80), draw(dice, 1, 3), draw(dice, 8, 80));
    int low = draw(dice, 1, 40), high = kind == 1 ? low : low + draw(dice, 0, 40);
    td_text_printf(out,
                   "prompt = { law = \"uniform\"; low = %d; high = %d; }; "
                   "output = { law = \"uniform\"; low = %d; high = %d; };\n",
                   low, high, low, high);
  }
  add_shared_arrivals(dice, out);
}

static void hand_over(struct td_text *text, char *out, size_t size) {
  assert_false(text->failed);
  assert_true(text->bytes < size);
  memcpy(out, text->data, text->bytes + 1);
  td_text_free(text);
}

static void add_head(struct dice *dice, const char *folder, struct td_text *out) {
  static const char *const models[] = {"dense", "window", "experts"};
  int model = draw(dice, 0, 2);
  dice->experts = model > 0;
  td_text_printf(out, "name = \"random\"; model = \"%s/%s.cfg\"; seed = 3;\n", folder, models[model]);
}

static void add_workload(struct dice *dice, const struct random_which *which, const char *folder, struct td_text *out) {
  if (which->kind == RANDOM_TOOLED) {
    add_sessions(dice, folder, out);
  } else if (which->kind == RANDOM_CACHED) {
    add_shared_source(dice, folder, out);
  } else if (which->number % 4 == 0) {
    add_source(dice, out);
  } else {
    add_requests(dice, which->instant_ps, out);
  }
}

void random_cluster(const struct random_which *which, const char *folder, char *out, size_t size) {
  const uint64_t number = which->number;
  const bool cached = which->kind == RANDOM_CACHED, tooled = which->kind == RANDOM_TOOLED;
  struct dice dice = {.number = cached   ? ~number
                                : tooled ? number << 32
                                         : number,
                      .tools = tooled,
                      .caches = cached || (tooled && number % 4 == 3),
                      .faulty = number % 3 == 1,
                      .instants = &which->instant_ps,
                      .instant_count = which->instant_ps > 0,
                      .capped = number % 5 < 2,
                      .split = number % 7 < (cached || tooled ? 2 : 3)};
  struct td_text text = {0};
  add_head(&dice, folder, &text);
  add_engine(&dice, which->policy, &text);
  add_options(&dice, which->policy, &text);
  add_cluster(&dice, which->policy, folder, &text);
  add_workload(&dice, which, folder, &text);
  hand_over(&text, out, size);
}
