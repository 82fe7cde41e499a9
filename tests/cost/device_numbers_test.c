/* SPDX-License-Identifier: Apache-2.0
 *
 * The devices of this tree: all that were asked for are there, each number can be traced, a spoilt copy is refused, and
 * where a public table has the same number, ours is that number or its source says why not.
 */
#include <math.h>

#include "../../framework/cost/quantity.h"
#include "../config/files.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/lpu_machine.h"

static const char *const wanted[] = {
    "a100_sxm",
    "h100_sxm",
    "h200_sxm",
    "b200_sxm",
    "b300_sxm",
    "gb200",
    "gb200-nvl72",
    "gb300",
    "gb300-nvl72",
    "vr200",
    "vr200-nvl72",
    "rubin-cpx",
    "mi300x",
    "mi355x",
    "tpu_v6e",
    "tpu_ironwood",
    "l40s",
    "groq-lpu-v1",
    "cerebras-wse3",
    "rtx_pro_6000_server",
    "vera",
    "grace",
    "nvlink3",
    "nvlink4",
    "nvlink5",
    "nvlink6",
    "nvswitch-hgx-a100",
    "nvswitch-hgx-h100",
    "nvswitch-hgx-b200",
    "nvswitch-nvl72",
    "nvswitch-vr200",
    "connectx6",
    "connectx7",
    "connectx8",
    "connectx9",
    "pcie4-x16",
    "pcie5-x16",
    "pcie6-x16",
    "nvlink-c2c-grace",
    "nvlink-c2c-vera",
    "lpx-ethernet",
    "groq-3-lp30",
    "lpx-rack",
    "lpx-rack-announced",
    "lpx-9-racks",
    "groq-lpu-v1-264",
    "groq-lpu-v1-576",
    "lpu-imagined-mesh",
    "lpu-imagined-system",
    "lpu-imagined",
    "site-typical",
};

static void all_are_here(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    struct td_device_params *params;
    td_status status = td_device_params_open(wanted[i], &params);
    if (status) print_error("%s\n", td_error_text());
    assert_int_equal(status, TD_OK);
    td_device_params_close(params);
  }
}

static bool names_a_year(const char *text) {
  for (; *text; text++) {
    if ((!strncmp(text, "19", 2) || !strncmp(text, "20", 2)) && strspn(text, "0123456789") == 4) return true;
    size_t digits = strspn(text, "0123456789");
    if (digits) text += digits - 1;
  }
  return false;
}

static void traceable(const struct td_device_params *params, const struct td_quantity_row *row) {
  const struct td_quantity *quantity = td_quantity_at(params, row);
  double scale;
  if (!quantity->present) return;
  bool good = td_unit_scale(row->dimension, quantity->unit, &scale) && *quantity->source &&
              quantity->low <= quantity->value && quantity->value <= quantity->high &&
              (quantity->evidence == TD_ASSUMED || names_a_year(quantity->source)) &&
              (row->dimension != TD_DIM_WATTS || td_quantity_basis(params, row));
  if (!good) print_error("%s: %s: \"%s\"\n", params->name, row->name, quantity->source);
  assert_true(good);
}

static td_status check_file(void *context, const struct td_device_params *params) {
  ++*(int *)context;
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) traceable(params, row);
  return TD_OK;
}

static void every_number_has_a_source(void **state) {
  (void)state;
  int count = 0;
  td_status status = td_device_params_each(check_file, &count);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_true(count >= (int)(sizeof wanted / sizeof *wanted));
}

static void a_year(void **state) {
  (void)state;
  assert_true(names_a_year("NVIDIA, 2023 (80 GB)"));
  assert_false(names_a_year("range: 20 GB to 1,998 of 20230"));
  assert_false(names_a_year("HGX 8000 2"));
}

