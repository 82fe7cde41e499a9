/* SPDX-License-Identifier: Apache-2.0
 *
 * Device files: units, ranges, and each mistake refused with its line.
 */
#include <math.h>

#include "../config/files.h"
#include "tandem/base.h"
#include "tandem/devices.h"

#define HEAD "title = \"t\"; kind = \"chip\";\n"
#define LINK "title = \"t\"; kind = \"link\";\n"
#define MEASURED "evidence = \"measured\"; source = \"a run, 2026\";"

static td_status open_text(const char *text, struct td_device_params **out) {
  return td_device_params_open(scratch_file("dev.cfg", text), out);
}

static void units(void **state) {
  (void)state;
  static const struct {
    const char *key, *value, *unit;
    size_t offset;
    double base;
  } cases[] = {
      {"memory_bytes", "3", "B", offsetof(struct td_device_params, memory_bytes), 3},
      {"memory_bytes", "1.5", "kB", offsetof(struct td_device_params, memory_bytes), 1500},
      {"memory_bytes", "2", "MB", offsetof(struct td_device_params, memory_bytes), 2e6},
      {"memory_bytes", "2", "GB", offsetof(struct td_device_params, memory_bytes), 2e9},
      {"memory_bytes", "2", "TB", offsetof(struct td_device_params, memory_bytes), 2e12},
      {"memory_bytes", "2", "KiB", offsetof(struct td_device_params, memory_bytes), 2048},
      {"memory_bytes", "2", "MiB", offsetof(struct td_device_params, memory_bytes), 2097152},
      {"memory_bytes", "80", "GiB", offsetof(struct td_device_params, memory_bytes), 85899345920.0},
      {"memory_bytes", "2", "TiB", offsetof(struct td_device_params, memory_bytes), 2199023255552.0},
      {"memory_bandwidth", "5", "GB/s", offsetof(struct td_device_params, memory_bandwidth), 5e9},
      {"memory_bandwidth", "5", "PB/s", offsetof(struct td_device_params, memory_bandwidth), 5e15},
      {"flops_bf16", "5", "GFLOP/s", offsetof(struct td_device_params, flops_bf16), 5e9},
      {"flops_bf16", "5", "TFLOP/s", offsetof(struct td_device_params, flops_bf16), 5e12},
      {"flops_fp8", "5", "PFLOP/s", offsetof(struct td_device_params, flops_fp8), 5e15},
      {"flops_fp4", "5", "PFLOP/s", offsetof(struct td_device_params, flops_fp4), 5e15},
      {"op_overhead", "5", "s", offsetof(struct td_device_params, op_overhead), 5},
      {"op_overhead", "5", "ms", offsetof(struct td_device_params, op_overhead), 5e-3},
      {"op_overhead", "5", "us", offsetof(struct td_device_params, op_overhead), 5e-6},
      {"op_overhead", "5", "ns", offsetof(struct td_device_params, op_overhead), 5e-9},
      {"memory_efficiency", "0.5", "1", offsetof(struct td_device_params, memory_efficiency), 0.5},
      {"op_overhead", "0.001", "h", offsetof(struct td_device_params, op_overhead), 3.6},
      {"ops_int8", "5", "TOP/s", offsetof(struct td_device_params, ops_int8), 5e12},
      {"ops_int8", "5", "POP/s", offsetof(struct td_device_params, ops_int8), 5e15},
      {"multiprocessors", "132", "1", offsetof(struct td_device_params, multiprocessors), 132},
      {"clock", "1.8", "GHz", offsetof(struct td_device_params, clock), 1.8e9},
      {"price_bought", "5", "USD", offsetof(struct td_device_params, price_bought), 5},
      {"price_rented", "5", "USD/h", offsetof(struct td_device_params, price_rented), 5},
      {"price_per_watt", "23", "USD/W", offsetof(struct td_device_params, price_per_watt), 23},
      {"power_utility", "2", "kW", offsetof(struct td_device_params, power_utility), 2000},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[512];
    struct td_device_params *params;
    snprintf(text, sizeof text, HEAD "%s = { value = %s; unit = \"%s\"; " MEASURED " };", cases[i].key, cases[i].value,
             cases[i].unit);
    td_status status = open_text(text, &params);
    if (status) print_error("%s: %s\n", text, td_error_text());
    assert_int_equal(status, TD_OK);
    const struct td_quantity *quantity = (const void *)((const char *)params + cases[i].offset);
    assert_true(quantity->present);
    assert_true(fabs(quantity->value - cases[i].base) <= 1e-12 * cases[i].base);
    assert_true(quantity->low == quantity->value && quantity->high == quantity->value);
    assert_int_equal(quantity->evidence, TD_MEASURED);
    assert_string_equal(quantity->source, "a run, 2026");
    td_device_params_close(params);
  }
}

