/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands in for the writer of traces: a run in this process whose rows stay in memory, so that thousands of runs can be
 * compared. A test that links rows.c has no other writer.
 */
#ifndef TESTS_ENGINE_ROWS_H
#define TESTS_ENGINE_ROWS_H

#include "tandem/engine.h"

struct rows {
  struct td_text tables[TD_TABLE_COUNT]; /* the structs of tandem/trace.h, one after another */
  struct td_run_summary *summary;
};

/* `set`: one override. The rows are those of the run, whether it fails or not; rows_free them. */
td_status rows_run(const char *config_path, const char *set, struct rows *out_rows);
void rows_free(struct rows *rows);
/* Every table byte for byte; fails the test with the words. */
void rows_same(const struct rows *a, const struct rows *b, const char *words);
/* The rows of steps with what their paces say in them, in their order; free() them. */
struct td_row_step *rows_steps(const struct rows *rows, size_t *out_count);
/* The rows say what the summary of a whole run does, and the steps of a request's last token end when it does. */
void rows_add_up(const struct rows *rows, const char *words);
uint64_t rows_hash(uint64_t hash, const struct rows *rows);

#endif
