/* SPDX-License-Identifier: Apache-2.0
 *
 * A main for fuzz targets built without libFuzzer (-DTANDEM_FUZZ_MAIN): replays the files it is given.
 */
#ifndef TESTS_FUZZ_MAIN_H
#define TESTS_FUZZ_MAIN_H

#include <stdio.h>
#include <stdlib.h>

#include "tandem/base.h"

int main(int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    char *data;
    size_t bytes;
    if (td_read_file(argv[i], (size_t)1 << 30, &data, &bytes)) {
      fprintf(stderr, "%s\n", td_error_text());
      return 1;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)data, bytes);
    free(data);
  }
  return 0;
}

#endif
