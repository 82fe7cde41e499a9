/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from an LPU's device file alone, where its units stand, and every mistake refused with its line.
 */
#include <math.h>

#include "../config/files.h"
#include "cost/lpu_table.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/lpu_machine.h"

static struct td_device_params *open_params(const char *name) {
  struct td_device_params *params;
  td_status status = td_device_params_open(name, &params);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  return params;
}

/* ---- resources ---- */

static void rates_of_v1(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  struct td_lpu_rates rates;
  td_lpu_machine_rates(td_lpu_machine_of(params), &rates);
  assert_int_equal(rates.sram_bytes, 230686720);
  assert_int_equal(rates.sram_bytes, 220 * 1048576);
  assert_int_equal(rates.sram_bytes_per_cycle, 56320);
  assert_int_equal(rates.stream_bytes_per_cycle, 20480);
  assert_int_equal(rates.macs_int8, 409600);
  assert_int_equal(rates.macs_f16, 102400);
  assert_int_equal(rates.install_cycles_full, 20);
  assert_int_equal(rates.link_vector_cycles, 24);
  td_device_params_close(params);
}

static void defaults_of_v1(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  assert_true(m->clock_hz == 900e6);
  assert_int_equal(m->lanes, 320);
  assert_int_equal(m->instruction_queues, 144);
  assert_true(m->delay[TD_LPU_PASS].func >= 25 && m->delay[TD_LPU_SHIFT].func >= 25);
  assert_true(m->delay[TD_LPU_PERMUTE].func >= 25);
  for (int i = 0; i < TD_ALU_COUNT; i++) assert_true(m->alu_func[i] >= 3);
  int32_t vector = td_lpu_vector_position(m);
  for (int32_t hemisphere = 0; hemisphere < 2; hemisphere++) {
    assert_true(abs(td_lpu_matrix_position(m, hemisphere) - vector) >= 22);
  }
  assert_int_equal(m->link_latency, 216);
  assert_true(fabs(m->link_hop_seconds - 722e-9) < 1e-15);
  assert_int_equal(m->links_used, 11);
  assert_true(m->has_power);
  td_device_params_close(params);
}

/* Not a number of the files: their consequences, by hand. */
static void rates_of_other_machines(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  struct td_lpu_machine m = *td_lpu_machine_of(params);
  struct td_lpu_rates rates;
  m.link_bytes_per_second = 9e9; /* 10 B/cycle: 328 B take 32.8 cycles */
  m.mem_banks = 1;
  m.planes = 8;
  td_lpu_machine_rates(&m, &rates);
  assert_int_equal(rates.link_vector_cycles, 33);
  assert_int_equal(rates.sram_bytes_per_cycle, 28160);
  assert_int_equal(rates.install_cycles_full, 40);
  m.link_overhead_bytes = 10; /* 330 B: exactly 33 */
  td_lpu_machine_rates(&m, &rates);
  assert_int_equal(rates.link_vector_cycles, 33);
  td_device_params_close(params);
}

/* ---- geometry ---- */

static void positions(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  assert_int_equal(td_lpu_positions(m), 49);
  assert_int_equal(td_lpu_vector_position(m), 24);
  assert_int_equal(td_lpu_matrix_position(m, 0), 0);
  assert_int_equal(td_lpu_switch_position(m, 0), 1);
  assert_int_equal(td_lpu_memory_position(m, 0, 43), 2);
  assert_int_equal(td_lpu_memory_position(m, 0, 1), 23);
  assert_int_equal(td_lpu_memory_position(m, 0, 0), 23);
  assert_int_equal(td_lpu_memory_position(m, 1, 0), 25);
  assert_int_equal(td_lpu_memory_position(m, 1, 2), 26);
  assert_int_equal(td_lpu_memory_position(m, 1, 43), 46);
  assert_int_equal(td_lpu_switch_position(m, 1), 47);
  assert_int_equal(td_lpu_matrix_position(m, 1), 48);
  td_device_params_close(params);
}

/* The number that the unit of a queue gives it. */
static int32_t number_of(const struct td_lpu_machine *m, const struct td_lpu_queue *queue) {
  switch (queue->unit) {
    case TD_UNIT_MEMORY:
      return td_lpu_memory_queue(m, queue->hemisphere, queue->index);
    case TD_UNIT_MATRIX:
      return td_lpu_matrix_queue(m, queue->index, (enum td_lpu_matrix_queue)queue->function);
    case TD_UNIT_VECTOR:
      return td_lpu_vector_queue(m, queue->index);
    case TD_UNIT_SWITCH:
      return td_lpu_switch_queue(m, queue->hemisphere, (enum td_lpu_switch_queue)queue->function);
    default:
      return td_lpu_link_queue(m, queue->index);
  }
}