static void mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {HEAD "memory_bytes = 80;", "2: memory_bytes: found 80, expected a group { ... }"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; evidence = \"measured\"; };",
       "2: memory_bytes.source: found nothing, expected a text: title and year of where it was published, or how it "
       "was "
       "measured"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; evidence = \"measured\"; source = \" \"; };",
       "2: memory_bytes.source: found an empty text, expected where the number comes from"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; source = \"s\"; };",
       "2: memory_bytes.evidence: found nothing, expected one of measured, vendor, secondary, assumed: how far to "
       "trust "
       "it"},
      {HEAD "memory_bytes = { value = 80; evidence = \"measured\"; source = \"s\"; };",
       "2: memory_bytes.unit: found nothing, expected a text: its unit"},
      {HEAD "memory_bytes = { unit = \"GB\"; evidence = \"measured\"; source = \"s\"; };",
       "2: memory_bytes.value: found nothing, expected a number: the number, in `unit`"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB/s\"; " MEASURED " };",
       "2: memory_bytes.unit: found \"GB/s\", expected B, kB, MB, GB, TB, KiB, MiB, GiB or TiB"},
      {HEAD "memory_efficiency = { value = 80; unit = \"%\"; " MEASURED " };",
       "2: memory_efficiency.unit: found \"%\", expected \"1\" (a fraction)"},
      {HEAD "memory_efficiency = { value = 1.5; unit = \"1\"; " MEASURED " };",
       "2: memory_efficiency.value: found 1.5..1.5 1, expected it within 0.001..1 1"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; evidence = \"guess\"; source = \"s\"; };",
       "2: memory_bytes.evidence: found \"guess\", expected one of measured, vendor, secondary, assumed"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; evidence = \"vendor\"; source = \"s\"; };",
       "2: memory_bytes: found no range, expected low and high because its evidence is vendor"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; low = 70; " MEASURED " };",
       "2: memory_bytes.low: found it alone, expected both low and high"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; low = 81; high = 90; " MEASURED " };",
       "2: memory_bytes.value: found 80, expected it between low = 81 and high = 90"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; low = 90; high = 70; " MEASURED " };",
       "2: memory_bytes.low: found 90, expected no more than high = 70"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; low = 80; high = 80; evidence = \"vendor\"; source = \"X data "
            "sheet, rev 20245\"; };",
       "2: memory_bytes.source: found no year in \"X data sheet, rev 20245\", expected title and year of where it was "
       "published"},
      {HEAD "memory_bytes = { value = 1; unit = \"MB\"; " MEASURED
            " }; l2_bytes = { value = 2; unit = \"MB\"; " MEASURED " };",
       "2: l2_bytes: found at least 2e+06, expected no more than memory_bytes, which is at most 1e+06"},
      {HEAD "memory_bytes = { value = 0; unit = \"GB\"; " MEASURED " };",
       "2: memory_bytes.value: found 0..0 GB, expected it within 1..1e+18 B"},
      {HEAD "memory_bandwith = { value = 1; unit = \"GB/s\"; " MEASURED " };",
       "2: memory_bandwith: found an unknown key, expected a key of a device file; did you mean memory_bandwidth?"},
      {HEAD "memory_bytes = { value = 80; unit = \"GB\"; note = \"x\"; " MEASURED " };",
       "2: memory_bytes.note: found an unknown key, expected a key of a number (value, unit, source, evidence, low, "
       "high)"},
      {"kind = \"chip\";", "1: title: found nothing, expected a text: what the device is called"},
      {"title = \"\"; kind = \"chip\";", "1: title: found a text of 0 bytes, expected 1..127"},
      {"title = \"t\";",
       "1: kind: found nothing, expected one of chip, link, lpu, rack, site, lpu-system: chip, link, lpu, rack, site "
       "or "
       "lpu-system"},
      {"title = \"t\"; kind = \"chips\";",
       "1: kind: found \"chips\", expected one of chip, link, lpu, rack, site, lpu-system; did you mean chip?"},
      {HEAD "link_latency = { value = 1; unit = \"us\"; " MEASURED " };",
       "2: link_latency: found it in a chip, expected it only in a link"},
      {LINK "link_latency = { value = 1; unit = \"us\"; " MEASURED " };",
       "1: link_bandwidth: found nothing, expected a number in a link"},
      {HEAD "power_busy = { value = 1; unit = \"W\"; " MEASURED " };",
       "1: power_basis: found nothing, expected chip, all-in or utility beside a power"},
      {HEAD "power_basis = \"chip\";",
       "2: power_basis: found it without power_busy or power_idle, expected a power too"},
      {HEAD "pue = { value = 1; unit = \"1\"; " MEASURED " };",
       "2: pue: found it in a chip, expected it only in a site"},
      {LINK "memory_bytes = { value = 1; unit = \"B\"; " MEASURED " };",
       "2: memory_bytes: found it in a link, expected it only in a chip or rack"},
      {HEAD "chip = \"h100_sxm\";", "2: chip: found it in a chip, expected it only in a rack or lpu-system"},
      {HEAD "status = \"gone\";", "2: status: found \"gone\", expected one of sold, announced, cancelled"},
      {HEAD "status = \"cancelled\"; imagined = true;",
       "2: status: found \"cancelled\" of an imagined device, expected a device that somebody named"},
      {HEAD "ops_int8 = { value = 1; unit = \"TFLOP/s\"; " MEASURED " };",
       "2: ops_int8.unit: found \"TFLOP/s\", expected OP/s, GOP/s, TOP/s or POP/s"},
      {HEAD "multiprocessors = { value = 131.5; unit = \"1\"; " MEASURED " };",
       "2: multiprocessors: found 131.5 1, expected a whole number"},
      {HEAD "price_rented = { value = 1; unit = \"USD\"; " MEASURED " };",
       "2: price_rented.unit: found \"USD\", expected USD/h"},
      {HEAD "power_basis = \"chip\";\npower_busy = { value = 2; unit = \"kW\"; " MEASURED
            " };\npower_all_in = { value = 1.5; unit = \"kW\"; " MEASURED " };",
       "3: power_busy: found at least 2000, expected no more than power_all_in, which is at most 1500"},
      {HEAD "power_all_in = { value = 2; unit = \"kW\"; " MEASURED
            " };\npower_utility = { value = 1.5; unit = \"kW\"; " MEASURED " };",
       "2: power_all_in: found at least 2000, expected no more than power_utility, which is at most 1500"},
      {"title = \"t\"; kind = \"link\";\nlink_bandwidth = { value = 2; unit = \"GB/s\"; " MEASURED
       " };\nlink_latency = { value = 1; unit = \"us\"; " MEASURED
       " };\nlink_peak = { value = 1; unit = \"GB/s\"; " MEASURED " };",
       "2: link_bandwidth: found at least 2e+09, expected no more than link_peak, which is at most 1e+09"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *params;
    char want[8192];
    snprintf(want, sizeof want, "%s/dev.cfg:%s", scratch_folder(), cases[i][1]);
    assert_int_equal(open_text(cases[i][0], &params), TD_CONFIG);
    assert_string_equal(td_error_text(), want);
  }
}

