/* SPDX-License-Identifier: Apache-2.0
 *
 * ITL, the gaps between a request's tokens, over any number of tokens: mean and percentiles to the last bit of what
 * sorting all of them would give, in memory that does not grow.
 */
#ifndef TRACES_GAPS_H
#define TRACES_GAPS_H

#include "tandem/metrics.h"

/* `count`: how many gaps the finished requests have. Every span of the trace must have been walked without an error,
 * and no time may lie before the one in front of it. */
td_status td_gaps_summarize(const struct td_trace *trace, uint64_t count, struct td_summary *out);

#endif
