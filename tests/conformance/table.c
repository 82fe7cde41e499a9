/* SPDX-License-Identifier: Apache-2.0
 *
 * docs/support.md: one section per backend, made from what its cases did. Sections stand alone, so that a new backend
 * adds one and changes none.
 */
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

#define ROWS 40
#define COLUMNS 16

struct row {
  char topic[48];
  bool is_operator;
  int32_t cells[COLUMNS][CONFORM_VERDICTS]; /* by type for operators; all in column 0 for the rest */
};
struct table {
  struct row rows[ROWS];
  int32_t count, lost; /* lost: cases whose row did not fit */
};

/* -1: more types than columns. */
static int column_of(const struct conform_case *test) {
  if (!test->is_operator) return 0;
  for (int i = 0; i < COLUMNS && td_dtype_at(i); i++) {
    if (td_dtype_at(i)->dtype == test->column) return i;
  }
  return -1;
}

static struct row *row_of(struct table *table, const struct conform_case *test) {
  size_t bytes = strcspn(test->name, "/");
  for (int32_t i = 0; i < table->count; i++) {
    if (strlen(table->rows[i].topic) == bytes && memcmp(table->rows[i].topic, test->name, bytes) == 0) {
      return &table->rows[i];
    }
  }
  if (table->count == ROWS || bytes >= sizeof table->rows[0].topic) return NULL;
  struct row *row = &table->rows[table->count++];
  *row = (struct row){.is_operator = test->is_operator};
  memcpy(row->topic, test->name, bytes);
  return row;
}

static void on_case(void *context, const struct conform_case *test, enum conform_verdict verdict, const char *text,
                    double worst) {
  (void)text;
  (void)worst;
  struct table *table = context;
  struct row *row = row_of(table, test);
  int column = column_of(test);
  if (row && column >= 0) {
    row->cells[column][verdict]++;
  } else {
    table->lost++;
  }
}

static void print_cell(const int32_t verdicts[CONFORM_VERDICTS], FILE *out) {
  int32_t wrong = verdicts[CONFORM_FAILED] + verdicts[CONFORM_UNEXPECTED_PASS], total = 0;
  for (int i = 0; i < CONFORM_VERDICTS; i++) total += verdicts[i];
  if (!total) {
    fputs(" |", out);
  } else if (wrong) {
    fprintf(out, " %d of %d FAIL |", wrong, total);
  } else if (verdicts[CONFORM_UNSUPPORTED] == total) {
    fputs(" no |", out);
  } else {
    fprintf(out, " %d", verdicts[CONFORM_PASSED]);
    if (verdicts[CONFORM_EXPECTED_FAILURE]) fprintf(out, ", %d known to fail", verdicts[CONFORM_EXPECTED_FAILURE]);
    if (verdicts[CONFORM_UNSUPPORTED]) fprintf(out, ", %d no", verdicts[CONFORM_UNSUPPORTED]);
    fputs(" |", out);
  }
}

static bool has_cell(const struct row *row, int column) {
  for (int i = 0; i < CONFORM_VERDICTS; i++) {
    if (row->cells[column][i]) return true;
  }
  return false;
}

/* Kinds of operators, told apart by the types that their cases have: with weights of every type, with a cache of two,
 * with neither. */
enum family { OF_WEIGHTS, OF_CACHE, OF_NEITHER };

static enum family family_of(const struct row *row) {
  enum family family = OF_NEITHER;
  for (int i = 0; td_dtype_at(i); i++) {
    if (!has_cell(row, i) || td_dtype_at(i)->dtype == TD_F32) continue;
    if (td_dtype_at(i)->dtype != TD_F16) return OF_WEIGHTS;
    family = OF_CACHE;
  }
  return family;
}

/* Whether a family's table has column i. */
static bool has_column(enum family family, int i) {
  return family == OF_WEIGHTS || td_dtype_at(i)->dtype == TD_F32 || td_dtype_at(i)->dtype == TD_F16;
}

static void print_row(const struct row *row, enum family family, FILE *out) {
  fprintf(out, "| %s |", row->topic);
  for (int i = 0; td_dtype_at(i); i++) {
    if (has_column(family, i)) print_cell(row->cells[i], out);
  }
  fputc('\n', out);
}

static void print_by_type(const struct table *table, enum family family, const char *heading, FILE *out) {
  fprintf(out, "| %s |", heading);
  for (int i = 0; td_dtype_at(i); i++) {
    if (has_column(family, i)) fprintf(out, " %s |", td_dtype_at(i)->name);
  }
  fputs("\n| --- |", out);
  for (int i = 0; td_dtype_at(i); i++) {
    if (has_column(family, i)) fputs(" --: |", out);
  }
  fputc('\n', out);
  for (int32_t r = 0; r < table->count; r++) {
    const struct row *row = &table->rows[r];
    if (row->is_operator && family_of(row) == family) print_row(row, family, out);
  }
  fputc('\n', out);
}

static void print_plain(const struct table *table, bool operators, const char *heading, FILE *out) {
  fprintf(out, "| %s | cases |\n| --- | --: |\n", heading);
  for (int32_t r = 0; r < table->count; r++) {
    const struct row *row = &table->rows[r];
    if (row->is_operator != operators || (operators && family_of(row) != OF_NEITHER)) continue;
    fprintf(out, "| %s |", row->topic);
    print_cell(row->cells[0], out);
    fputc('\n', out);
  }
}

static void print_notes(const char *kind, const struct td_conform_note *notes, FILE *out) {
  if (!notes || !notes->pattern) return;
  fprintf(out, "\n%s:\n\n", kind);
  for (; notes->pattern; notes++) fprintf(out, "- `%s`: %s\n", notes->pattern, notes->reason);
}

static td_status print_backend(const struct td_backend *backend, FILE *out) {
  fprintf(out, "\n## %s\n\n%s.", backend->name, backend->summary);
  const char *reason = "no reason given";
  if (backend->probe(&reason) <= 0) {
    fprintf(out, "\n\nNot available where this was made: %s.\n", reason);
    return TD_OK;
  }
  fprintf(out, " Steps are %s; %s.\n\n",
          !backend->executes  ? "priced, not executed"
          : backend->emulates ? "emulated"
                              : "executed",
          backend->exact ? "exact" : "not exact");
  struct table table = {.count = 0};
  TD_TRY(conform_run_cases(backend->name, NULL, 2, on_case, &table));
  if (table.lost)
    return td_fail(TD_INTERNAL, "the support table has room for %d rows and %d types only", ROWS, COLUMNS);
  print_by_type(&table, OF_WEIGHTS, "with weights", out);
  print_by_type(&table, OF_CACHE, "with a cache", out);
  print_plain(&table, true, "other operators", out);
  fputc('\n', out);
  print_plain(&table, false, "promises", out);
  print_notes("Unsupported", backend->unsupported, out);
  print_notes("Known to fail", backend->expected_to_fail, out);
  return TD_OK;
}

td_status td_conform_table(FILE *out) {
  fputs(
      "# What each backend supports\n\n"
      "Generated: `build/tandem conform --table > docs/support.md`; a test compares. A number counts the conformance\n"
      "cases that pass, `no` means unsupported by design, an empty cell that there is no such case. Columns are types "
      "of\n"
      "the weight (of an `add`, of its bias) or of the KV cache.\n",
      out);
  for (int32_t i = 0; td_backends[i]; i++) TD_TRY(print_backend(td_backends[i], out));
  return TD_OK;
}
