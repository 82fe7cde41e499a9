/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls on orchestrators, in the numbers of a trace.
 */
#ifndef TRACES_TOOLS_H
#define TRACES_TOOLS_H

#include "tandem/metrics.h"

/* Fills in what metrics has of calls, with its makespan known. */
td_status td_tools_compute(const struct td_trace *trace, struct td_metrics *metrics);

/* The table of `show`, nothing without orchestrators. */
void td_tools_print(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);
/* The member of its JSON object that has one element for each. */
void td_tools_json(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);

#endif
