/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: the config's own list of requests.
 */
#ifndef TANDEM_WORKLOAD_LIST_H
#define TANDEM_WORKLOAD_LIST_H

#include "tandem/workload.h"

struct listed {
  int64_t at_ps;
  int32_t index; /* in the config */
};
struct list {
  const struct td_cfg_workload *workload;
  struct listed *order; /* of arrival, then of the config */
  int32_t count, next;
};
/* TD_UNSUPPORTED for a request with text: the engine, which has the tokenizer, counts those. */
td_status list_open(const struct td_config *config, const struct td_cfg_workload *workload, struct list *out_list);
void list_close(struct list *list);
/* The next request; the number is left to the caller. */
struct td_job list_take(struct list *list);

#endif