static int32_t position_of(const struct td_lpu_machine *m, const struct td_lpu_queue *queue) {
  switch (queue->unit) {
    case TD_UNIT_MEMORY:
      return td_lpu_memory_position(m, queue->hemisphere, queue->index);
    case TD_UNIT_VECTOR:
      return td_lpu_vector_position(m);
    case TD_UNIT_SWITCH:
      return td_lpu_switch_position(m, queue->hemisphere);
    default:
      return td_lpu_matrix_position(m, queue->hemisphere);
  }
}

static void check_queues_of(const char *name) {
  struct td_device_params *params = open_params(name);
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  int32_t count[TD_LPU_UNIT_COUNT] = {0};
  struct td_lpu_queue queue;
  for (int32_t i = 0; i < m->instruction_queues; i++) {
    assert_true(td_lpu_queue_at(m, i, &queue));
    assert_int_equal(number_of(m, &queue), i);
    assert_int_equal(position_of(m, &queue), queue.position);
    count[queue.unit]++;
    if (queue.unit == TD_UNIT_MATRIX) assert_int_equal(queue.hemisphere, queue.index / (m->planes / 2));
    if (queue.unit == TD_UNIT_LINK) assert_int_equal(queue.hemisphere, queue.index % 2);
    if (queue.unit == TD_UNIT_VECTOR) assert_int_equal(queue.hemisphere, -1);
  }
  assert_false(td_lpu_queue_at(m, -1, &queue));
  assert_false(td_lpu_queue_at(m, m->instruction_queues, &queue));
  assert_int_equal(count[TD_UNIT_MEMORY], m->mem_slices);
  assert_int_equal(count[TD_UNIT_MATRIX], 4 * m->planes);
  assert_int_equal(count[TD_UNIT_VECTOR], m->alus);
  assert_int_equal(count[TD_UNIT_SWITCH], 2 * m->switch_functions);
  assert_int_equal(count[TD_UNIT_LINK], m->links);
  td_device_params_close(params);
}

static void queues(void **state) {
  (void)state;
  check_queues_of("groq-lpu-v1");
  check_queues_of("lpu-tiny");
}

/* ---- the file ---- */

/* lpu-tiny.cfg with the entry of one number replaced by `text`; *out_line is where it stands. */
static const char *tiny_with(const char *number, const char *text, int *out_line) {
  static char path[4200];
  char *file, *all = malloc(65536), start[80];
  size_t bytes;
  assert_non_null(all);
  assert_int_equal(td_read_file(test_source("devices/lpu-tiny.cfg"), 60000, &file, &bytes), TD_OK);
  snprintf(start, sizeof start, "\n  %s = {", number);
  char *begin = strstr(file, start);
  assert_non_null(begin);
  char *end = strstr(begin, "};\n");
  assert_non_null(end);
  *out_line = 1;
  for (const char *c = file; c <= begin; c++) *out_line += *c == '\n';
  snprintf(all, 65536, "%.*s\n  %s%s", (int)(begin - file), file, text, end + 2);
  snprintf(path, sizeof path, "%s", scratch_file("tiny.cfg", all));
  free(file);
  free(all);
  return path;
}

struct mistake {
  const char *number, *value, *unit, *message;
};

static void expect_mistake(const struct mistake *mistake) {
  char text[256], want[4700];
  int line = 0;
  struct td_device_params *params;
  snprintf(text, sizeof text, "%s = { value = %s; unit = \"%s\"; evidence = \"measured\"; source = \"test\"; };",
           mistake->number, mistake->value, mistake->unit);
  const char *path = tiny_with(mistake->number, text, &line);
  snprintf(want, sizeof want, "%s:%d: lpu.%s%s", path, line, mistake->number, mistake->message);
  assert_int_equal(td_device_params_open(path, &params), TD_CONFIG);
  assert_string_equal(td_error_text(), want);
}

