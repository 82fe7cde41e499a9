/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls on orchestrators, in the numbers of a trace.
 */
#ifndef TRACES_TOOLS_H
#define TRACES_TOOLS_H

#include "tandem/metrics.h"

/* Fills in what metrics has of calls, with its makespan known. */
td_status td_tools_compute(const struct td_trace *trace, struct td_metrics *metrics);

/* Both nothing without orchestrators: the table of `show`, and members of its JSON object. */
void td_tools_print(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);
void td_tools_json(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out);

#endif
