/* SPDX-License-Identifier: Apache-2.0
 *
 * How systems of LPUs are wired: their device files, where links lead, routes; and what no wiring can be.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "config/files.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/lpu.h"

#define ok(expr)                                          \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

static struct td_device_params *open_params(const char *name) {
  struct td_device_params *params = NULL;
  ok(td_device_params_open(name, &params));
  assert_non_null(td_lpu_machine_of(params));
  return params;
}

static const char *const systems[] = {"groq-lpu-v1-576",    "groq-lpu-v1-264",   "lpx-rack",        "lpx-9-racks",
                                      "lpx-rack-announced", "lpu-imagined-mesh", "lpu-tiny-system", "lpu-tiny-mesh"};
enum { SYSTEMS = sizeof systems / sizeof *systems };

/* ---- peers ---- */

/* A wire has two ends, each the other's; no end is shared. */
static void check_wire(const struct td_lpu_machine *m, int32_t chips, int32_t chip, int32_t link) {
  int32_t peer = -1, far = -1, back = -1, near = -1;
  if (!td_lpu_link_peer(m, chips, chip, link, &peer, &far)) return;
  assert_true(peer >= 0 && peer < chips && peer != chip && far >= 0 && far < m->links_used);
  assert_true(td_lpu_link_peer(m, chips, peer, far, &back, &near));
  assert_int_equal(back, chip);
  assert_int_equal(near, link);
}

static int32_t links_between(const struct td_lpu_machine *m, int32_t chips, int32_t from, int32_t to) {
  int32_t count = 0, peer = 0, far = 0;
  for (int32_t link = 0; link < m->links_used; link++) {
    count += td_lpu_link_peer(m, chips, from, link, &peer, &far) && peer == to;
  }
  return count;
}

static void peers(void **state) {
  (void)state;
  for (int s = 0; s < SYSTEMS; s++) {
    struct td_device_params *params = open_params(systems[s]);
    const struct td_lpu_machine *m = td_lpu_machine_of(params);
    int32_t all = m->system_chips, out = 0, far = 0;
    for (int32_t chip = 0; chip < all; chip++) {
      for (int32_t link = 0; link < m->links_used; link++) check_wire(m, all, chip, link);
      if (chip + 1 < all) assert_true(links_between(m, all, chip, chip + 1) > 0);
      for (int32_t link = 0; link < m->links_used; link += 5) check_wire(m, all / 2, chip % (all / 2), link);
    }
    assert_false(td_lpu_link_peer(m, all, 0, -1, &out, &far));
    assert_false(td_lpu_link_peer(m, all, 0, m->links_used, &out, &far));
    td_device_params_close(params);
  }
}

/* Links between groups [size] of a level, with `copies` from one to another. */
static int32_t between_groups(const struct td_lpu_machine *m, int32_t size, int32_t one, int32_t other) {
  int32_t count = 0;
  for (int32_t a = one * size; a < (one + 1) * size; a++) {
    for (int32_t b = other * size; b < (other + 1) * size; b++) count += links_between(m, m->system_chips, a, b);
  }
  return count;
}

static void levels(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1-576");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  for (int32_t chip = 1; chip < 8; chip++) assert_int_equal(links_between(m, 576, 0, chip), 1);
  for (int32_t node = 1; node < 8; node++) assert_int_equal(between_groups(m, 8, 0, node), 2);
  for (int32_t rack = 1; rack < 9; rack++) assert_int_equal(between_groups(m, 64, 0, rack), 16);
  assert_int_equal(m->links_used, 11);
  td_device_params_close(params);
  params = open_params("lpx-9-racks");
  m = td_lpu_machine_of(params);
  for (int32_t chip = 1; chip < 16; chip++) assert_int_equal(links_between(m, 2304, 0, chip), 4);
  for (int32_t tray = 1; tray < 8; tray++) assert_int_equal(between_groups(m, 16, 0, tray), 64);
  assert_int_equal(between_groups(m, 128, 0, 1), 256);
  assert_int_equal(between_groups(m, 256, 0, 1), 512);
  assert_int_equal(between_groups(m, 256, 0, 8), 512);
  assert_int_equal(between_groups(m, 256, 0, 2), 0);
  td_device_params_close(params);
}

/* A chip alone, and a machine without wiring: the ring that it always was. */
static void ring(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  int32_t chip = 0, link = 0;
  assert_int_equal(m->levels, 0);
  assert_int_equal(td_lpu_hop_cycles(m), 0);
  assert_true(td_lpu_link_peer(m, 3, 2, 0, &chip, &link));
  assert_int_equal(chip, 0);
  assert_int_equal(link, 1);
  assert_false(td_lpu_link_peer(m, 3, 2, 10, &chip, &link)); /* 11 links: the last has no far end */
  td_device_params_close(params);
}

/* ---- routes ---- */

