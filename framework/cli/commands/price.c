/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem price: predicts the times of operators from a table of shapes; price_lpu.c answers for steps on LPUs.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli_output.h"
#include "price_lpu.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/operators.h"

struct options {
  const char *device, *fits_of, *op, *input, *output;
};

static td_status check_given(const struct options *options, enum td_operator *out_op) {
  static const char usage[] = "expected tandem price --device D --op OP --in SHAPES.csv --out PRED.csv";
  if (!options->device) return td_fail(TD_USAGE, "price: found no --device, %s", usage);
  if (!options->op) return td_fail(TD_USAGE, "price: found no --op, %s", usage);
  if (!options->input) return td_fail(TD_USAGE, "price: found no --in, %s", usage);
  if (!options->output) return td_fail(TD_USAGE, "price: found no --out, %s", usage);
  if (td_operator_find(options->op, out_op)) return TD_OK;
  return td_fail(TD_USAGE,
                 "--op: found \"%.40s\", expected gemm, attention_context, attention_generation, moe or collective",
                 options->op);
}

static td_status price_rows(const struct options *options, enum td_operator op, const struct td_device_params *device,
                            const struct td_op_table *table, FILE *out) {
  fprintf(out, "%s,predicted_ms,low_ms,high_ms,note\n", table->header);
  for (int64_t i = 0; i < table->row_count; i++) {
    const struct td_op_row *row = &table->rows[i];
    struct td_op_price price;
    td_status status = td_op_price(device, op, table->path_names[row->path], &row->shape, &price);
    if (status) return td_fail_within(status, "%s:%" PRId32, options->input, row->line);
    fprintf(out, "%s,%.6g,%.6g,%.6g,%s\n", table->lines[i], price.seconds * 1e3, price.low * 1e3, price.high * 1e3,
            price.note ? price.note : "");
  }
  return ferror(out) ? td_fail(TD_IO, "%s: %s", options->output, strerror(errno)) : TD_OK;
}

static td_status write_prices(const struct options *options, enum td_operator op, const struct td_device_params *device,
                              const struct td_op_table *table) {
  struct td_text part = {0};
  td_text_printf(&part, "%s.part", options->output);
  if (part.failed) return td_fail(TD_NO_MEMORY, "price: found no memory");
  FILE *out = fopen(part.data, "w");
  td_status status =
      out ? price_rows(options, op, device, table, out) : td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (out && fclose(out) && !status) status = td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (!status && rename(part.data, options->output)) {
    status = td_fail(TD_IO, "%s: %s", options->output, strerror(errno));
  }
  if (out && status) unlink(part.data);
  td_text_free(&part);
  return status;
}

/* On the device as it is, or with the parameters that another one's file has. */
static td_status price(const struct options *options, enum td_operator op, const struct td_device_params *device,
                       const struct td_op_table *table) {
  struct td_device_params *other, copy;
  struct td_op_fit *fits;
  if (!options->fits_of) return write_prices(options, op, device, table);
  TD_TRY(td_device_params_open(options->fits_of, &other));
  td_status status = td_device_borrow_fits(device, other, &copy, &fits);
  if (!status) {
    status = write_prices(options, op, &copy, table);
    free(fits);
  }
  td_device_params_close(other);
  return status;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct options options = {0};
  struct td_device_params *device;
  struct td_op_table table;
  enum td_operator op;
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &options.device}, {.name = "--fits-of", .value = &options.fits_of},
      {.name = "--op", .value = &options.op},         {.name = "--in", .value = &options.input},
      {.name = "--out", .value = &options.output},    {0},
  };
  *out_exit = 0;
  if (price_lpu_is_asked(argc, argv)) return price_lpu(argc, argv);
  TD_TRY(td_flags_parse(argc, argv, flags, NULL, 0, &count));
  TD_TRY(check_given(&options, &op));
  TD_TRY(td_check_output(options.output));
  TD_TRY(td_output_is_not(options.output, options.input, "the shapes"));
  TD_TRY(td_device_params_open(options.device, &device));
  td_status status = td_op_table_read(options.input, op, false, &table);
  if (!status) {
    status = price(&options, op, device, &table);
    td_op_table_free(&table);
  }
  td_device_params_close(device);
  return status;
}

const struct td_command td_command_price = {
    .name = "price",
    .usage = "--device D [--fits-of D2] --op OP --in SHAPES.csv --out PRED.csv | CONFIG --context N,...",
    .summary = "predicts the times of operators on a device from a table of shapes; of a model's steps on LPUs",
    .help =
        "  --device D      a name or path of a device file\n"
        "  --fits-of D2    parameters fitted on D2, for a device that was never measured; intervals are wider\n"
        "  --op OP         gemm, attention_context, attention_generation, moe or collective\n"
        "  --in FILE       CSV, plain or gzip, with the columns of docs/calibration.md\n"
        "  --out FILE      the same lines with predicted_ms, low_ms and high_ms (nine of ten measurements of shapes "
        "like\n"
        "                  those of the device's fit lie between them) and a note where they are wider than "
        "that\n" PRICE_LPU_HELP,
    .run = run,
};
