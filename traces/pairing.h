/* SPDX-License-Identifier: Apache-2.0
 *
 * Which request of one trace is which of the other.
 */
#ifndef TRACES_PAIRING_H
#define TRACES_PAIRING_H

#include "tandem/trace.h"

#define TD_UNPAIRED UINT64_MAX

/* *out_partner[row of a] = row of b, or TD_UNPAIRED. Free with free(). The rule is in tandem/diff.h. */
td_status td_pair_requests(const struct td_trace *a, const struct td_trace *b, uint64_t **out_partner);

#endif
