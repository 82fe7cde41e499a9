/* SPDX-License-Identifier: Apache-2.0
 *
 * Systems of LPUs: from the `wiring` of a device file and its chip's file to a machine, and what that comes to.
 */
#include "lpu_system.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "tandem/base.h"

/* ---- reading ---- */

struct td_lpu_level_text {
  const char *name;
  int wiring;
  struct td_quantity_text units, spares, columns, links;
};

#define LEVEL_NUMBERS(X)                                                            \
  X(units, 2, TD_LPU_MOST_CHIPS, "chips, or groups of the level below, in a group") \
  X(spares, 0, TD_LPU_MOST_CHIPS, "more of them that are wired and stand by")       \
  X(columns, 1, TD_LPU_MOST_CHIPS, "of a mesh: units in a row")                     \
  X(links, 1, TD_LPU_MOST_LINKS, "links of every chip that this level takes")

#define KEY(name_, least_, most_, help_)                \
  {.name = #name_,                                      \
   .type = TD_OPT_GROUP,                                \
   .fallback = "",                                      \
   .help = help_,                                       \
   .offset = offsetof(struct td_lpu_level_text, name_), \
   .group = &td_quantity_group},
static const struct td_option options[] = {{.name = "name",
                                            .type = TD_OPT_TEXT,
                                            .help = "of a group of this level: node, rack",
                                            .offset = offsetof(struct td_lpu_level_text, name)},
                                           {.name = "shape",
                                            .type = TD_OPT_CHOICE,
                                            .choices = "all-to-all|ring|mesh",
                                            .help = "how the units of a group are wired",
                                            .offset = offsetof(struct td_lpu_level_text, wiring)},
                                           LEVEL_NUMBERS(KEY){.name = NULL}};
const struct td_option_group td_lpu_level_group = {"a level of wiring", sizeof(struct td_lpu_level_text), options};

#define ROW(name_, least_, most_, help_)                      \
  {{.name = #name_,                                           \
    .help = help_,                                            \
    .offset = offsetof(struct td_lpu_level_numbers, name_),   \
    .text_offset = offsetof(struct td_lpu_level_text, name_), \
    .dimension = TD_DIM_COUNT,                                \
    .least = least_,                                          \
    .most = most_},                                           \
   offsetof(struct td_lpu_level, name_)},
static const struct {
  struct td_quantity_row quantity;
  size_t field;
} rows[] = {LEVEL_NUMBERS(ROW)};

static bool is_needed(size_t row, const struct td_lpu_level_text *text) {
  return rows[row].field == offsetof(struct td_lpu_level, units) ||
         rows[row].field == offsetof(struct td_lpu_level, links) ||
         (rows[row].field == offsetof(struct td_lpu_level, columns) && text->wiring == TD_WIRED_MESH);
}

static td_status take_number(const struct td_config *config, int32_t index, size_t row,
                             const struct td_lpu_level_text *text, struct td_lpu_level *level,
                             struct td_lpu_level_numbers *numbers) {
  const struct td_quantity_row *of = &rows[row].quantity;
  const struct td_quantity_text *given = (const void *)((const char *)text + of->text_offset);
  struct td_quantity *out = (void *)((char *)numbers + of->offset);
  char key[64];
  TD_TRY(td_format(key, sizeof key, "wiring.[%d].%s", index, of->name));
  if (!given->unit) {
    return is_needed(row, text) ? td_config_fail(config, key, "found nothing, expected a number: %s", of->help) : TD_OK;
  }
  TD_TRY(td_quantity_take(config, of, key, given, out));
  TD_TRY(td_quantity_whole(config, key, out));
  int32_t whole = (int32_t)out->value;
  memcpy((char *)level + rows[row].field, &whole, sizeof whole);
  return TD_OK;
}

static td_status take_level(const struct td_config *config, int32_t index, const struct td_lpu_level_text *text,
                            struct td_lpu_params *out) {
  struct td_lpu_level *level = &out->machine.level[index];
  char key[64];
  if (!*text->name || strlen(text->name) >= sizeof level->name) {
    TD_TRY(td_format(key, sizeof key, "wiring.[%d].name", index));
    return td_config_fail(config, key, "found a text of %zu bytes, expected 1..%zu", strlen(text->name),
                          sizeof level->name - 1);
  }
  memcpy(level->name, text->name, strlen(text->name) + 1);
  level->wiring = text->wiring;
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    TD_TRY(take_number(config, index, row, text, level, &out->levels[index]));
  }
  return TD_OK;
}

