/* SPDX-License-Identifier: Apache-2.0
 *
 * What an option table cannot say: names that must be unique or exist, numbers that must agree.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"
#include "tandem/devices.h"
#include "tandem/experiment.h"
#include "tandem/lpu_machine.h"

#define NAME_MOST 31 /* bytes of a name in a trace row */
#define TIERS_MOST 7 /* below the KV cache */

static td_status check_engine(const struct td_config *config, const struct td_cfg_engine *engine) {
  if (!*engine->policy) return td_config_fail(config, "engine.policy", "found \"\", expected a policy's name");
  return TD_OK;
}

/* What runs steps is a chip, however it is described. */
static bool is_of_kind(const struct td_device_params *found, enum td_device_kind kind) {
  if (kind != TD_KIND_LINK && td_lpu_machine_of(found)) return true;
  return found->kind == kind || (kind != TD_KIND_LINK && (found->kind == TD_KIND_CHIP || found->kind == TD_KIND_LPU));
}

/* Opens the device file that `key` of a list's element names and checks its kind; a path relative to the config's
 * folder is made absolute. */
static td_status check_file(struct td_config *config, const char *list, int32_t index, const char *key,
                            enum td_device_kind kind, const char **device) {
  char path[64];
  struct td_device_params *params;
  TD_TRY(td_format(path, sizeof path, "%s.[%d].%s", list, index, key));
  if (strchr(*device, '/') || (strlen(*device) > 4 && !strcmp(*device + strlen(*device) - 4, ".cfg"))) {
    bool exact;
    const struct cfg_node *node = td_cfg_locate(config, path, &exact);
    const char *trouble = NULL;
    TD_TRY(td_cfg_resolve(config, *device, exact && node->file == CFG_FROM_SET, device, &trouble));
    if (trouble) return td_config_fail(config, path, "%s", trouble);
  }
  td_status status = td_device_params_open(*device, &params);
  if (status == TD_NO_MEMORY) return status;
  if (status) return td_config_fail(config, path, "%s", td_error_text());
  enum td_device_kind found = params->kind;
  bool fits = is_of_kind(params, kind);
  td_device_params_close(params);
  if (fits) return TD_OK;
  return td_config_fail(config, path, "found %s, a device file of kind %s, expected one of kind %s", *device,
                        td_device_kind_name(found),
                        td_device_kind_name(kind == TD_KIND_LPU_SYSTEM ? TD_KIND_LPU : kind));
}

td_status td_cfg_check_pool_name(const struct td_config *config, const char *path, const char *name) {
  char shown[CFG_SHOWN + 8];
  td_cfg_shorten(name, shown, sizeof shown);
  if (*name && strlen(name) <= NAME_MOST - 5 &&
      strspn(name,
             "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
             "0123456789_-") == strlen(name)) {
    return TD_OK;
  }
  return td_config_fail(config, path, "found %s, expected 1 to %d letters, digits, _ or -", shown, NAME_MOST - 5);
}

td_status td_cfg_check_device(struct td_config *config, const char *list, int32_t index, int kind,
                              const char **device) {
  return check_file(config, list, index, "device", (enum td_device_kind)kind, device);
}

static td_status fail_pool(const struct td_config *config, int32_t index, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].%s", index, key));
  return td_config_fail(config, path, "%s", text);
}

/* Stages, and chips of experts, with the links that they need. */
static td_status check_split(struct td_config *config, int32_t index, struct td_cfg_pool *pool) {
  char text[160];
  if (pool->pipeline > 1 && !*pool->pipeline_link) {
    return fail_pool(config, index, "pipeline_link", "found none, expected a device file of kind link: pipeline > 1");
  }
  if (pool->pipeline == 1 && *pool->pipeline_link) {
    return fail_pool(config, index, "pipeline_link", "found one, expected none with pipeline = 1");
  }
  if (pool->expert > 1 && pool->expert % pool->tensor) {
    TD_TRY(td_format(text, sizeof text, "found %" PRId64 ", expected 1 or a multiple of tensor = %" PRId64,
                     pool->expert, pool->tensor));
    return fail_pool(config, index, "expert", text);
  }
  if (pool->expert <= pool->tensor && *pool->expert_link) {
    return fail_pool(config, index, "expert_link", "found one, expected none unless expert > tensor");
  }
  if (*pool->pipeline_link) {
    TD_TRY(check_file(config, "cluster.pools", index, "pipeline_link", TD_KIND_LINK, &pool->pipeline_link));
  }
  if (!*pool->expert_link) return TD_OK;
  return check_file(config, "cluster.pools", index, "expert_link", TD_KIND_LINK, &pool->expert_link);
}