static int32_t farthest(const struct td_lpu_machine *m, int32_t chips, int32_t from) {
  struct td_lpu_reached *reached = calloc((size_t)chips, sizeof *reached);
  int32_t most = 0;
  assert_non_null(reached);
  ok(td_lpu_reach(m, chips, from, reached));
  for (int32_t chip = 0; chip < chips; chip++) {
    assert_true(reached[chip].hops >= 0);
    if (reached[chip].hops > most) most = reached[chip].hops;
  }
  free(reached);
  return most;
}

/* Every hop is a wire, and they lead there. */
static void follow(const struct td_lpu_machine *m, int32_t chips, int32_t from, int32_t to) {
  struct td_lpu_hop hops[64];
  int32_t count = 0, at = from, far = 0;
  ok(td_lpu_route(m, chips, from, to, hops, 64, &count));
  for (int32_t i = 0; i < count; i++) {
    assert_int_equal(hops[i].chip, at);
    assert_true(td_lpu_link_peer(m, chips, at, hops[i].link, &at, &far));
  }
  assert_int_equal(at, to);
}

static void routes(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1-576");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  for (int32_t chip = 0; chip < 576; chip += 61) {
    if (chip < 64) assert_int_equal(farthest(m, 64, chip), 3);
    assert_true(farthest(m, 576, chip) <= 7);
    for (int32_t to = 0; to < 576; to += 37) follow(m, 576, chip, to);
  }
  assert_int_equal(farthest(m, 8, 3), 1);
  td_device_params_close(params);
  params = open_params("groq-lpu-v1-264");
  m = td_lpu_machine_of(params);
  for (int32_t chip = 0; chip < 264; chip += 29) assert_int_equal(farthest(m, 264, chip), 3);
  td_device_params_close(params);
  params = open_params("lpu-tiny-mesh");
  assert_int_equal(farthest(td_lpu_machine_of(params), 9, 0), 4);
  assert_int_equal(farthest(td_lpu_machine_of(params), 9, 4), 2);
  td_device_params_close(params);
}

static void no_route(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpu-tiny");
  struct td_lpu_machine m = *td_lpu_machine_of(params);
  struct td_lpu_hop hops[4];
  int32_t count = 0;
  m.links_used = 0;
  assert_int_equal(td_lpu_route(&m, 4, 0, 2, hops, 4, &count), TD_NOT_FOUND);
  assert_non_null(strstr(td_error_text(), "no way leads from chip 0 to chip 2 of 4"));
  m.links_used = 2;
  assert_int_equal(td_lpu_route(&m, 4, 0, 2, hops, 1, &count), TD_EXHAUSTED);
  ok(td_lpu_route(&m, 4, 0, 2, hops, 2, &count));
  assert_int_equal(count, 2);
  td_device_params_close(params);
}

/* ---- files ---- */

/* What is published of a rack comes out of its chip alone. */
static void totals(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpx-rack");
  const struct td_lpu_machine *m = td_lpu_machine_of(params);
  struct td_lpu_rates rates;
  td_lpu_machine_rates(m, &rates);
  double chips = m->system_chips;
  assert_int_equal(params->kind, TD_KIND_RACK);
  assert_int_equal(m->system_chips, 256);
  assert_true(fabs(chips * (double)rates.sram_bytes / 128e9 - 1) < 0.001);
  assert_true(fabs(chips * (double)rates.sram_bytes_per_cycle * m->clock_hz / 38.4e15 - 1) < 0.002);
  assert_true(fabs(chips * 2 * (double)rates.macs_int8 * m->clock_hz / 315e15 - 1) < 0.002);
  assert_true(fabs(chips * m->host_bytes_per_second / 3.2e12 - 1) < 1e-9);
  assert_string_equal(m->name, "lpx-rack");
  td_device_params_close(params);
}

static void varied(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1-576"), *chip = open_params("groq-lpu-v1");
  struct td_lpu_machine machine;
  const char *const sets[] = {"link_hop=5e-7"}, *const links[] = {"links_used=9"};
  ok(td_lpu_machine_vary(params, sets, 1, &machine));
  assert_int_equal(td_lpu_hop_cycles(&machine), 450);
  assert_int_equal(machine.levels, 3);
  assert_int_equal(td_lpu_machine_vary(params, links, 1, &machine), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "links_used: found 9, expected the 11 links that the wiring takes"));
  struct td_lpu_machine other = *td_lpu_machine_of(params);
  uint64_t digest = td_lpu_machine_digest(&other);
  assert_true(digest != td_lpu_machine_digest(td_lpu_machine_of(chip)));
  other.level[1].links = 1;
  assert_true(td_lpu_machine_digest(&other) != digest);
  td_device_params_close(params);
  td_device_params_close(chip);
}

/* A machine of a program file may say anything. */
static void mad_machines(void **state) {
  (void)state;
  struct td_device_params *params = open_params("lpu-tiny-system");
  const struct td_lpu_machine good = *td_lpu_machine_of(params);
  ok(td_lpu_machine_check(&good));
  for (int i = 0; i < 12; i++) {
    struct td_lpu_machine bad = good;
    struct td_lpu_level *level = &bad.level[i % 3];
    if (i < 3) level->units = i ? INT32_MAX : -3;
    if (i >= 3 && i < 6) level->links = i == 4 ? 0 : 1000;
    if (i == 6) level->wiring = 7;
    if (i == 7) level->spares = -1;
    if (i == 8) level->columns = 2;
    if (i == 9) memset(level->name, 'x', sizeof level->name);
    if (i == 10) bad.levels = 99;
    if (i == 11) bad.system_chips = 19;
    assert_int_equal(td_lpu_machine_check(&bad), TD_CONFIG);
  }
  td_device_params_close(params);
}

