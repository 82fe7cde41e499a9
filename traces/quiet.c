/* SPDX-License-Identifier: Apache-2.0 */
#include "quiet.h"

#include <stdio.h>

void td_hdf5_quiet(void) {
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

struct reason {
  char *out;
  size_t size;
};

static herr_t take_first(unsigned depth, const H5E_error2_t *error, void *context) {
  struct reason *reason = context;
  if (depth == 0 && error->desc && *error->desc) snprintf(reason->out, reason->size, "%s", error->desc);
  return 0;
}

void td_hdf5_reason(char *out, size_t size) {
  struct reason reason = {out, size};
  snprintf(out, size, "no reason given");
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, take_first, &reason);
}
