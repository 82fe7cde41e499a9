/* SPDX-License-Identifier: Apache-2.0
 *
 * Measured operators in device files: reading, writing, printing.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "measure.h"
#include "tandem/base.h"
#include "tandem/devices.h"

#define OPS_MAX 256

struct term_text {
  const char *name, *unit;
  double value;
};
struct measured_text {
  const char *op, *type, *source, *command;
  int64_t rows, most;
  double mape, p90, low, high;
  struct td_list terms;
};

static const struct td_option term_options[] = {
    {.name = "name", .type = TD_OPT_TEXT, .help = "of the operator's", .offset = offsetof(struct term_text, name)},
    {.name = "value",
     .type = TD_OPT_REAL,
     .low = 0,
     .high = 1e6,
     .help = "of one, in `unit`",
     .offset = offsetof(struct term_text, value)},
    {.name = "unit", .type = TD_OPT_TEXT, .help = "s, or 1 (a ratio)", .offset = offsetof(struct term_text, unit)},
    {.name = NULL}};
static const struct td_option_group term_group = {"a term", sizeof(struct term_text), term_options};

#define AT(field_) .offset = offsetof(struct measured_text, field_)
static const struct td_option measured_options[] = {
    {.name = "operator", .type = TD_OPT_TEXT, .help = "its kind, or \"step\": what is around them", AT(op)},
    {.name = "type", .type = TD_OPT_TEXT, .help = "of its weights or of the cache", AT(type)},
    {.name = "source", .type = TD_OPT_TEXT, .help = "the machine, with the date", AT(source)},
    {.name = "command", .type = TD_OPT_TEXT, .help = "that measured it", AT(command)},
    {.name = "rows", .type = TD_OPT_INT, .low = 1, .high = 1e9, .help = "measurements", AT(rows)},
    {.name = "most",
     .type = TD_OPT_INT,
     .low = 1,
     .high = 1e15,
     .help = "largest count of rows, of an attention the longest context, that was measured",
     AT(most)},
    {.name = "mape",
     .type = TD_OPT_REAL,
     .low = 0,
     .high = 1e6,
     .help = "mean of |predicted / measured - 1| of families of shapes not seen",
     AT(mape)},
    {.name = "p90", .type = TD_OPT_REAL, .low = 0, .high = 1e6, .help = "its 90th percentile", AT(p90)},
    {.name = "low",
     .type = TD_OPT_REAL,
     .low = 1e-6,
     .high = 1e6,
     .help = "measured / predicted: 5th percentile",
     AT(low)},
    {.name = "high",
     .type = TD_OPT_REAL,
     .low = 1e-6,
     .high = 1e6,
     .help = "measured / predicted: 95th percentile",
     AT(high)},
    {.name = "terms", .type = TD_OPT_LIST, .help = "what it takes", .group = &term_group, AT(terms)},
    {.name = NULL}};
const struct td_option_group td_measured_group = {"a measured operator", sizeof(struct measured_text),
                                                  measured_options};

static td_status wrong(const struct td_config *config, int32_t number, const char *key, const char *found,
                       const char *expected) {
  char path[96];
  TD_TRY(td_format(path, sizeof path, "operators.[%" PRId32 "].%s", number, key));
  return td_config_fail(config, path, "found %.60s, expected %s", found, expected);
}

static bool find_kind(const char *name, enum td_op_kind *out) {
  for (int kind = 0; kind < TD_OP_KIND_COUNT; kind++) {
    if (strcmp(name, td_measured_kind_name((enum td_op_kind)kind))) continue;
    *out = (enum td_op_kind)kind;
    return true;
  }
  return false;
}

static td_status take_terms(const struct td_config *config, int32_t number, const struct td_list *list,
                            struct td_measured_op *op) {
  const struct term_text *texts = list->items;
  if (list->count != td_measured_terms(op->kind)) {
    return wrong(config, number, "terms", "another number of them", "those of docs/calibration.md");
  }
  for (int32_t i = 0; i < list->count; i++) {
    const char *unit, *name = td_measured_term(op->kind, i, &unit);
    if (strcmp(texts[i].name, name)) return wrong(config, number, "terms", texts[i].name, name);
    if (strcmp(texts[i].unit, unit)) return wrong(config, number, "terms", texts[i].unit, unit);
    op->terms[i] = texts[i].value;
  }
  return TD_OK;
}

static td_status take(const struct td_config *config, int32_t number, const struct measured_text *text,
                      struct td_measured_op *op) {
  const struct td_dtype_info *type = td_dtype_find(text->type);
  *op = (struct td_measured_op){.rows = text->rows,
                                .most = text->most,
                                .mape = text->mape,
                                .p90 = text->p90,
                                .low = text->low,
                                .high = text->high,
                                .source = text->source,
                                .command = text->command};
  if (!find_kind(text->op, &op->kind))
    return wrong(config, number, "operator", text->op, "a kind of operator, or step");
  if (!type) return wrong(config, number, "type", text->type, "an element type, such as q4_1");
  if (text->low > text->high) return wrong(config, number, "low", "more than high", "a range");
  if (strspn(text->source, " \t\n") == strlen(text->source)) {
    return wrong(config, number, "source", "an empty text", "where it was measured");
  }
  op->type = type->dtype;
  return take_terms(config, number, &text->terms, op);
}

static td_status take_all(const struct td_config *config, const struct td_list *list, struct td_measured_op *ops) {
  const struct measured_text *texts = list->items;
  for (int32_t i = 0; i < list->count; i++) {
    TD_TRY(take(config, i, &texts[i], &ops[i]));
    for (int32_t j = 0; j < i; j++) {
      if (ops[j].kind != ops[i].kind || ops[j].type != ops[i].type) continue;
      return wrong(config, i, "operator", "a second one of this kind and type", "one");
    }
  }
  return TD_OK;
}

td_status td_measured_take(const struct td_config *config, const struct td_list *list, struct td_measured_op **out_ops,
                           int32_t *out_count) {
  void *memory;
  if (list->count > OPS_MAX) {
    return td_config_fail(config, "operators", "found %" PRId32 ", expected at most %d", list->count, OPS_MAX);
  }
  TD_TRY(td_alloc((size_t)list->count + 1, sizeof **out_ops, &memory));
  td_status status = take_all(config, list, memory);
  if (status) {
    free(memory);
    return status;
  }
  *out_ops = memory;
  *out_count = list->count;
  return TD_OK;
}

/* ---- writing ---- */