static td_status read_text(const char *path, char *out, size_t size) {
  FILE *file = fopen(path, "rb");
  if (!file) return TD_IO;
  size_t bytes = fread(out, 1, size - 1, file);
  fclose(file);
  out[bytes] = 0;
  return bytes + 1 < size ? TD_OK : TD_IO;
}

enum { MOST_BYTES = 80000 };

/* Spoils what follows the first `key` behind the head of a file. */
static bool spoil(const char *text, const char *key, const char *other, char *out, size_t size) {
  const char *first = strstr(text, " = { value"), *found = first ? strstr(first, key) : NULL;
  if (!found) return false;
  int used = snprintf(out, size, "%.*s%s%s", (int)(found - text), text, other, found + strlen(key));
  return used > 0 && (size_t)used < size;
}

static void expect_refusal(const struct td_device_params *params, const char *spoilt, const char *what) {
  char copy[80];
  struct td_device_params *opened;
  snprintf(copy, sizeof copy, "%.60s.cfg", params->name);
  td_status status = td_device_params_open(scratch_file(copy, spoilt), &opened);
  if (!status) print_error("%s: opens with %s\n", params->name, what);
  assert_int_equal(status, TD_CONFIG);
  assert_null(strstr(td_error_text(), "does not open")); /* not because the copy of a rack lacks its parts */
}

static void is_refused(const struct td_device_params *params, const char *text, const char *key, const char *other) {
  static char spoilt[MOST_BYTES];
  assert_true(spoil(text, key, other, spoilt, sizeof spoilt));
  expect_refusal(params, spoilt, other);
}

/* Takes away the range of the first number that needs one. */
static void without_range(const struct td_device_params *params, const char *text) {
  static char spoilt[MOST_BYTES];
  static const char next[] = "evidence = \"";
  for (const char *low = strstr(text, "low = "); low; low = strstr(low + 1, "low = ")) {
    const char *evidence = strstr(low, next);
    if (!evidence || evidence[sizeof next - 1] == 'm') continue; /* measured: may do without */
    snprintf(spoilt, sizeof spoilt, "%.*s%s", (int)(low - text), text, evidence);
    expect_refusal(params, spoilt, "a number without its range");
    return;
  }
}

static td_status spoil_file(void *context, const struct td_device_params *params) {
  static char text[MOST_BYTES];
  (void)context;
  assert_int_equal(read_text(params->path, text, sizeof text), TD_OK);
  is_refused(params, text, "unit = \"", "unit = \"x");
  is_refused(params, text, "source = \"", "source = \"\" ; more = \"");
  is_refused(params, text, "evidence = \"", "evidence = \"x");
  is_refused(params, text, "evidence = \"", "trust = \"");
  is_refused(params, text, "value = ", "value = -");
  is_refused(params, text, " = { value", " = { number");
  if (strstr(text, "low = ")) is_refused(params, text, "low = ", "low = 9999999");
  without_range(params, text);
  return TD_OK;
}

static void a_spoilt_copy_is_refused(void **state) {
  (void)state;
  assert_int_equal(td_device_params_each(spoil_file, NULL), TD_OK);
}

static bool within(const struct td_quantity *quantity, double value) {
  return quantity->present && quantity->low <= value && value <= quantity->high;
}

/* What is published of the LP30 is what its description adds up to. */
static void the_lp30_adds_up(void **state) {
  (void)state;
  struct td_device_params *params;
  struct td_lpu_rates rates;
  assert_int_equal(td_device_params_open("groq-3-lp30", &params), TD_OK);
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  td_lpu_machine_rates(machine, &rates);
  assert_true(within(&params->memory_bytes, (double)rates.sram_bytes));
  assert_true(within(&params->memory_bandwidth, (double)rates.sram_bytes_per_cycle * machine->clock_hz));
  assert_true(within(&params->flops_fp8, 2 * (double)rates.macs_int8 * machine->clock_hz));
  assert_false(machine->has_power); /* none is published */
  td_device_params_close(params);
}

