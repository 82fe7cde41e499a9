/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of a config's group `lpu` on a command line: "weights=i8,activations=i8x2,rows=8".
 */
#ifndef TD_CLI_LPU_KEYS_H
#define TD_CLI_LPU_KEYS_H

#include "tandem/lpu.h"

/* TD_USAGE names the key, what was found and what was expected. emulate_on points into `text`'s copy in `room`. */
struct lpu_keys {
  struct td_lpu_choice choice;
  char room[256];
};
td_status lpu_keys_parse(const char *text, struct lpu_keys *out_keys);

#endif
