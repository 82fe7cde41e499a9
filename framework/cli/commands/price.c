/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem price: predicts the times of operators from a table of shapes.
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

struct options {
  const char *device, *fits_of, *op, *input, *output, *models;
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

static td_status run(int argc, char **argv, int *out_exit) {
  struct options options = {0};
  struct td_device_params *device;
  enum td_operator op;
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &options.device},
      {.name = "--fits-of", .value = &options.fits_of},
      {.name = "--op", .value = &options.op},
      {.name = "--in", .value = &options.input},
      {.name = "--out", .value = &options.output},
      {.name = "--models", .value = &options.models},
      {0},
  };
  *out_exit = 0;
  if (price_lpu_is_asked(argc, argv)) return price_lpu(argc, argv);
  TD_TRY(td_flags_parse(argc, argv, flags, NULL, 0, &count));
  TD_TRY(check_given(&options, &op));
  TD_TRY(td_check_output(options.output));
  TD_TRY(td_output_is_not(options.output, options.input, "the shapes"));
  TD_TRY(td_device_params_open(options.device, &device));
  td_status status = price(&options, op, device);
  td_device_params_close(device);
  return status;
}

const struct td_command td_command_price = {
    .name = "price",
    .usage = "--device D [--fits-of D2] --op OP --in SHAPES.csv --out PRED.csv [--models DIR] | CONFIG --context N,...",
    .summary = "predicts the times of operators on a device from a table of shapes; of a model's steps on LPUs",
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
        "Where the table has measured times (latency_ms; e2e: silicon_tpot_ms), the error is printed.\n" PRICE_LPU_HELP,
    .run = run,
};
