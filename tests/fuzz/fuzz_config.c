/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an experiment config, with --set assignments after the first zero byte. What parses is printed and must
 * parse again to the same text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scratch.h"
#include "tandem/experiment.h"

#define SETS 4

static void check_round_trip(const struct td_config *config, const struct td_experiment *experiment) {
  char *text, *again_text;
  struct td_config *again;
  struct td_experiment twice;
  if (td_config_text(config, &td_experiment_group, experiment, &text)) abort();
  write_file(scratch("again.cfg"), text, strlen(text));
  if (td_experiment_open(scratch("again.cfg"), NULL, 0, &again, &twice)) abort();
  if (td_config_text(again, &td_experiment_group, &twice, &again_text)) abort();
  if (strcmp(text, again_text)) abort();
  free(text);
  free(again_text);
  td_config_close(again);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  const unsigned char *zero = size ? memchr(data, 0, size) : NULL;
  size_t file_bytes = zero ? (size_t)(zero - data) : size;
  char *rest = calloc(1, size - file_bytes + 2);
  if (!rest) return 0;
  memcpy(rest, data + file_bytes, size - file_bytes);
  const char *sets[SETS];
  int32_t count = 0;
  size_t at = 1;
  while (count < SETS && at < size - file_bytes) {
    sets[count] = rest + at;
    at += strlen(sets[count++]) + 1;
  }
  struct td_config *config;
  struct td_experiment experiment;
  write_file(scratch("e.cfg"), data, file_bytes);
  if (!td_experiment_open(scratch("e.cfg"), sets, count, &config, &experiment)) {
    check_round_trip(config, &experiment);
    td_config_close(config);
  }
  free(rest);
  return 0;
}