/* ---- a public table ---- */

static const struct {
  const char *column, *name;
  size_t offset;
} columns[] = {
    {"mem_bw_Bps", "memory_bandwidth", offsetof(struct td_device_params, memory_bandwidth)},
    {"mem_capacity_B", "memory_bytes", offsetof(struct td_device_params, memory_bytes)},
    {"bf16_flops", "flops_bf16", offsetof(struct td_device_params, flops_bf16)},
    {"fp8_flops", "flops_fp8", offsetof(struct td_device_params, flops_fp8)},
    {"fp4_flops", "flops_fp4", offsetof(struct td_device_params, flops_fp4)},
    {"power_W", "power_busy", offsetof(struct td_device_params, power_busy)},
    {"gpus_per_node", "node_chips", offsetof(struct td_device_params, node_chips)},
    {"intra_node_bw_Bps", "scale_up_bandwidth", offsetof(struct td_device_params, scale_up_bandwidth)},
    {"inter_node_bw_Bps", "scale_out_bandwidth", offsetof(struct td_device_params, scale_out_bandwidth)},
    {"pcie_bw_Bps", "host_bandwidth", offsetof(struct td_device_params, host_bandwidth)},
};

enum { MOST_CELLS = 32 };

/* Cuts a line at its commas; returns how many cells. */
static int cut(char *line, char *cells[MOST_CELLS]) {
  int count = 0;
  line[strcspn(line, "\r\n")] = 0;
  for (char *at = line; at && count < MOST_CELLS; count++) {
    cells[count] = at;
    char *comma = strchr(at, ',');
    if (comma) *comma = 0;
    at = comma ? comma + 1 : NULL;
  }
  return count;
}

/* Ours is theirs, or our source says what they have instead. Returns whether both state the number. */
static bool agrees(const struct td_device_params *params, int column, const char *cell, int *differences) {
  const struct td_quantity *ours = (const void *)((const char *)params + columns[column].offset);
  if (!*cell || !ours->present) return false;
  double theirs = strtod(cell, NULL);
  if (fabs(ours->value - theirs) <= 1e-3 * theirs) return true;
  bool said = strstr(ours->source, "aiconfigurator") != NULL;
  print_message("%s %s: %.6g, the table %.6g: %s\n", params->name, columns[column].name, ours->value, theirs,
                ours->source);
  assert_true(said);
  ++*differences;
  return true;
}

static void the_public_table(void **state) {
  (void)state;
  const char *path = test_shared("data/devices.csv");
  if (!path) {
    print_message("no ../shared/data/devices.csv\n");
    skip();
  }
  char head[2048], line[2048], *names[MOST_CELLS], *cells[MOST_CELLS];
  int compared = 0, differences = 0;
  FILE *file = fopen(path, "r");
  assert_non_null(file);
  assert_non_null(fgets(head, sizeof head, file));
  int width = cut(head, names);
  while (fgets(line, sizeof line, file)) {
    struct td_device_params *params;
    assert_int_equal(cut(line, cells), width);
    assert_int_equal(td_device_params_open(cells[0], &params), TD_OK);
    for (int i = 1; i < width; i++) {
      for (int c = 0; c < (int)(sizeof columns / sizeof *columns); c++) {
        if (!strcmp(names[i], columns[c].column)) compared += agrees(params, c, cells[i], &differences);
      }
    }
    td_device_params_close(params);
  }
  fclose(file);
  print_message("%d numbers compared, %d differ for a stated reason\n", compared, differences);
  assert_true(compared >= 80);
}

int main(void) {
  unsetenv("TANDEM_DEVICES");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(all_are_here),     cmocka_unit_test(every_number_has_a_source),
      cmocka_unit_test(a_year),           cmocka_unit_test(a_spoilt_copy_is_refused),
      cmocka_unit_test(the_lp30_adds_up), cmocka_unit_test(the_public_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