static void mistakes(void **state) {
  (void)state;
  static const struct mistake cases[] = {
      {"superlanes", "33", "1", ".value: found 33..33 1, expected it within 1..32 1"},
      {"superlanes", "2.5", "1", ": found 2.5 1, expected a whole number"},
      {"superlanes", "2", "cycles", ".unit: found \"cycles\", expected \"1\" (a number of things)"},
      {"lanes_per_superlane", "8", "1", ".value: found 8..8 1, expected it within 16..16 1"},
      {"plane_k", "48", "1", ": found 48, expected the 32 lanes that an activation vector has"},
      {"load_vectors", "12", "1",
       ": found 12, expected a divisor of 16, half a plane's k: an fp16 plane is loaded in whole steps"},
      {"streams", "24", "1", ": found 24, expected at least 32: a load takes 16 pairs"},
      {"streams", "65", "1", ".value: found 65..65 1, expected it within 16..64 1"},
      {"planes", "6", "1", ": found 6, expected a multiple of 4: pairs for fp16 in each hemisphere"},
      {"mem_slices", "81", "1", ": found 81, expected a multiple of 8: whole hops in each hemisphere"},
      {"mem_words", "511", "1", ": found 511, expected a multiple of the 2 banks"},
      {"instruction_queues", "144", "1",
       ": found 144, expected 124: 80 memory + 16 vector + 16 matrix + 8 switch + 4 link"},
      {"switch_functions", "3", "1", ".value: found 3..3 1, expected it within 4..4 1"},
      {"pass_func", "4", "cycles",
       ": found 4 cycles, 3 of them before the operand is read, expected at least 5: it mixes the 2 superlanes"},
      {"shift_func", "6", "cycles",
       ": found 6 cycles, 5 of them before the operand is read, expected at least 7: it mixes the 2 superlanes"},
      {"permute_func", "6", "cycles",
       ": found 6 cycles, 6 of them before the operand is read, expected at least 8: it mixes the 2 superlanes"},
      {"transpose_cycles", "1", "cycles", ": found 1 cycles, expected at least 2: it mixes the superlanes"},
      {"load_func", "2", "cycles", ": found 2 cycles, expected more than the 2 after which the operand is read"},
      {"select_func", "7", "cycles", ": found 7 cycles, expected more than the 7 after which the operand is read"},
      {"alu_tanh", "1", "cycles", ": found 1 cycles, expected more than the 1 after which operands are read"},
      {"links_used", "5", "1", ": found 5, expected at most the chip's 4 links"},
      {"node_chips", "5", "1", ": found 5 chips wired all to all, expected at most 4: a chip has 3 wired links"},
      {"link_latency", "9", "cycles", ": found 9 cycles, expected more than the 9 after which a send reads its stream"},
      {"link_slack", "40", "cycles", ": found 40 cycles, expected less than the link's 40"},
      {"link_rate", "1", "W", ".unit: found \"W\", expected B/s, kB/s, MB/s, GB/s, TB/s or PB/s"},
      {"clock", "1", "s", ".unit: found \"s\", expected Hz, kHz, MHz or GHz"},
      {"power_link_idle", "9", "W", ": found 9 W, expected at most the 0.08 W of a working unit"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect_mistake(&cases[i]);
}

static void expect_refusal(const char *text, const char *want) {
  struct td_device_params *params;
  char expected[8400];
  const char *path = scratch_file("dev.cfg", text);
  assert_int_equal(td_device_params_open(path, &params), TD_CONFIG);
  snprintf(expected, sizeof expected, "%s:%s", path, want);
  assert_string_equal(td_error_text(), expected);
}

static void missing_and_misplaced(void **state) {
  (void)state;
  static const char clock[] = "clock = { value = 1; unit = \"GHz\"; evidence = \"measured\"; source = \"s\"; };";
  char text[512];
  struct td_device_params *params;
  int line;
  expect_refusal("title = \"t\"; kind = \"lpu\";\n", "1: lpu.clock: found nothing, expected a number: cycles a second");
  snprintf(text, sizeof text, "title = \"t\"; kind = \"chip\";\nlpu = { %s };\n", clock);
  expect_refusal(text, "2: lpu: found it in a chip, expected it only in an lpu");
  snprintf(text, sizeof text, "title = \"t\"; kind = \"lpu\";\nlpu = { clok = 1; };\n");
  expect_refusal(text, "2: lpu.clok: found an unknown key, expected a key of the lpu group; did you mean clock?");
  const char *path = tiny_with("alu_exp", "", &line);
  assert_int_equal(td_device_params_open(path, &params), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "lpu.alu_exp: found nothing, expected a number: issue to result"));
  path = tiny_with("power_base", "", &line);
  assert_int_equal(td_device_params_open(path, &params), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "lpu.power_base: found nothing, expected all powers of an lpu or none"));
}