/* ---- what it comes to ---- */

struct totals {
  double sram_bytes, sram_rate, int8_rate, f16_rate, link_rate, host_rate;
};

static void add_up(const struct td_lpu_machine *machine, struct totals *out) {
  struct td_lpu_rates rates;
  double chips = machine->system_chips, clock = machine->clock_hz;
  td_lpu_machine_rates(machine, &rates);
  *out = (struct totals){.sram_bytes = chips * (double)rates.sram_bytes,
                         .sram_rate = chips * (double)rates.sram_bytes_per_cycle * clock,
                         .int8_rate = chips * 2 * (double)rates.macs_int8 * clock,
                         .f16_rate = chips * 2 * (double)rates.macs_f16 * clock,
                         .link_rate = chips * machine->links_used * machine->link_bytes_per_second,
                         .host_rate = chips * machine->host_bytes_per_second};
}

/* What the file says of the whole, beside what its chips come to; a hair of rounding is no contradiction. */
#define TOLERANCE 0.01

static td_status check_total(const struct td_config *config, const char *name, const struct td_quantity *said,
                             double found) {
  if (!said->present || (found >= said->low * (1 - TOLERANCE) && found <= said->high * (1 + TOLERANCE))) return TD_OK;
  return td_config_fail(config, name, "found %.6g..%.6g, expected the %.6g that the chips come to, within a hundredth",
                        said->low, said->high, found);
}

static td_status check_totals(const struct td_config *config, const struct td_device_params *system,
                              const struct td_lpu_machine *machine) {
  struct totals totals;
  add_up(machine, &totals);
  TD_TRY(check_total(config, "memory_bytes", &system->memory_bytes, totals.sram_bytes));
  TD_TRY(check_total(config, "memory_bandwidth", &system->memory_bandwidth, totals.sram_rate));
  TD_TRY(check_total(config, "flops_fp8", &system->flops_fp8, totals.int8_rate));
  TD_TRY(check_total(config, "ops_int8", &system->ops_int8, totals.int8_rate));
  return check_total(config, "flops_f16", &system->flops_f16, totals.f16_rate);
}

static td_status check_machine(const struct td_config *config, const struct td_device_params *system,
                               const struct td_lpu_machine *machine) {
  struct td_lpu_fault fault;
  td_lpu_check_machine(machine, &fault);
  if (fault.row != TD_LPU_NUMBER_COUNT) return td_config_fail(config, "wiring", "%s", fault.text);
  if (system->chips.value != machine->system_chips) {
    return td_config_fail(config, "chips", "found %.15g, expected the %d that the wiring's levels make",
                          system->chips.value, machine->system_chips);
  }
  return check_totals(config, system, machine);
}

td_status td_lpu_system_take(const struct td_config *config, const struct td_list *wiring,
                             const struct td_device_params *system, const struct td_device_params *chip,
                             struct td_lpu_params *out) {
  struct td_lpu_machine *machine = &out->machine;
  const struct td_lpu_level_text *levels = wiring->items;
  if (!chip->lpu) {
    return td_config_fail(config, "wiring", "found it beside the %s %s, expected a chip of kind lpu",
                          td_device_kind_name(chip->kind), chip->name);
  }
  if (wiring->count > TD_LPU_MOST_LEVELS) {
    return td_config_fail(config, "wiring", "found %d levels, expected 1..%d", wiring->count, TD_LPU_MOST_LEVELS);
  }
  *out = *chip->lpu;
  memcpy(machine->name, system->name, sizeof machine->name);
  machine->levels = wiring->count;
  machine->system_chips = 1;
  machine->links_used = 0;
  for (int32_t i = 0; i < wiring->count; i++) {
    TD_TRY(take_level(config, i, &levels[i], out));
    int64_t chips = (int64_t)machine->system_chips * machine->level[i].units;
    if (chips > TD_LPU_MOST_CHIPS) {
      return td_config_fail(config, "wiring", "found %" PRId64 " chips, expected at most %d", chips, TD_LPU_MOST_CHIPS);
    }
    machine->system_chips = (int32_t)chips;
    machine->links_used += machine->level[i].links;
  }
  machine->node_chips = machine->level[0].wiring == TD_WIRED_ALL ? machine->level[0].units : 1;
  return check_machine(config, system, machine);
}

/* ---- printing ---- */