#define COUNT(name, value) name " = { value = " value "; unit = \"1\"; " MEASURED " };\n"
#define BYTES(name, value) name " = { value = " value "; unit = \"GB\"; " MEASURED " };\n"
#define RACK "title = \"t\"; kind = \"rack\"; "

static void write_file(const char *name, const char *text) {
  char path[4300];
  snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  assert_true(fputs(text, file) >= 0);
  assert_int_equal(fclose(file), 0);
}

/* A rack is checked against the files of its parts, which lie beside it. */
static void racks(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {RACK, "1: chip: found nothing, expected the device file of a rack's chips"},
      {RACK "chip = \"part\";", "1: chips: found nothing, expected the number of chips in a rack"},
      {RACK "chip = \"part\";\n" COUNT("chips", "72") "host = \"part\";",
       "1: hosts: found nothing, expected the number of hosts beside host"},
      {RACK "chip = \"part\";\n" COUNT("chips", "72") COUNT("hosts", "2"),
       "1: host: found nothing, expected a device file beside hosts"},
      {RACK "chip = \"../part\";\n" COUNT("chips", "72"),
       "1: chip: found \"../part\", expected the name of a device file beside this one"},
      {RACK "chip = \"part\";\n" COUNT("chips", "72") BYTES("memory_bytes", "731"),
       "3: memory_bytes: found 7.31e+11..7.31e+11, expected it to meet the 7.2e+11..7.2e+11 that 72 of part add up to"},
      {RACK "chip = \"part\"; host = \"part\";\n" COUNT("chips", "72") COUNT("hosts", "36") BYTES("hosts_memory", "1"),
       "4: hosts_memory: found 1e+09..1e+09, expected it to meet the 3.6e+11..3.6e+11 that 36 of part add up to"},
      {RACK "chip = \"wire\";\n" COUNT("chips", "72"), "1: chip: found the link wire, expected a chip"},
      {RACK "chip = \"part\"; host = \"wire\";\n" COUNT("chips", "72") COUNT("hosts", "2"),
       "1: host: found the link wire, expected a chip"},
  };
  struct td_device_params *params;
  write_file("part.cfg", HEAD BYTES("memory_bytes", "10"));
  write_file("wire.cfg", "title = \"t\"; kind = \"link\";\nlink_bandwidth = { value = 2; unit = \"GB/s\"; " MEASURED
                         " };\nlink_latency = { value = 1; unit = \"us\"; " MEASURED " };");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char want[8192];
    snprintf(want, sizeof want, "%s/dev.cfg:%s", scratch_folder(), cases[i][1]);
    assert_int_equal(open_text(cases[i][0], &params), TD_CONFIG);
    assert_string_equal(td_error_text(), want);
  }
  assert_int_equal(open_text(RACK "chip = \"nobody\";\n" COUNT("chips", "72"), &params), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "found \"nobody\", whose device file does not open"));
  /* A rack of racks, or of itself, ends in an error, not in the stack. */
  assert_int_equal(open_text(RACK "chip = \"dev\";\n" COUNT("chips", "72"), &params), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "found a rack, expected a chip as a part of a rack"));
  assert_int_equal(open_text(RACK "chip = \"part\";\n" COUNT("chips", "72") BYTES("memory_bytes", "720"), &params),
                   TD_OK);
  assert_int_equal(params->kind, TD_KIND_RACK);
  assert_string_equal(params->chip, "part");
  td_device_params_close(params);
}