/* Every row of a file is a graded number with a range. */
static void grades(void **state) {
  (void)state;
  static const char *const names[] = {"groq-lpu-v1", "lpu-tiny"};
  for (int f = 0; f < 2; f++) {
    struct td_device_params *params = open_params(names[f]);
    const char *name;
    const struct td_quantity *quantity;
    int32_t row = 0, assumed = 0;
    for (; td_lpu_machine_quantity(params, row, &name, &quantity); row++) {
      if (!quantity->present && !strncmp(name, "host_", 5)) continue;
      assert_true(quantity->present && *name && *quantity->source);
      assert_true(quantity->low <= quantity->value && quantity->value <= quantity->high);
      assumed += quantity->evidence == TD_ASSUMED;
      if (strstr(name, "_func") || !strncmp(name, "alu_", 4)) assert_int_equal(quantity->evidence, TD_ASSUMED);
    }
    assert_int_equal(row, TD_LPU_NUMBER_COUNT);
    assert_true(assumed > 40);
    td_device_params_close(params);
  }
}

/* In the test machine a delay taken for another one shows: no two are the same. */
static void tiny_delays_differ(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpu-tiny");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  int32_t func[TD_LPU_OPCODE_COUNT + TD_ALU_COUNT], count = 0;
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) {
    if (m->delay[i].func) func[count++] = m->delay[i].func;
  }
  for (int i = 0; i < TD_ALU_COUNT; i++) func[count++] = m->alu_func[i];
  for (int32_t i = 0; i < count; i++) {
    for (int32_t j = 0; j < i; j++) assert_int_not_equal(func[i], func[j]);
  }
  td_device_params_close(params);
}

/* ---- other values ---- */

static void expect_vary(const struct td_device_params *params, const char *set, const char *want) {
  struct td_lpu_machine machine;
  assert_int_equal(td_lpu_machine_vary(params, &set, 1, &machine), TD_CONFIG);
  assert_string_equal(td_error_text(), want);
}

static void vary(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1"), *chip = open_params("h100_sxm");
  static const char *const sets[] = {"pass_func=40", "clock=1e9", "link_hop=5e-7", "alu_exp=20"};
  struct td_lpu_machine machine;
  assert_int_equal(td_lpu_machine_vary(params, sets, 4, &machine), TD_OK);
  assert_int_equal(machine.delay[TD_LPU_PASS].func, 40);
  assert_int_equal(machine.alu_func[TD_ALU_EXP], 20);
  assert_true(machine.clock_hz == 1e9 && machine.link_hop_seconds == 5e-7);
  assert_int_equal(td_lpu_machine_of(params)->delay[TD_LPU_PASS].func, 25);
  expect_vary(params, "pass_func=19", "pass_func: found 19, expected 20..64 cycles, its range in groq-lpu-v1");
  expect_vary(params, "pass_func=30.5", "pass_func: found \"30.5\", expected a whole number in cycles");
  expect_vary(params, "clock=fast", "clock: found \"fast\", expected a number in Hz");
  expect_vary(params, "clock=nan", "clock: found \"nan\", expected a number in Hz");
  expect_vary(params, "pass_fun=30",
              "found \"pass_fun\", expected the name of an lpu's number; did you mean pass_func?");
  expect_vary(params, "pass_func", "found \"pass_func\", expected name=value");
  expect_vary(chip, "pass_func=30", "device h100_sxm: found a chip, expected an lpu");
  /* each in its range, and together impossible */
  static const char *const clash[] = {"pass_skew=9", "pass_func=25"};
  assert_int_equal(td_lpu_machine_vary(params, clash, 2, &machine), TD_CONFIG);
  assert_string_equal(td_error_text(),
                      "pass_func: found 25 cycles, 9 of them before the operand is read, expected at least 29: it "
                      "mixes the 20 superlanes");
  td_device_params_close(params);
  td_device_params_close(chip);
}