#define MEASURED "evidence = \"measured\"; source = \"test\";"
#define N(name, value) name " = { value = " value "; unit = \"1\"; " MEASURED " };"
#define SYSTEM "title = \"t\"; kind = \"lpu-system\"; chip = \"part\";\n"
#define LEVEL(shape, more) "{ name = \"a\"; shape = \"" shape "\"; " more " }"

static void expect(const char *text, const char *message) {
  struct td_device_params *params = NULL;
  const char *path = scratch_file("system.cfg", text);
  assert_int_equal(td_device_params_open(path, &params), TD_CONFIG);
  if (!strstr(td_error_text(), message)) fail_msg("found: %s\nexpected: %s", td_error_text(), message);
}

static void mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {SYSTEM N("chips", "4"), ":1: wiring: found nothing, expected how the chips of an lpu-system are wired"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("star", N("units", "4") N("links", "3")) " );",
       ":3: wiring.[0].shape: found \"star\", expected one of all-to-all, ring, mesh"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("all-to-all", N("units", "4")) " );",
       "wiring.[0].links: found nothing, expected a number: links of every chip that this level takes"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("mesh", N("units", "4") N("links", "4")) " );",
       "wiring.[0].columns: found nothing, expected a number: of a mesh: units in a row"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("all-to-all", N("units", "4") N("links", "2")) " );",
       "wiring: found 4 chips wired all to all, expected at most 3: a chip has 2 wired links"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("all-to-all", N("units", "4") N("links", "9")) " );",
       "wiring: found 9, expected at most the chip's 4 links"},
      {SYSTEM N("chips", "5") "\nwiring = ( " LEVEL("all-to-all", N("units", "4") N("links", "3")) " );",
       "chips: found 5, expected the 4 that the wiring's levels make"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("ring", N("units", "4") N("links", "2") N("spares", "1")) " );",
       "wiring: level a: found 1 spares, expected 0..16384, and 0 unless all are wired to all"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("ring", N("units", "2") N("links", "2")) ", " LEVEL(
           "mesh", N("units", "2") N("links", "2") N("columns", "1")) " );",
       "wiring: level a: found a mesh, expected it as the first level only"},
      {SYSTEM N("chips", "4") "\nwiring = ( " LEVEL("ring", N("units", "16000") N("links", "2")) ", " LEVEL(
           "ring", N("units", "16000") N("links", "2")) " );",
       "found 256000000 chips, expected at most 16384"},
      {SYSTEM N("chips", "4") "memory_bytes = { value = 6; unit = \"MB\"; " MEASURED
                              " };\nwiring = ( " LEVEL("ring", N("units", "4") N("links", "2")) " );",
       "memory_bytes: found 6e+06..6e+06, expected the 5.24288e+06 that the chips come to, within a hundredth"},
      {"title = \"t\"; kind = \"site\";\nwiring = ( " LEVEL("ring", N("units", "4") N("links", "2")) " );",
       ":2: wiring: found it in a site, expected it only in a rack or lpu-system"},
  };
  char *text = NULL, path[4400];
  size_t bytes = 0;
  ok(td_read_file(test_source("devices/lpu-tiny.cfg"), 60000, &text, &bytes));
  snprintf(path, sizeof path, "%s", scratch_file("part.cfg", text));
  free(text);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) expect(cases[i][0], cases[i][1]);
}

/* 145 racks of 72: what the paper calls the largest system. */
static void largest(void **state) {
  (void)state;
  struct td_device_params *params = open_params("groq-lpu-v1-576");
  struct td_lpu_machine m = *td_lpu_machine_of(params);
  m.level[1].units = 9;
  m.level[1].spares = 0;
  m.level[2].units = 145;
  m.system_chips = 10440;
  ok(td_lpu_machine_check(&m));
  assert_int_equal(between_groups(&m, 72, 0, 144), 1);
  assert_int_equal(farthest(&m, 10440, 0), 7); /* the paper's five, and two through the nodes between */
  m.level[2].units = 146;
  m.system_chips = 146 * 72;
  assert_int_equal(td_lpu_machine_check(&m), TD_CONFIG);
  assert_non_null(
      strstr(td_error_text(), "found 2 links of each of 72 chips, expected at least 145: one for each way"));
  td_device_params_close(params);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(peers),   cmocka_unit_test(levels),   cmocka_unit_test(ring),         cmocka_unit_test(routes),
      cmocka_unit_test(totals),  cmocka_unit_test(varied),   cmocka_unit_test(mad_machines), cmocka_unit_test(mistakes),
      cmocka_unit_test(largest), cmocka_unit_test(no_route),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
