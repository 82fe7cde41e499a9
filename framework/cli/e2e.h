/* SPDX-License-Identifier: Apache-2.0
 *
 * The parts of `tandem price` and `tandem calibrate` that deal with served models end to end.
 */
#ifndef TANDEM_CLI_E2E_H
#define TANDEM_CLI_E2E_H

#include "tandem/e2e.h"

/* Prices the rows of `input`, writes them with their prices to `output`, and says on stdout how far the prices are from
 * the times in the table, if it has any. `models`: folder of the shapes, or NULL. */
td_status cli_price_e2e(const struct td_device_params *device, const char *models, const char *input,
                        const char *output);

/* A fit for each framework of the table (or only `backend`), at most `most`; *out_count so many. Says on stdout what
 * the error was before. */
td_status cli_calibrate_e2e(const struct td_calibration *how, const char *models, const char *measured,
                            const char *backend, bool quiet, struct td_op_fit *fits, int32_t most, int32_t *out_count);

#endif