static td_status check_pool_name(const struct td_config *config, const struct td_cfg_pool *pools, int32_t index) {
  char path[64], shown[CFG_SHOWN + 8];
  const char *name = pools[index].name;
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].name", index));
  TD_TRY(td_cfg_check_pool_name(config, path, name));
  td_cfg_shorten(name, shown, sizeof shown);
  for (int32_t i = 0; i < index; i++) {
    if (strcmp(pools[i].name, name)) continue;
    return td_config_fail(config, path, "found %s, expected a name of its own: cluster.pools.[%d] has it too", shown,
                          i);
  }
  return TD_OK;
}

static td_status check_pools(struct td_config *config, const struct td_cfg_cluster *cluster) {
  struct td_cfg_pool *pools = cluster->pools.items;
  if (cluster->pools.count < 1 || cluster->pools.count > 1024) {
    return td_config_fail(config, "cluster.pools", "found a list of %d, expected 1..1024 pools", cluster->pools.count);
  }
  for (int32_t i = 0; i < cluster->pools.count; i++) {
    TD_TRY(check_pool_name(config, pools, i));
    TD_TRY(check_split(config, i, &pools[i]));
    if (!*pools[i].device) continue;
    bool lpu = !strcmp(pools[i].backend, "lpu") || !strncmp(pools[i].backend, "lpu:", 4);
    enum td_device_kind kind = lpu ? TD_KIND_LPU_SYSTEM : TD_KIND_CHIP;
    TD_TRY(td_cfg_check_device(config, "cluster.pools", i, kind, &pools[i].device));
  }
  return TD_OK;
}

static td_status fail_tier(const struct td_config *config, int32_t pool, int32_t tier, const char *key,
                           const char *text) {
  char path[80];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%d].tiers.[%d]%s", pool, tier, key));
  return td_config_fail(config, path, "%s", text);
}

static td_status check_tiers(const struct td_config *config, const struct td_experiment *experiment, int32_t pool) {
  const struct td_list *list = &((const struct td_cfg_pool *)experiment->cluster.pools.items)[pool].tiers;
  const struct td_cfg_tier_below *tiers = list->items;
  if (list->count && !experiment->engine.prefix_cache) {
    return fail_tier(config, pool, 0, "", "found a tier, expected none without engine.prefix_cache");
  }
  if (list->count > TIERS_MOST) return fail_tier(config, pool, TIERS_MOST, "", "found an 8th, expected at most 7");
  for (int32_t i = 0; i < list->count; i++) {
    if (!*tiers[i].name || strlen(tiers[i].name) > NAME_MOST || !strcmp(tiers[i].name, "kv")) {
      return fail_tier(config, pool, i, ".name",
                       "found none, over 31 bytes, or \"kv\" (the KV cache), expected another");
    }
    for (int32_t j = 0; j < i; j++) {
      if (strcmp(tiers[i].name, tiers[j].name)) continue;
      return fail_tier(config, pool, i, ".name", "found the name of a tier above it, expected one of its own");
    }
  }
  return TD_OK;
}

static td_status check_link_end(const struct td_config *config, const struct td_list *pools, int32_t index,
                                const char *end, const char *name) {
  const struct td_cfg_pool *pool = pools->items, *nearest = NULL;
  int best = strlen(name) < 6 ? (int)strlen(name) / 2 + 1 : 4;
  for (int32_t i = 0; i < pools->count; i++) {
    int distance = td_edit_distance(pool[i].name, name);
    if (distance == 0 && !strcmp(pool[i].name, name)) return TD_OK;
    if (distance >= best) continue;
    best = distance;
    nearest = &pool[i];
  }
  char path[64], shown[CFG_SHOWN + 8];
  TD_TRY(td_format(path, sizeof path, "cluster.links.[%d].%s", index, end));
  td_cfg_shorten(name, shown, sizeof shown);
  return td_config_fail(config, path, "found %s, expected the name of a pool%s%s%s", shown,
                        nearest ? "; did you mean " : "", nearest ? nearest->name : "", nearest ? "?" : "");
}

static td_status check_links(struct td_config *config, const struct td_cfg_cluster *cluster) {
  struct td_cfg_link *links = cluster->links.items;
  if (cluster->links.count > 4096) {
    return td_config_fail(config, "cluster.links", "found a list of %d, expected at most 4096", cluster->links.count);
  }
  for (int32_t i = 0; i < cluster->links.count; i++) {
    TD_TRY(check_link_end(config, &cluster->pools, i, "from", links[i].from));
    TD_TRY(check_link_end(config, &cluster->pools, i, "to", links[i].to));
    TD_TRY(td_cfg_check_device(config, "cluster.links", i, TD_KIND_LINK, &links[i].device));
    for (int32_t j = 0; j < i; j++) {
      if (strcmp(links[i].from, links[j].from) || strcmp(links[i].to, links[j].to)) continue;
      char path[64];
      TD_TRY(td_format(path, sizeof path, "cluster.links.[%d]", i));
      return td_config_fail(config, path, "found a second link from %s to %s, expected one: cluster.links.[%d]",
                            links[i].from, links[i].to, j);
    }
  }
  return TD_OK;
}