/* "128 GB": three digits and a bit, decimal prefixes. */
static void human(double value, const char *unit, char *out, size_t size) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  size_t prefix = 0;
  for (; value >= 1000 && prefix + 1 < sizeof prefixes / sizeof *prefixes; prefix++) value /= 1000;
  snprintf(out, size, "%.4g %s%s", value, prefixes[prefix], unit);
}

static void print_total(const char *name, double value, const char *unit, const char *how,
                        const struct td_quantity *said, FILE *out) {
  char text[40], beside[80] = "";
  human(value, unit, text, sizeof text);
  if (said && said->present) {
    char published[40];
    human(said->value, unit, published, sizeof published);
    snprintf(beside, sizeof beside, "; this file says %s: %+.2f %%", published, 100 * (value / said->value - 1));
  }
  fprintf(out, "  %-20s %-33s %-10s %s%s\n", name, text, "derived", how, beside);
}

static void print_levels(const struct td_device_params *params, FILE *out) {
  const struct td_lpu_machine *machine = &params->lpu->machine;
  for (int32_t i = 0; i < machine->levels; i++) {
    const struct td_lpu_level *level = &machine->level[i];
    fprintf(out, "level %d: %s, %s\n", i + 1, level->name, td_lpu_wiring_name((enum td_lpu_wiring)level->wiring));
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
      const struct td_quantity *quantity =
          (const void *)((const char *)&params->lpu->levels[i] + rows[row].quantity.offset);
      if (quantity->present) td_quantity_print(&rows[row].quantity, quantity, NULL, out);
    }
  }
}

void td_lpu_print_system(const struct td_device_params *params, FILE *out) {
  const struct td_lpu_machine *machine = &params->lpu->machine;
  struct totals totals;
  add_up(machine, &totals);
  print_levels(params, out);
  fprintf(out, "what follows from %s and the wiring, of %d chips\n", params->chip, machine->system_chips);
  print_total("sram_bytes", totals.sram_bytes, "B", "chips x SRAM of a chip", &params->memory_bytes, out);
  print_total("sram_rate", totals.sram_rate, "B/s", "chips x a read and a write of every slice",
              &params->memory_bandwidth, out);
  print_total("ops_int8", totals.int8_rate, "OP/s", "chips x 2 x products of 8 bits, fp8 or int8",
              params->flops_fp8.present ? &params->flops_fp8 : &params->ops_int8, out);
  print_total("flops_f16", totals.f16_rate, "FLOP/s", "chips x 2 x products of 16 bits", &params->flops_f16, out);
  print_total("links_used", machine->links_used, "", "of a chip, all levels", NULL, out);
  print_total("link_rate", totals.link_rate, "B/s", "chips x links_used x link_rate, per direction",
              &params->scale_up_bandwidth, out);
  if (machine->host_bytes_per_second > 0) {
    print_total("host_rate", totals.host_rate, "B/s", "chips x host_rate, per direction", NULL, out);
  }
}

static void json_level(const struct td_lpu_params *lpu, int32_t index, FILE *out) {
  const struct td_lpu_level *level = &lpu->machine.level[index];
  fputs(index ? ", {\"name\": " : "{\"name\": ", out);
  td_json_string(out, level->name, strlen(level->name));
  fprintf(out, ", \"shape\": \"%s\"", td_lpu_wiring_name((enum td_lpu_wiring)level->wiring));
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    const struct td_quantity *quantity = (const void *)((const char *)&lpu->levels[index] + rows[row].quantity.offset);
    if (!quantity->present) continue;
    fprintf(out, ", \"%s\": ", rows[row].quantity.name);
    td_quantity_json(&rows[row].quantity, quantity, NULL, out);
  }
  fputc('}', out);
}

void td_lpu_json_system(const struct td_device_params *params, FILE *out) {
  const struct td_lpu_machine *machine = &params->lpu->machine;
  struct totals totals;
  add_up(machine, &totals);
  fputs(", \"wiring\": [", out);
  for (int32_t i = 0; i < machine->levels; i++) json_level(params->lpu, i, out);
  fprintf(out, "], \"totals\": {\"chips\": %d, \"sram_bytes\": %.17g, \"sram_rate\": %.17g, \"ops_int8\": %.17g, ",
          machine->system_chips, totals.sram_bytes, totals.sram_rate, totals.int8_rate);
  fprintf(out, "\"flops_f16\": %.17g, \"links_used\": %d, \"link_rate\": %.17g, \"host_rate\": %.17g}", totals.f16_rate,
          machine->links_used, totals.link_rate, totals.host_rate);
}
