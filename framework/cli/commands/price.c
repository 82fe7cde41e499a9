/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem price: predicts the times of operators from a table of shapes, and of a model's steps on LPUs.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_output.h"
#include "compare.h"
#include "e2e.h"
#include "price_lpu.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/operators.h"

enum { SETS_MAX = 64 };

struct options {
  const char *device, *fits_of, *op, *input, *output, *models;
  const char *sets[SETS_MAX];
  struct price_lpu_options lpu;
};

static td_status check_given(const struct options *options, enum td_operator *out_op) {
  static const char usage[] = "expected tandem price --device D --op OP --in SHAPES.csv --out PRED.csv";
  if (!options->device) return td_fail(TD_USAGE, "price: found no --device, %s", usage);
  if (!options->op) return td_fail(TD_USAGE, "price: found no --op, %s", usage);
  if (!options->input) return td_fail(TD_USAGE, "price: found no --in, %s", usage);
  if (!options->output) return td_fail(TD_USAGE, "price: found no --out, %s", usage);
  if (td_operator_find(options->op, out_op)) return TD_OK;
  return td_fail(TD_USAGE,
                 "--op: found \"%.40s\", expected gemm, attention_context, attention_generation, moe, collective or "
                 "e2e",
                 options->op);
}

/* Where the table has times: how far the prices are from them, by the size of the last field. */
static td_status compare(enum td_operator op, const struct td_op_table *table, const struct cli_compared *rows) {
  TD_TRY(cli_compare("all", rows, table->row_count, -1));
  for (int32_t i = 1; i < TD_OP_CLASSES - 1; i++) {
    TD_TRY(cli_compare(td_operator_class(op, i), rows, table->row_count, i));
  }
  return TD_OK;
}

static td_status price_rows(const struct options *options, enum td_operator op, const struct td_device_params *device,
                            const struct td_op_table *table, FILE *out, struct cli_compared *rows) {
  fprintf(out, "%s,predicted_ms,low_ms,high_ms,energy_j,note\n", table->header);
  for (int64_t i = 0; i < table->row_count; i++) {
    const struct td_op_row *row = &table->rows[i];
    struct td_op_price price;
    td_status status = td_op_price(device, op, table->path_names[row->path], &row->shape, &price);
    if (status) return td_fail_within(status, "%s:%" PRId32, options->input, row->line);
    fprintf(out, "%s,%.6g,%.6g,%.6g,", table->lines[i], price.seconds * 1e3, price.low * 1e3, price.high * 1e3);
    if (!isnan(price.energy_j)) fprintf(out, "%.6g", price.energy_j);
    fprintf(out, ",%s\n", price.note ? price.note : "");
    int32_t group = isnan(row->seconds) ? -1 : td_operator_class_of(op, &row->shape);
    rows[i] = (struct cli_compared){row->seconds, price.seconds, price.low, price.high, group};
  }
  TD_TRY(compare(op, table, rows));
  return ferror(out) ? td_fail(TD_IO, "%s: %s", options->output, strerror(errno)) : TD_OK;
}

static td_status write_prices(const struct options *options, enum td_operator op, const struct td_device_params *device,
                              const struct td_op_table *table) {
  struct td_text part = {0};
  void *memory;
  TD_TRY(td_alloc((size_t)table->row_count + 1, sizeof(struct cli_compared), &memory));
  td_text_printf(&part, "%s.part", options->output);
  FILE *out = part.failed ? NULL : fopen(part.data, "w");
  td_status status = out ? price_rows(options, op, device, table, out, memory)
                         : td_fail(TD_IO, "%s.part: %s", options->output, strerror(errno));
  free(memory);
  if (out && fclose(out) && !status) status = td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (!status && rename(part.data, options->output)) {
    status = td_fail(TD_IO, "%s: %s", options->output, strerror(errno));
  }
  if (out && status) unlink(part.data);
  td_text_free(&part);
  return status;
}

/* The table of shapes of single operators, or of configurations of served models. */
static td_status price_table(const struct options *options, enum td_operator op,
                             const struct td_device_params *device) {
  struct td_op_table table;
  if (op == TD_E2E) return cli_price_e2e(device, options->models, options->input, options->output);
  TD_TRY(td_op_table_read(options->input, op, false, &table));
  td_status status = write_prices(options, op, device, &table);
  td_op_table_free(&table);
  return status;
}

/* On the device as it is, or with the parameters that another one's file has. */
static td_status price(const struct options *options, enum td_operator op, const struct td_device_params *device) {
  struct td_device_params *other, copy;
  struct td_op_fit *fits;
  if (!options->fits_of) return price_table(options, op, device);
  TD_TRY(td_device_params_open(options->fits_of, &other));
  td_status status = td_device_borrow_fits(device, other, &copy, &fits);
  if (!status) {
    status = price_table(options, op, &copy);
    free(fits);
  }
  td_device_params_close(other);
  return status;
}

/* ---- tables of shapes ---- */

static td_status price_shapes(const struct options *options) {
  struct td_device_params *device;
  enum td_operator op;
  TD_TRY(check_given(options, &op));
  TD_TRY(td_check_output(options->output));
  TD_TRY(td_output_is_not(options->output, options->input, "the shapes"));
  TD_TRY(td_device_params_open(options->device, &device));
  td_status status = price(options, op, device);
  td_device_params_close(device);
  return status;
}

/* ---- which of the two ---- */

static td_status refuse(const char *flag, bool given, const char *what) {
  return given ? td_fail(TD_USAGE, "price: found %s, expected it with %s only", flag, what) : TD_OK;
}