static td_status request_wrong(const struct td_config *config, int32_t index, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "workload.requests.[%d]%s%s", index, *key ? "." : "", key));
  return td_config_fail(config, path, "%s", text);
}

static td_status check_request(const struct td_config *config, int32_t i, const struct td_cfg_request *request) {
  bool text = *request->prompt, count = request->prompt_tokens > 0;
  if (!text && !count) return request_wrong(config, i, "", "found neither prompt nor prompt_tokens, expected one");
  if (text && count)
    return request_wrong(config, i, "prompt_tokens", "found it beside prompt, expected one of the two");
  if (*request->system && !text) return request_wrong(config, i, "system", "found it without prompt, expected both");
  if (*request->system && !request->chat) {
    return request_wrong(config, i, "system", "found it with chat = false, expected chat = true");
  }
  if (strlen(request->name) > NAME_MOST) {
    return request_wrong(config, i, "name", "found a name of over 31 bytes, expected at most that");
  }
  return TD_OK;
}

struct named {
  const char *name;
  int32_t index;
};

static int compare_names(const void *a, const void *b) {
  const struct named *left = a, *right = b;
  int order = strcmp(left->name, right->name);
  return order ? order : (left->index > right->index) - (left->index < right->index);
}

/* Fills in "r0", "r1", ... so that every request has a name, and refuses names that come twice. */
static td_status name_requests(struct td_config *config, const struct td_list *list) {
  struct td_cfg_request *requests = list->items;
  void *memory = NULL;
  TD_TRY(td_cfg_alloc(config, (size_t)list->count, sizeof(struct named), &memory));
  struct named *names = memory;
  for (int32_t i = 0; i < list->count; i++) {
    char name[16];
    snprintf(name, sizeof name, "r%d", i);
    if (!*requests[i].name) TD_TRY(td_cfg_copy(config, name, strlen(name), &requests[i].name));
    names[i] = (struct named){requests[i].name, i};
  }
  qsort(names, (size_t)list->count, sizeof *names, compare_names);
  for (int32_t i = 1; i < list->count; i++) {
    if (strcmp(names[i - 1].name, names[i].name)) continue;
    char path[64];
    TD_TRY(td_format(path, sizeof path, "workload.requests.[%d].name", names[i].index));
    return td_config_fail(config, path, "found \"%s\", expected a name of its own: workload.requests.[%d] has it too",
                          names[i].name, names[i - 1].index);
  }
  return TD_OK;
}

static td_status check_workload(struct td_config *config, const struct td_cfg_workload *workload) {
  const struct td_list *list = &workload->requests;
  if (td_source_given(&workload->source)) {
    if (!list->count) return td_cfg_check_source(config, &workload->source);
    return td_config_fail(config, "workload.requests", "found it beside workload.source, expected one of the two");
  }
  if (!list->count) return td_config_fail(config, "workload.requests", "found no request, expected some, or a source");
  for (int32_t i = 0; i < list->count; i++) {
    TD_TRY(check_request(config, i, (const struct td_cfg_request *)list->items + i));
  }
  return name_requests(config, list);
}

static td_status parse_and_check(struct td_config *config, struct td_experiment *out) {
  TD_TRY(td_config_parse(config, &td_experiment_group, out));
  if (!*out->name) return td_config_fail(config, "name", "found \"\", expected a name");
  if (!*out->model) return td_config_fail(config, "model", "found \"\", expected a path");
  TD_TRY(check_engine(config, &out->engine));
  TD_TRY(check_pools(config, &out->cluster));
  for (int32_t i = 0; i < out->cluster.pools.count; i++) {
    TD_TRY(td_cfg_check_lpu(config, out, i));
    TD_TRY(check_tiers(config, out, i));
  }
  TD_TRY(check_links(config, &out->cluster));
  TD_TRY(td_cfg_check_faults(config, &out->cluster));
  TD_TRY(td_cfg_check_orchestrators(config, &out->cluster));
  return check_workload(config, &out->workload);
}

td_status td_experiment_open(const char *path, const char *const *sets, int32_t set_count,
                             struct td_config **out_config, struct td_experiment *out_experiment) {
  struct td_config *config;
  TD_TRY(td_config_open(path, sets, set_count, &config));
  td_status status = parse_and_check(config, out_experiment);
  if (status) {
    td_config_close(config);
    return status;
  }
  *out_config = config;
  return TD_OK;
}
