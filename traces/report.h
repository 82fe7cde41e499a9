/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tables and the JSON of `tandem show` have in common.
 */
#ifndef TRACES_REPORT_H
#define TRACES_REPORT_H

#include <stdbool.h>

#include "tandem/metrics.h"

enum { TD_LINES = 6 };
struct td_line {
  const char *title, *key;
  const struct td_summary *summary;
  bool is_time;
};
void td_report_lines(const struct td_metrics *metrics, struct td_line out[TD_LINES]);

/* By enum td_finish. */
extern const char *const td_finish_names[];

#endif
