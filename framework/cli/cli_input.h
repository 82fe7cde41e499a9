/* SPDX-License-Identifier: Apache-2.0
 *
 * Input files of commands; "-" is standard input.
 */
#ifndef TD_CLI_INPUT_H
#define TD_CLI_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "tandem/status.h"

/* The longest text a command takes. */
#define TD_INPUT_BYTES_MAX ((size_t)64 << 20)

bool td_input_is_stdin(const char *path);
/* What messages call it. */
const char *td_input_name(const char *path);
/* As td_read_file, with TD_INPUT_BYTES_MAX as the limit. */
td_status td_input_read(const char *path, char **out_data, size_t *out_bytes);

#endif
