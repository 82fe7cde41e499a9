/* SPDX-License-Identifier: Apache-2.0 */
#include "list.h"

#include <stdlib.h>

#include "tandem/base.h"

static int compare(const void *a, const void *b) {
  const struct listed *left = a, *right = b;
  if (left->at_ps != right->at_ps) return left->at_ps < right->at_ps ? -1 : 1;
  return (left->index > right->index) - (left->index < right->index);
}

static td_status place(const struct td_config *config, const struct list *list, int32_t i) {
  const struct td_cfg_request *request = (const struct td_cfg_request *)list->workload->requests.items + i;
  char path[64];
  TD_TRY(td_format(path, sizeof path, "workload.requests.[%d]", i));
  if (!request->prompt_tokens) {
    td_config_fail(config, path, "found text, expected prompt_tokens: nothing here reads text");
    return TD_UNSUPPORTED;
  }
  list->order[i].index = i;
  if (!td_ps_from_seconds(request->arrival, &list->order[i].at_ps)) return TD_OK;
  return td_config_fail(config, path, "%s", td_error_text());
}

td_status list_open(const struct td_config *config, const struct td_cfg_workload *workload, struct list *out_list) {
  struct list list = {.workload = workload, .count = workload->requests.count};
  TD_TRY(td_alloc((size_t)list.count, sizeof *list.order, (void **)&list.order));
  td_status status = TD_OK;
  for (int32_t i = 0; i < list.count && !status; i++) status = place(config, &list, i);
  if (status) {
    list_close(&list);
    return status;
  }
  qsort(list.order, (size_t)list.count, sizeof *list.order, compare);
  *out_list = list;
  return TD_OK;
}

void list_close(struct list *list) {
  free(list->order);
  list->order = NULL;
}

struct td_job list_take(struct list *list) {
  const struct listed *listed = &list->order[list->next++];
  const struct td_cfg_request *request = (const struct td_cfg_request *)list->workload->requests.items + listed->index;
  return (struct td_job){
      .arrival_ps = listed->at_ps,
      .prompt_tokens = request->prompt_tokens,
      .output_tokens = request->max_tokens ? request->max_tokens : list->workload->max_tokens,
  };
}
