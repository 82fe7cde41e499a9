/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for td_lpu_execute in programs that test it: every step that succeeds is done again, from the same SRAM, by
 * every host that there is, and must leave the same SRAM and counts. What lowering refuses is counted and told.
 */
#undef td_lpu_execute /* the build gives this name to what stands in for it, here it means itself */

#include "lpu/hosts.h"

td_status rig_hosts_execute(struct td_lpu_system *system, int32_t entry, const struct td_lpu_step *step,
                            struct td_lpu_counts *out_counts);

static int lowered, refused;

static void tell(void) {
  printf("%d steps on hosts, %d of programs that are not lowered\n", lowered, refused);
  fflush(stdout);
  if (lowered < refused) _exit(1);
}

static void one_host(const struct lpu_host_kind *kind, const struct td_lpu_system *system, const uint8_t *before,
                     int32_t entry, const struct td_lpu_step *step, const struct td_lpu_counts *counts) {
  struct td_lpu_host *host = lpu_host_open(kind, system->program);
  struct td_lpu_counts found;
  if (!host) return;
  if (td_lpu_host_sram_write(host, 0, system->sram_bytes, before)) fail_msg("%s", td_error_text());
  if (td_lpu_host_run(host, entry, step, &found)) fail_msg("%s: %s", kind->name, td_error_text());
  lpu_host_compare(host, kind, system->program, system->sram, system->sram_bytes, "a program by hand");
  lpu_host_compare_counts(&found, counts, kind->name);
  td_lpu_host_close(host);
}

static bool is_lowered(const struct td_lpu_program *program) {
  struct td_lpu_code *code = NULL;
  td_status status = td_lpu_lower(program, &code);
  td_lpu_code_free(code);
  if (status && status != TD_UNSUPPORTED) fail_msg("%s", td_error_text());
  if (status) printf("not lowered: %s\n", td_error_text());
  return status == TD_OK;
}

td_status rig_hosts_execute(struct td_lpu_system *system, int32_t entry, const struct td_lpu_step *step,
                            struct td_lpu_counts *out_counts) {
  uint8_t *before = malloc(system->sram_bytes);
  struct td_lpu_counts counts;
  assert_non_null(before);
  memcpy(before, system->sram, system->sram_bytes);
  td_status status = td_lpu_execute(system, entry, step, &counts);
  if (!status && lowered + refused == 0) atexit(tell);
  if (!status && is_lowered(system->program)) {
    lowered++;
    for (size_t i = 0; i < lpu_host_kind_count; i++) {
      one_host(&lpu_host_kinds[i], system, before, entry, step, &counts);
    }
  } else if (!status) {
    refused++;
  }
  free(before);
  if (!status && out_counts) *out_counts = counts;
  return status;
}
