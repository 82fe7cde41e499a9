/* SPDX-License-Identifier: Apache-2.0
 *
 * From the `lpu` group of a device file to a machine, and to machines beside it.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_table.h"
#include "tandem/base.h"

void td_lpu_set_number(struct td_lpu_machine *machine, const struct td_lpu_number_row *row, double value) {
  char *field = (char *)machine + row->quantity.offset;
  int32_t whole = row->whole ? (int32_t)value : 0;
  if (row->whole) {
    memcpy(field, &whole, sizeof whole);
  } else {
    memcpy(field, &value, sizeof value);
  }
}

void td_lpu_complete(struct td_lpu_machine *machine) {
  machine->lanes = machine->superlanes * machine->lanes_per_superlane;
}

static td_status key_of(const struct td_lpu_number_row *row, char *out, size_t size) {
  return td_format(out, size, "lpu.%s", row->quantity.name);
}

static td_status take_number(const struct td_config *config, const struct td_lpu_number_row *row,
                             const struct td_quantity_text *text, struct td_quantity *out) {
  char key[64];
  TD_TRY(key_of(row, key, sizeof key));
  if (text->unit) {
    TD_TRY(td_quantity_take(config, &row->quantity, key, text, out));
    return row->whole ? td_quantity_whole(config, key, out) : TD_OK;
  }
  if (row >= &td_lpu_number_rows[TD_LPU_host_rate_ROW]) return TD_OK;
  return td_config_fail(config, key, "found nothing, expected a number: %s", row->quantity.help);
}

static td_status check_host(const struct td_config *config, const struct td_lpu_params *params) {
  bool rate = params->numbers[TD_LPU_host_rate_ROW].present, latency = params->numbers[TD_LPU_host_latency_ROW].present;
  if (rate == latency) return TD_OK;
  return td_config_fail(config, rate ? "lpu.host_latency" : "lpu.host_rate", "found nothing, expected it beside lpu.%s",
                        rate ? "host_rate" : "host_latency");
}

/* Powers come all together or not at all. */
static td_status check_powers(const struct td_config *config, const struct td_lpu_params *params) {
  const struct td_lpu_number_row *absent = NULL;
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    bool watts = td_lpu_number_rows[i].quantity.dimension == TD_DIM_WATTS;
    if (watts && !params->numbers[i].present) absent = &td_lpu_number_rows[i];
  }
  if (!absent || !params->machine.has_power) return TD_OK;
  char key[64];
  TD_TRY(key_of(absent, key, sizeof key));
  return td_config_fail(config, key, "found nothing, expected all powers of an lpu or none");
}

td_status td_lpu_take(const struct td_config *config, const struct td_lpu_file *file, const char *name,
                      struct td_lpu_params *out) {
  struct td_lpu_machine *machine = &out->machine;
  memcpy(machine->name, name, strlen(name) + 1);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const struct td_lpu_number_row *row = &td_lpu_number_rows[i];
    TD_TRY(take_number(config, row, &file->numbers[i], &out->numbers[i]));
    if (!out->numbers[i].present) continue;
    td_lpu_set_number(machine, row, out->numbers[i].value);
    if (row->quantity.dimension == TD_DIM_WATTS) machine->has_power = true;
  }
  td_lpu_complete(machine);
  TD_TRY(check_host(config, out));
  TD_TRY(check_powers(config, out));
  struct td_lpu_fault fault;
  td_lpu_check_machine(machine, &fault);
  if (fault.row == TD_LPU_NUMBER_COUNT) return TD_OK;
  char key[64];
  TD_TRY(key_of(&td_lpu_number_rows[fault.row], key, sizeof key));
  return td_config_fail(config, key, "%s", fault.text);
}

const struct td_lpu_machine *td_lpu_machine_of(const struct td_device_params *params) {
  return params->lpu ? &params->lpu->machine : NULL;
}

bool td_lpu_machine_quantity(const struct td_device_params *params, int32_t row, const char **out_name,
                             const struct td_quantity **out_quantity) {
  if (!params->lpu || row < 0 || row >= TD_LPU_NUMBER_COUNT) return false;
  *out_name = td_lpu_number_rows[row].quantity.name;
  *out_quantity = &params->lpu->numbers[row];
  return true;
}

/* ---- other values of the same machine ---- */

static td_status unknown_number(const char *name, int bytes) {
  char asked[64] = "";
  const char *nearest = NULL;
  int best = 4;
  snprintf(asked, sizeof asked, "%.*s", bytes, name);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    int distance = td_edit_distance(td_lpu_number_rows[i].quantity.name, asked);
    if (distance >= best) continue;
    best = distance;
    nearest = td_lpu_number_rows[i].quantity.name;
  }
  return td_fail(TD_CONFIG, "found \"%s\", expected the name of an lpu's number%s%s%s", asked,
                 nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static td_status find_number(const char *set, int *out_row, const char **out_value) {
  const char *equals = strchr(set, '=');
  if (!equals) return td_fail(TD_CONFIG, "found \"%.80s\", expected name=value", set);
  size_t bytes = (size_t)(equals - set);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const char *name = td_lpu_number_rows[i].quantity.name;
    if (strlen(name) != bytes || memcmp(name, set, bytes)) continue;
    *out_row = i;
    *out_value = equals + 1;
    return TD_OK;
  }
  return unknown_number(set, bytes < 60 ? (int)bytes : 60);
}

static bool read_value(const char *text, double *out) {
  char *end = NULL;
  errno = 0;
  *out = strtod(text, &end);
  return end != text && !*end && isfinite(*out) && !errno;
}

static td_status vary_one(const struct td_lpu_params *params, const char *set, struct td_lpu_machine *machine) {
  int index = 0;
  const char *text = NULL;
  double value = 0;
  TD_TRY(find_number(set, &index, &text));
  const struct td_lpu_number_row *row = &td_lpu_number_rows[index];
  const struct td_quantity *quantity = &params->numbers[index];
  const char *name = row->quantity.name, *unit = td_unit_base(row->quantity.dimension);
  if (!quantity->present) return td_fail(TD_CONFIG, "%s: found no such number in %s", name, params->machine.name);
  if (!read_value(text, &value) || (row->whole && floor(value) != value)) {
    return td_fail(TD_CONFIG, "%s: found \"%.40s\", expected a %snumber in %s", name, text, row->whole ? "whole " : "",
                   unit);
  }
  if (value < quantity->low || value > quantity->high) {
    return td_fail(TD_CONFIG, "%s: found %.15g, expected %.15g..%.15g %s, its range in %s", name, value, quantity->low,
                   quantity->high, unit, params->machine.name);
  }
  td_lpu_set_number(machine, row, value);
  return TD_OK;
}

td_status td_lpu_machine_vary(const struct td_device_params *params, const char *const *sets, int32_t set_count,
                              struct td_lpu_machine *out) {
  if (!params->lpu) {
    return td_fail(TD_CONFIG, "device %s: found a %s, expected an lpu", params->name,
                   td_device_kind_name(params->kind));
  }
  struct td_lpu_machine machine = params->lpu->machine;
  for (int32_t i = 0; i < set_count; i++) TD_TRY(vary_one(params->lpu, sets[i], &machine));
  td_lpu_complete(&machine);
  struct td_lpu_fault fault;
  td_lpu_check_machine(&machine, &fault);
  if (fault.row != TD_LPU_NUMBER_COUNT) {
    return td_fail(TD_CONFIG, "%s: %s", td_lpu_number_rows[fault.row].quantity.name, fault.text);
  }
  *out = machine;
  return TD_OK;
}