/* libconfig's own escapes. */
static void put_text(FILE *out, const char *key, const char *text) {
  fprintf(out, "    %s = \"", key);
  for (; *text; text++) {
    if ((unsigned char)*text < 0x20) {
      fprintf(out, "\\x%02x", (unsigned char)*text);
    } else {
      if (*text == '"' || *text == '\\') fputc('\\', out);
      fputc(*text, out);
    }
  }
  fputs("\";\n", out);
}

static void put_op(const struct td_measured_op *op, FILE *out) {
  fprintf(out, "  { operator = \"%s\";\n    type = \"%s\";\n", td_measured_kind_name(op->kind),
          td_dtype_info((uint32_t)op->type)->name);
  put_text(out, "source", op->source);
  put_text(out, "command", op->command);
  fprintf(out, "    rows = %" PRId64 ";\n    most = %" PRId64 "L;\n", op->rows, op->most);
  fprintf(out, "    mape = %.6e; p90 = %.6e; low = %.6e; high = %.6e;\n    terms = (", op->mape, op->p90, op->low,
          op->high);
  for (int32_t i = 0; i < td_measured_terms(op->kind); i++) {
    const char *unit, *name = td_measured_term(op->kind, i, &unit);
    fprintf(out, "%s\n      { name = \"%s\"; value = %.9e; unit = \"%s\"; }", i ? "," : "", name, op->terms[i], unit);
  }
  fputs(");\n  }", out);
}

void td_measured_write(const struct td_device_params *device, FILE *out) {
  fputs("\noperators = (\n", out);
  for (int32_t i = 0; i < device->measured_count; i++) {
    if (i) fputs(",\n", out);
    put_op(&device->measured[i], out);
  }
  fputs(");\n", out);
}

void td_measured_print(const struct td_device_params *device, FILE *out) {
  for (int32_t i = 0; i < device->measured_count; i++) {
    const struct td_measured_op *op = &device->measured[i];
    fprintf(out,
            "operator %s %s: %" PRId64
            " measurements; unseen shapes: MAPE %.1f %%, p90 %.1f %%, measured / predicted "
            "%.3f..%.3f\n  %s\n",
            td_measured_kind_name(op->kind), td_dtype_info((uint32_t)op->type)->name, op->rows, 100 * op->mape,
            100 * op->p90, op->low, op->high, op->source);
    for (int32_t t = 0; t < td_measured_terms(op->kind); t++) {
      const char *unit, *name = td_measured_term(op->kind, t, &unit);
      fprintf(out, "  %-20s %.5g%s%s\n", name, op->terms[t], strcmp(unit, "1") ? " " : "",
              strcmp(unit, "1") ? unit : "");
    }
  }
}

void td_measured_json(const struct td_device_params *device, FILE *out) {
  fputs(", \"operators\": [", out);
  for (int32_t i = 0; i < device->measured_count; i++) {
    const struct td_measured_op *op = &device->measured[i];
    fprintf(out,
            "%s{\"operator\": \"%s\", \"type\": \"%s\", \"rows\": %" PRId64
            ", \"mape\": %.17g, \"p90\": %.17g, \"low\": %.17g, \"high\": %.17g, \"source\": ",
            i ? ", " : "", td_measured_kind_name(op->kind), td_dtype_info((uint32_t)op->type)->name, op->rows, op->mape,
            op->p90, op->low, op->high);
    td_json_string(out, op->source, strlen(op->source));
    fputs(", \"terms\": {", out);
    for (int32_t t = 0; t < td_measured_terms(op->kind); t++) {
      const char *unit, *name = td_measured_term(op->kind, t, &unit);
      fprintf(out, "%s\"%s\": %.17g", t ? ", " : "", name, op->terms[t]);
    }
    fputs("}}", out);
  }
  fputc(']', out);
}
