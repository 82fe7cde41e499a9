/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_check.h"

#include <inttypes.h>
#include <string.h>

#include "lpu_study.h"
#include "tandem/base.h"
#include "tandem/cli.h"

/* What was replayed: the first step, or the one with a violation. */
struct verdict {
  struct td_lpu_violation violation;
  int32_t rows, position, layer, steps;
  int64_t cycles;
};

static td_status check_entry(const struct td_lpu_program *program, int32_t entry, int32_t rows, int32_t position,
                             struct verdict *verdict) {
  struct lpu_study study;
  struct td_lpu_violation violation;
  TD_TRY(lpu_study_open_entry(program, entry, rows, position, &study));
  td_status status = td_lpu_check(program, study.entry, &study.step, &violation);
  if (!status && (verdict->steps++ == 0 || violation.found)) {
    verdict->violation = violation;
    verdict->rows = rows;
    verdict->position = study.position;
    verdict->layer = program->entries[study.entry].layer;
    verdict->cycles = study.counts.cycles;
  }
  lpu_study_close(&study);
  return status;
}

/* Entries that a step can begin with. */
static td_status check_entries(const struct td_lpu_program *program, int32_t position, struct verdict *verdict) {
  for (int32_t i = 0; i < program->entry_count && !verdict->violation.found; i++) {
    const struct td_lpu_entry *entry = &program->entries[i];
    if (entry->first_row == 0) TD_TRY(check_entry(program, i, entry->rows, position, verdict));
  }
  return verdict->steps ? TD_OK : td_fail(TD_CORRUPT, "found no entry that a step begins with, expected one");
}

static void print(const struct verdict *verdict, bool positions) {
  char layer[32] = "", more[64] = "";
  if (verdict->violation.found) {
    printf("%s\n", verdict->violation.text);
    return;
  }
  if (verdict->layer >= 0) snprintf(layer, sizeof layer, " of layer %d", verdict->layer);
  if (verdict->steps > 1) snprintf(more, sizeof more, "; steps of %d other entries too", verdict->steps - 1);
  printf("valid: %d row%s%s", verdict->rows, verdict->rows == 1 ? "" : "s", layer);
  if (positions) printf(" at position %d", verdict->position);
  printf(", %" PRId64 " cycles%s\n", verdict->cycles, more);
}

static void print_json(const struct verdict *verdict) {
  const struct td_lpu_violation *found = &verdict->violation;
  printf("{\"valid\": %s, \"rule\": \"%s\", \"cycles\": %" PRId64 ", \"entries\": %d, \"text\": ",
         found->found ? "false" : "true", found->found ? td_lpu_rule_name(found->rule) : "", verdict->cycles,
         verdict->steps);
  td_json_string(stdout, found->found ? found->text : "", found->found ? strlen(found->text) : 0);
  printf("}\n");
}

td_status lpu_check_print(const struct td_lpu_program *program, int32_t rows, int32_t position, bool json,
                          int *out_exit) {
  struct verdict verdict = {.steps = 0};
  TD_TRY(rows > 0 ? check_entry(program, -1, rows, position, &verdict) : check_entries(program, position, &verdict));
  if (json) {
    print_json(&verdict);
  } else {
    print(&verdict, program->block_tokens > 0);
  }
  if (verdict.violation.found) *out_exit = 1;
  return TD_OK;
}

td_status lpu_dump_print(const struct td_lpu_program *program, const char *name) {
  int32_t found = 0;
  if (!name) {
    td_lpu_program_dump(program, -1, stdout);
    return TD_OK;
  }
  for (int32_t i = 0; i < program->segment_count; i++) {
    if (strncmp(program->segments[i].name, name, sizeof program->segments[i].name)) continue;
    td_lpu_program_dump(program, i, stdout);
    found++;
  }
  if (found > 0) return TD_OK;
  return td_fail(TD_USAGE, "--segment: found \"%s\", expected one of the program's %d segments (see the whole dump)",
                 name, program->segment_count);
}