static void digest(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpu-tiny"), *again = open_params("lpu-tiny");
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  uint64_t whole = td_lpu_machine_digest(machine);
  assert_int_equal(whole, td_lpu_machine_digest(td_lpu_machine_of(again)));
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    struct td_lpu_machine other = *machine;
    td_lpu_set_number(&other, &td_lpu_number_rows[i], params->lpu->numbers[i].value + 1);
    assert_int_not_equal(td_lpu_machine_digest(&other), whole);
  }
  struct td_lpu_machine other = *machine;
  other.name[0]++;
  assert_int_not_equal(td_lpu_machine_digest(&other), whole);
  other = *machine;
  other.name[sizeof other.name - 1] = 'x'; /* behind the end of the name: not part of it */
  assert_int_equal(td_lpu_machine_digest(&other), whole);
  td_device_params_close(params);
  td_device_params_close(again);
}

/* A machine that did not come from a file is checked number by number. */
static void check_of_a_machine(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpu-tiny");
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  assert_int_equal(td_lpu_machine_check(machine), TD_OK);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const struct td_lpu_number_row *row = &td_lpu_number_rows[i];
    struct td_lpu_machine other = *machine;
    td_lpu_set_number(&other, row, row->quantity.most * 2 + 1);
    assert_int_equal(td_lpu_machine_check(&other), TD_CONFIG);
    assert_non_null(strstr(td_error_text(), row->quantity.name));
    if (row->whole) continue;
    td_lpu_set_number(&other, row, (double)NAN);
    assert_int_equal(td_lpu_machine_check(&other), TD_CONFIG);
  }
  struct td_lpu_machine other = *machine;
  other.lanes = 33;
  assert_int_equal(td_lpu_machine_check(&other), TD_CONFIG);
  assert_string_equal(td_error_text(), "found 33 lanes, expected 2 x 16");
  other = *machine;
  other.delay[TD_LPU_INSTALL].func = 1;
  assert_int_equal(td_lpu_machine_check(&other), TD_CONFIG);
  td_device_params_close(params);
}

/* ---- printing, pricing ---- */

static void prints_every_row(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  char *text = NULL, *json = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  assert_non_null(out);
  td_device_params_print(params, out);
  assert_int_equal(fclose(out), 0);
  out = open_memstream(&json, &bytes);
  assert_non_null(out);
  td_device_params_json(params, out);
  assert_int_equal(fclose(out), 0);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    char name[64];
    snprintf(name, sizeof name, "\n  %s ", td_lpu_number_rows[i].quantity.name);
    assert_non_null(strstr(text, name));
    snprintf(name, sizeof name, "\"%s\": {\"value\": ", td_lpu_number_rows[i].quantity.name);
    assert_non_null(strstr(json, name));
  }
  assert_non_null(strstr(text, "link_latency         216 cycles       208..225         vendor"));
  assert_non_null(strstr(text, "  stream_rate          20480 B/cycle "));
  assert_non_null(strstr(json, "\"kind\": \"lpu\""));
  assert_non_null(strstr(json, "\"install_full\": {\"value\": 20, \"unit\": \"cycles\"}"));
  free(text);
  free(json);
  td_device_params_close(params);
}

static void no_roofline(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  struct td_graph graph = {0};
  struct td_slice slice = {0};
  struct td_step_stats stats = {0};
  struct td_price price;
  int64_t ps;
  assert_int_equal(td_price_roofline(params, &graph, &slice, TD_F16, &stats, &price), TD_UNSUPPORTED);
  assert_string_equal(td_error_text(),
                      "device groq-lpu-v1: found an lpu without memory_bandwidth, expected it to price memory traffic "
                      "as a roofline: an lpu's time is the length of a program compiled for it");
  assert_int_equal(td_price_transfer(params, 1, &ps), TD_UNSUPPORTED);
  assert_string_equal(td_error_text(),
                      "device groq-lpu-v1: found a file of kind lpu, expected a link to price a transfer");
  td_device_params_close(params);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rates_of_v1),
      cmocka_unit_test(defaults_of_v1),
      cmocka_unit_test(rates_of_other_machines),
      cmocka_unit_test(positions),
      cmocka_unit_test(queues),
      cmocka_unit_test(mistakes),
      cmocka_unit_test(missing_and_misplaced),
      cmocka_unit_test(grades),
      cmocka_unit_test(tiny_delays_differ),
      cmocka_unit_test(vary),
      cmocka_unit_test(digest),
      cmocka_unit_test(check_of_a_machine),
      cmocka_unit_test(prints_every_row),
      cmocka_unit_test(no_roofline),
  };
  unsetenv("TANDEM_DEVICES");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
