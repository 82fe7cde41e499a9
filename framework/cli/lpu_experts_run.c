/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_experts_run.h"

#include <stdlib.h>
#include <string.h>

#include "lpu_afd.h"
#include "tandem/base.h"
#include "tandem/cli.h"

static td_status read_zipf(const char *text, double *out) {
  char *end = NULL;
  if (!text) return TD_OK;
  *out = strtod(text, &end);
  if (end != text && !*end && *out >= 0.0 && *out <= 8.0) return TD_OK;
  return td_fail(TD_USAGE, "--zipf: found \"%s\", expected an exponent, 0 (all experts alike) to 8", text);
}

static td_status read_flags(const struct lpu_experts_flags *flags, struct lpu_experts_question *out) {
  int64_t draws = 16, seed = 1, most = out->options.rows;
  if (flags->draws) TD_TRY(td_flag_int("--draws", flags->draws, 1, 100000, &draws));
  if (flags->seed) TD_TRY(td_flag_int("--seed", flags->seed, 0, INT64_MAX, &seed));
  if (flags->most) TD_TRY(td_flag_int("--most", flags->most, 1, 1 << (LPU_EXPERTS_BATCHES - 1), &most));
  out->draws = (int32_t)draws;
  out->seed = (uint64_t)seed;
  out->most = (int32_t)most;
  return read_zipf(flags->zipf, &out->zipf);
}

/* ---- attention elsewhere ---- */

/* The pool that it stands on, and the link between it and the LPUs. */
struct elsewhere {
  struct td_device_params *attention, *link;
  struct lpu_afd_question question;
};

static td_status find_pool(const struct td_experiment *experiment, const char *name, int32_t *out_pool) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  for (*out_pool = 0; *out_pool < experiment->cluster.pools.count; ++*out_pool) {
    if (strcmp(pools[*out_pool].name, name) == 0) return TD_OK;
  }
  return td_fail(TD_USAGE, "--attention: found no pool \"%s\"", name);
}

static td_status find_link(const struct td_experiment *experiment, const char *a, const char *b,
                           struct td_device_params **out) {
  const struct td_cfg_link *links = experiment->cluster.links.items;
  for (int32_t i = 0; i < experiment->cluster.links.count; i++) {
    bool forth = strcmp(links[i].from, a) == 0 && strcmp(links[i].to, b) == 0;
    bool back = strcmp(links[i].from, b) == 0 && strcmp(links[i].to, a) == 0;
    if (forth || back) return td_device_params_open(links[i].device, out);
  }
  return td_fail(TD_CONFIG, "cluster.links: found none between \"%s\" and \"%s\", expected one", a, b);
}

static td_status find_elsewhere(const struct lpu_experts_flags *flags, const struct td_experiment *experiment,
                                int32_t lpus, struct elsewhere *out) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  int32_t pool = 0;
  if (!flags->attention != !flags->context) {
    return td_fail(TD_USAGE, "lpu experts: found one of --attention and --context, expected both or none");
  }
  if (!flags->attention) return TD_OK;
  TD_TRY(find_pool(experiment, flags->attention, &pool));
  TD_TRY(td_flag_int("--context", flags->context, 0, 100000000, &out->question.context));
  TD_TRY(find_link(experiment, pools[pool].name, pools[lpus].name, &out->link));
  TD_TRY(td_device_params_open(pools[pool].device, &out->attention));
  out->question.attention = out->attention;
  out->question.link = out->link;
  out->question.devices = (int32_t)pools[pool].count;
  out->question.kv_dtype = td_experiment_kv_dtype(experiment);
  return TD_OK;
}

/* ---- whole ---- */

static td_status report(const struct lpu_experts_question *question, struct elsewhere *elsewhere, bool varied,
                        bool json) {
  struct lpu_experts experts;
  struct lpu_afd afd;
  struct lpu_sensitivity sensitivity = {0};
  elsewhere->question.machine = question->machine;
  elsewhere->question.graph = question->graph;
  TD_TRY(lpu_experts_make(question, &experts));
  if (elsewhere->link) TD_TRY(lpu_afd_make(&elsewhere->question, &experts, &afd));
  if (varied) TD_TRY(lpu_experts_vary(question, &experts, &sensitivity));
  if (json) {
    lpu_experts_json(&experts, stdout);
    if (elsewhere->link) lpu_afd_json(&afd, &experts, stdout);
    if (varied) lpu_sensitivity_json(&sensitivity, 0.0, stdout);
    puts("}");
  } else {
    lpu_experts_print(&experts, stdout);
    if (elsewhere->link) lpu_afd_print(&afd, &experts, stdout);
    if (varied) lpu_sensitivity_print(&sensitivity, 0.0, stdout);
  }
  lpu_sensitivity_close(&sensitivity);
  return TD_OK;
}

td_status lpu_experts_run(const struct lpu_experts_flags *flags, const struct td_experiment *experiment, int32_t lpus,
                          const struct lpu_experts_question *question, bool json) {
  struct lpu_experts_question asked = *question;
  struct elsewhere elsewhere = {0};
  TD_TRY(read_flags(flags, &asked));
  td_status status = find_elsewhere(flags, experiment, lpus, &elsewhere);
  if (!status) status = report(&asked, &elsewhere, flags->sensitivity, json);
  td_device_params_close(elsewhere.attention);
  td_device_params_close(elsewhere.link);
  return status;
}