static td_status price_steps(struct options *options) {
  static const char shapes[] = "a table of shapes";
  struct price_lpu_options *lpu = &options->lpu;
  lpu->sets = options->sets;
  TD_TRY(refuse("--op", options->op != NULL, shapes));
  TD_TRY(refuse("--in", options->input != NULL, shapes));
  TD_TRY(refuse("--out", options->output != NULL, shapes));
  TD_TRY(refuse("--fits-of", options->fits_of != NULL, shapes));
  TD_TRY(refuse("--models", options->models != NULL, shapes));
  TD_TRY(refuse("--model beside a config", lpu->config && lpu->model, "--device"));
  TD_TRY(refuse("--device", lpu->config && lpu->device, "--model, or a table of shapes"));
  TD_TRY(refuse("--lpu", lpu->config && lpu->lpu, "--model"));
  TD_TRY(refuse("--pool", !lpu->config && lpu->pool, "a config"));
  TD_TRY(refuse("--set", !lpu->config && lpu->set_count, "a config"));
  return price_lpu(lpu);
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct options options = {0};
  struct price_lpu_options *lpu = &options.lpu;
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &options.device},
      {.name = "--fits-of", .value = &options.fits_of},
      {.name = "--op", .value = &options.op},
      {.name = "--in", .value = &options.input},
      {.name = "--out", .value = &options.output},
      {.name = "--models", .value = &options.models},
      {.name = "--model", .value = &lpu->model},
      {.name = "--lpu", .value = &lpu->lpu},
      {.name = "--pool", .value = &lpu->pool},
      {.name = "--set", .list = options.sets, .list_count = &lpu->set_count, .list_max = SETS_MAX},
      {.name = "--batch", .value = &lpu->batch},
      {.name = "--context", .value = &lpu->context},
      {.name = "--in-flight", .value = &lpu->in_flight},
      {.name = "--draft", .value = &lpu->draft},
      {.name = "--acceptance", .value = &lpu->acceptance},
      {.name = "--against", .value = &lpu->against},
      {.name = "--ranges", .given = &lpu->ranges},
      {.name = "--sensitivity", .given = &lpu->sensitivity},
      {.name = "--json", .given = &lpu->json},
      {0},
  };
  *out_exit = 0;
  TD_TRY(td_flags_parse(argc, argv, flags, &lpu->config, 1, &count));
  lpu->device = options.device;
  if (lpu->config || lpu->model) return price_steps(&options);
  TD_TRY(refuse("--context", lpu->context != NULL, "a config or --model"));
  TD_TRY(refuse("--batch", lpu->batch != NULL, "a config or --model"));
  TD_TRY(refuse("--lpu", lpu->lpu != NULL, "--model"));
  TD_TRY(refuse("--pool", lpu->pool != NULL, "a config"));
  TD_TRY(refuse("--set", lpu->set_count > 0, "a config"));
  TD_TRY(refuse("--in-flight", lpu->in_flight != NULL, "a config or --model"));
  TD_TRY(refuse("--draft", lpu->draft || lpu->acceptance, "a config or --model"));
  TD_TRY(refuse("--ranges", lpu->ranges || lpu->sensitivity || lpu->against, "a config or --model"));
  TD_TRY(refuse("--json", lpu->json, "a config or --model"));
  return price_shapes(&options);
}

const struct td_command td_command_price = {
    .name = "price",
    .usage = "--device D [--fits-of D2] --op OP --in SHAPES.csv --out PRED.csv [--models DIR] | CONFIG --context N,..",
    .summary = "predicts the times of operators from a table of shapes, and of a model's steps on LPUs",
    .help =
        "  --device D      a name or path of a device file\n"
        "  --fits-of D2    parameters fitted on D2, for a device that was never measured; intervals are wider\n"
        "  --op OP         gemm, attention_context, attention_generation, moe, collective; e2e: time per output token "
        "of\n"
        "                  served models\n"
        "  --in FILE       CSV, plain or gzip, with the columns of docs/calibration.md\n"
        "  --models DIR    e2e: folder of the models' shapes (experiments/models)\n"
        "  --out FILE      the same lines with predicted_ms, low_ms and high_ms (nine of ten measurements of shapes "
        "like\n"
        "                  those of the device's fit lie between them), energy_j, and a note where they are wider than "
        "that\n"
        "Where the table has measured times (latency_ms; e2e: silicon_tpot_ms), the error is printed.\n"
        "steps on LPUs (docs/lpu.md, Prices): cycles, where they go, tokens/s and joules, of a compiled program's "
        "closed "
        "form\n"
        "  CONFIG            of its first pool of backend lpu, or modelled with a group lpu (--pool NAME: of that "
        "one)\n"
        "    --set PATH=VALUE  overrides a config key; may be repeated\n"
        "  --model M --device D [--lpu KEY=VALUE,...]  without a config; keys as in the group lpu\n"
        "  --batch N,...     sequences of a step (1)\n"
        "  --context N,...   tokens of each of them, the step's with them\n"
        "  --in-flight N,... batches that take turns on the stages (1); full: as many as fill them\n"
        "  --draft K --acceptance A  also passes that verify K proposed tokens, each accepted with probability A\n"
        "  --ranges          compiles at the fast and the slow ends of what is not published: the interval of each "
        "row\n"
        "    --against SECONDS  says whether a published time of a step is inside\n"
        "  --sensitivity     at both ends of each of them, for the last row: as tandem lpu compile --sensitivity\n"
        "  --json            one JSON object\n",
    .run = run,
};
