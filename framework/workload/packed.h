/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: the bytes of a regular file, plain or gzip, one stream or several.
 */
#ifndef TANDEM_WORKLOAD_PACKED_H
#define TANDEM_WORKLOAD_PACKED_H

#include "tandem/base.h"

struct packed;
/* Borrows both; fd is at its beginning. */
td_status packed_open(const char *path, int fd, struct packed **out_packed);
void packed_close(struct packed *packed);
td_status packed_rewind(struct packed *packed);
/* At least one byte and at most `most`, below 4 GiB; none: the end. TD_CORRUPT for gzip that is damaged or cut short,
 * and for what follows it that is no gzip. */
td_status packed_read(struct packed *packed, void *to, size_t most, size_t *out_got);

#endif
