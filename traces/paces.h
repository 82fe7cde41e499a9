/* SPDX-License-Identifier: Apache-2.0
 *
 * The table `paces`: where within a row of `steps` its steps begin to last otherwise.
 */
#ifndef TRACES_PACES_H
#define TRACES_PACES_H

#include "tandem/trace.h"

/* Puts what the paces say into the rows of steps, one for each pace: whoever reads on knows steps alone. TD_CORRUPT if
 * they do not belong to them; in a part file, the last ones may lack their row. */
td_status td_paces_apply(struct td_trace *trace, const char *path);

#endif
