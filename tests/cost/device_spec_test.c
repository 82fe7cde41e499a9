/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers set where a device is named: they are those of the file but for what was set, and only inside its ranges.
 */
#include "../config/files.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/lpu_machine.h"

static void sets_numbers_in_their_own_units(void **state) {
  (void)state;
  struct td_device_params *plain, *set;
  assert_int_equal(td_device_params_open("h100_sxm", &plain), TD_OK);
  assert_int_equal(td_device_params_open("h100_sxm:memory_bandwidth=3.36,op_overhead=3", &set), TD_OK);
  assert_true(plain->memory_bandwidth.low < plain->memory_bandwidth.high);
  assert_float_equal(set->memory_bandwidth.value, 3.36e12, 1);
  assert_float_equal(set->memory_bandwidth.low, 3.36e12, 1); /* no range is left */
  assert_string_equal(set->memory_bandwidth.source, "set where the device is named");
  assert_float_equal(set->memory_bytes.value, plain->memory_bytes.value, 0);
  td_device_params_close(plain);
  td_device_params_close(set);
}

static void sets_numbers_of_machines(void **state) {
  (void)state;
  struct td_device_params *plain, *set;
  assert_int_equal(td_device_params_open("lpu-imagined", &plain), TD_OK);
  assert_int_equal(td_device_params_open(TANDEM_SOURCE_DIR "/devices/lpu-imagined.cfg:lpu.mem_words=24576", &set),
                   TD_OK);
  const struct td_lpu_machine *before = td_lpu_machine_of(plain), *machine = td_lpu_machine_of(set);
  assert_int_equal(machine->mem_words, 24576);
  assert_int_equal(machine->mem_slices, before->mem_slices);
  td_device_params_close(plain);
  td_device_params_close(set);
}

static void sets_numbers_of_a_systems_chip(void **state) {
  (void)state;
  struct td_device_params *set;
  assert_int_equal(td_device_params_open("groq-lpu-v1-576:lpu.link_latency=220", &set), TD_OK);
  assert_int_equal(td_lpu_machine_of(set)->link_latency, 220);
  td_device_params_close(set);
}

static void assert_refused(const char *name, const char *text) {
  struct td_device_params *params;
  assert_int_equal(td_device_params_open(name, &params), TD_CONFIG);
  if (!strstr(td_error_text(), text)) fail_msg("%s: found \"%s\", expected \"%s\"", name, td_error_text(), text);
}

static void refuses_what_no_such_device_can_be(void **state) {
  (void)state;
  assert_refused("lpu-imagined:lpu.mem_words=1", "found 1, expected it between low = 2048 and high = 65536");
  assert_refused("lpu-imagined:lpu.mem_wordz=4096", "did you mean mem_words?");
  assert_refused("lpu-imagined:lpu.mem_words=many", "lpu.mem_words.value");
  assert_refused("lpu-imagined:=1", "expected KEY=VALUE");
  assert_refused("lpu-imagined:lpu.mem_words=", "expected KEY=VALUE");
  assert_refused("lpu-imagined:lpu.mem_words=4096,", "expected KEY=VALUE");
  assert_refused("lpu-imagind:lpu.mem_words=4096", "did you mean lpu-imagined?");
  assert_refused("groq-lpu-v1-576:lpu.link_latency=1", "link_latency");
  char many[2048] = "lpu-imagined:lpu.mem_words=4096";
  for (int i = 0; i < 40; i++) strcat(many, ",lpu.mem_words=4096");
  assert_refused(many, "found over 32 numbers set");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(sets_numbers_in_their_own_units),
      cmocka_unit_test(sets_numbers_of_machines),
      cmocka_unit_test(sets_numbers_of_a_systems_chip),
      cmocka_unit_test(refuses_what_no_such_device_can_be),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