static td_status count_file(void *context, const struct td_device_params *params) {
  ++*(int *)context;
  assert_true(*params->title);
  if (params->kind == TD_KIND_LINK) assert_true(params->link_bandwidth.present && params->link_latency.present);
  return TD_OK;
}

static void the_folder(void **state) {
  (void)state;
  int count = 0;
  struct td_device_params *params;
  unsetenv("TANDEM_DEVICES");
  td_status status = td_device_params_each(count_file, &count);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_true(count >= 7);
  assert_int_equal(td_device_params_open("h100_sxm", &params), TD_OK);
  assert_string_equal(params->name, "h100_sxm");
  assert_true(params->memory_bandwidth.value == 3.35e12);
  assert_false(params->imagined);
  td_device_params_close(params);
  assert_int_equal(td_device_params_open("sram-imagined", &params), TD_OK);
  assert_true(params->imagined);
  td_device_params_close(params);
  assert_int_equal(td_device_params_open("nvlink45", &params), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "did you mean nvlink4?"));
  assert_int_equal(td_device_params_open("", &params), TD_CONFIG);
  assert_int_equal(td_device_params_open("./nothing.cfg", &params), TD_CONFIG);
}

/* A folder of one's own: a new file is found by its name, a broken one does not hide the others. */
static void a_file_dropped_in(void **state) {
  (void)state;
  char folder[4096];
  int count = 0;
  struct td_device_params *params;
  snprintf(folder, sizeof folder, "%s", test_scratch());
  setenv("TANDEM_DEVICES", folder, 1);
  char command[8300], out[16];
  snprintf(command, sizeof command, "cp '%s' '%s/mine.cfg' && printf 'title = 3;' > '%s/broken.cfg'",
           test_source("devices/nvlink4.cfg"), folder, folder);
  assert_int_equal(test_run(out, sizeof out, "%s", command), 0);
  assert_int_equal(td_device_params_open("mine", &params), TD_OK);
  assert_string_equal(params->name, "mine");
  td_device_params_close(params);
  assert_int_equal(td_device_params_each(count_file, &count), TD_CONFIG);
  assert_int_equal(count, 1);
  assert_non_null(strstr(td_error_text(), "broken.cfg:1: title: found 3, expected a text"));
  setenv("TANDEM_DEVICES", "/nowhere", 1);
  assert_int_equal(td_device_params_each(count_file, &count), TD_CONFIG);
  unsetenv("TANDEM_DEVICES");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(units),      cmocka_unit_test(mistakes),          cmocka_unit_test(racks),
      cmocka_unit_test(the_folder), cmocka_unit_test(a_file_dropped_in),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
