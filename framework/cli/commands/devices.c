/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/device.h"
#include "tandem/devices.h"
#include "tandem/lpu_machine.h"

static const char *time_kind(const struct td_backend *backend) {
  return backend->emulates ? "emulated" : backend->executes ? "executed" : "modelled";
}

/* NULL: the backend's devices have no names. */
static const char *device_name(const struct td_backend *backend, int32_t index) {
  bool known = offsetof(struct td_backend, device_name) + sizeof backend->device_name <= backend->size;
  return known && backend->device_name ? backend->device_name(index) : NULL;
}

/* ---- text ---- */

static void print_backend(const struct td_backend *backend) {
  const char *reason = NULL;
  int32_t count = backend->probe(&reason);
  char here[32];
  snprintf(here, sizeof here, "%d", count);
  printf("  %-10s %-9s %-6s %-5s %s\n", backend->name, time_kind(backend),
         !backend->executes ? "-"
         : backend->exact   ? "yes"
                            : "no",
         count > 0 ? here : "none", backend->summary);
  if (count <= 0) printf("  %-10s not here: %s\n", "", reason ? reason : "no reason given");
  for (int32_t i = 0; i < count && device_name(backend, i); i++) {
    printf("  %-10s %s:%d %s\n", "", backend->name, (int)i, device_name(backend, i));
  }
}

static void print_backends(void) {
  printf("backends on this machine\n  %-10s %-9s %-6s %-5s %s\n", "name", "time is", "exact", "here", "what it is");
  for (int32_t i = 0; td_backends[i]; i++) print_backend(td_backends[i]);
}

/* "3.35 TB/s": three digits, decimal prefixes. */
static void human(const struct td_quantity *quantity, const char *unit, char *out, size_t size) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P", "E"};
  double value = quantity->value;
  size_t prefix = 0;
  if (!quantity->present) {
    snprintf(out, size, "-");
    return;
  }
  for (; value >= 1000 && prefix + 1 < sizeof prefixes / sizeof *prefixes; prefix++) value /= 1000;
  snprintf(out, size, "%.3g %s%s", value, prefixes[prefix], unit);
}

static void micro(const struct td_quantity *quantity, char *out, size_t size) {
  if (quantity->present) {
    snprintf(out, size, "%.3g us", quantity->value * 1e6);
  } else {
    snprintf(out, size, "-");
  }
}

static void print_lpu(const struct td_device_params *params) {
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  struct td_lpu_rates rates;
  char memory[24], stream[24], products[24], clock[24];
  td_lpu_machine_rates(machine, &rates);
  const struct td_quantity sram = {.present = true, .value = (double)rates.sram_bytes};
  const struct td_quantity hertz = {.present = true, .value = machine->clock_hz};
  const struct td_quantity rate = {.present = true, .value = (double)rates.stream_bytes_per_cycle * machine->clock_hz};
  const struct td_quantity macs = {.present = true, .value = 2 * (double)rates.macs_f16 * machine->clock_hz};
  human(&sram, "B", memory, sizeof memory);
  human(&rate, "B/s", stream, sizeof stream);
  human(&macs, "FLOP/s", products, sizeof products);
  human(&hertz, "Hz", clock, sizeof clock);
  printf("  %-20s %-10s %-10s %-13s %-8s %s%s\n", params->name, memory, stream, products, clock, params->title,
         params->imagined ? " (imagined)" : "");
}

static const char *state_of(const struct td_device_params *params) {
  if (params->imagined) return " (imagined)";
  if (!strcmp(params->status, "announced")) return " (announced)";
  return strcmp(params->status, "cancelled") ? "" : " (cancelled)";
}

static void print_link(const struct td_device_params *params) {
  char bandwidth[24], latency[24];
  human(&params->link_bandwidth, "B/s", bandwidth, sizeof bandwidth);
  micro(&params->link_latency, latency, sizeof latency);
  printf("  %-20s %-10s %-10s %s%s\n", params->name, bandwidth, latency, params->title, state_of(params));
}

static void print_rack(const struct td_device_params *params) {
  char chips[80], power[24], price[24];
  const struct td_quantity *watts = params->power_all_in.present ? &params->power_all_in : &params->power_busy;
  snprintf(chips, sizeof chips, "%g x %s", params->chips.value, params->chip);
  human(watts, "W", power, sizeof power);
  human(&params->price_bought, "USD", price, sizeof price);
  printf("  %-20s %-22s %-8s %-10s %s%s\n", params->name, chips, power, price, params->title, state_of(params));
}

static void print_system(const struct td_device_params *params) {
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  struct td_lpu_rates rates;
  char chips[80], memory[24];
  td_lpu_machine_rates(machine, &rates);
  const struct td_quantity sram = {.present = true, .value = (double)rates.sram_bytes * machine->system_chips};
  snprintf(chips, sizeof chips, "%d x %s", machine->system_chips, params->chip);
  human(&sram, "B", memory, sizeof memory);
  printf("  %-20s %-22s %-10s %s%s\n", params->name, chips, memory, params->title, state_of(params));
}

static void print_site(const struct td_device_params *params) {
  char pue[24] = "-", energy[40] = "-";
  if (params->pue.present) snprintf(pue, sizeof pue, "%.3g", params->pue.value);
  if (params->energy_price.present) snprintf(energy, sizeof energy, "%.3g USD/kWh", params->energy_price.value);
  printf("  %-20s %-6s %-14s %s%s\n", params->name, pue, energy, params->title, state_of(params));
}

static void print_chip(const struct td_device_params *params) {
  char memory[24], bandwidth[24], rate[24], power[24];
  human(&params->memory_bytes, "B", memory, sizeof memory);
  human(&params->memory_bandwidth, "B/s", bandwidth, sizeof bandwidth);
  human(params->flops_bf16.present ? &params->flops_bf16 : &params->flops_f16, "FLOP/s", rate, sizeof rate);
  human(&params->power_busy, "W", power, sizeof power);
  printf("  %-20s %-10s %-10s %-13s %-8s %s%s\n", params->name, memory, bandwidth, rate, power, params->title,
         state_of(params));
}

static td_status print_file(void *context, const struct td_device_params *params) {
  static void (*const print[])(const struct td_device_params *) = {
      [TD_KIND_CHIP] = print_chip, [TD_KIND_LINK] = print_link, [TD_KIND_LPU] = print_lpu,
      [TD_KIND_RACK] = print_rack, [TD_KIND_SITE] = print_site, [TD_KIND_LPU_SYSTEM] = print_system};
  const enum td_device_kind *wanted = context;
  if (params->kind == *wanted) print[params->kind](params);
  return TD_OK;
}

static td_status print_all(void) {
  static const struct {
    enum td_device_kind kind;
    const char *head;
  } tables[] = {
      {TD_KIND_CHIP, "chips\n  name                 memory     bandwidth  16-bit peak   busy     what it is"},
      {TD_KIND_LPU, "LPUs\n  name                 SRAM       streams    16-bit peak   clock    what it is"},
      {TD_KIND_LINK, "links\n  name                 bandwidth  latency    what it is"},
      {TD_KIND_LPU_SYSTEM, "systems of LPUs\n  name                 chips                  SRAM       what it is"},
      {TD_KIND_RACK, "racks\n  name                 chips                  power    price      what it is"},
      {TD_KIND_SITE, "sites\n  name                 PUE    energy         what it is"},
  };
  td_status status = TD_OK;
  print_backends();
  for (size_t i = 0; i < sizeof tables / sizeof *tables; i++) {
    enum td_device_kind kind = tables[i].kind;
    printf("\ndevice files: %s\n", tables[i].head);
    td_status next = td_device_params_each(print_file, &kind);
    if (!status) status = next;
  }
  return status;
}

/* ---- JSON ---- */

static void json_text(const char *key, const char *text) {
  printf("\"%s\": ", key);
  if (text) {
    td_json_string(stdout, text, strlen(text));
  } else {
    fputs("null", stdout);
  }
}

/* The names in the devices' order; empty where they have none. */
static void json_names(const struct td_backend *backend, int32_t count) {
  fputs(", \"names\": [", stdout);
  for (int32_t i = 0; i < count && device_name(backend, i); i++) {
    if (i) fputs(", ", stdout);
    td_json_string(stdout, device_name(backend, i), strlen(device_name(backend, i)));
  }
  fputc(']', stdout);
}

static void json_backend(const struct td_backend *backend) {
  const char *reason = NULL;
  int32_t count = backend->probe(&reason);
  fputc('{', stdout);
  json_text("name", backend->name);
  fputs(", ", stdout);
  json_text("summary", backend->summary);
  fputs(", ", stdout);
  json_text("time", time_kind(backend));
  printf(", \"exact\": %s, \"devices\": %d, ", backend->exact ? "true" : "false", count > 0 ? count : 0);
  json_text("reason", count > 0 ? NULL : reason);
  json_names(backend, count);
  fputc('}', stdout);
}

static td_status json_file(void *context, const struct td_device_params *params) {
  bool *more = context;
  fputs(*more ? ",\n  " : "\n  ", stdout);
  *more = true;
  td_device_params_json(params, stdout);
  return TD_OK;
}

static td_status json_all(void) {
  bool more = false;
  fputs("{\"backends\": [", stdout);
  for (int32_t i = 0; td_backends[i]; i++) {
    fputs(i ? ",\n  " : "\n  ", stdout);
    json_backend(td_backends[i]);
  }
  fputs("\n], \"devices\": [", stdout);
  td_status status = td_device_params_each(json_file, &more);
  fputs("\n]}\n", stdout);
  return status;
}

/* ---- one of them ---- */

/* A backend and a device file may share a name: then both are shown. */
static void show_text(const struct td_backend *backend, const struct td_device_params *params) {
  if (backend) print_backend(backend);
  if (backend && params) fputc('\n', stdout);
  if (params) td_device_params_print(params, stdout);
}

static void show_json(const struct td_backend *backend, const struct td_device_params *params) {
  if (backend && params) fputs("{\"backend\": ", stdout);
  if (backend) json_backend(backend);
  if (backend && params) fputs(", \"device\": ", stdout);
  if (params) td_device_params_json(params, stdout);
  fputs(backend && params ? "}\n" : "\n", stdout);
}

static td_status show_one(const char *name, bool json) {
  const struct td_backend *backend = td_backend_find(name);
  struct td_device_params *params = NULL;
  td_status status = td_device_params_open(name, &params);
  if (status && !backend) return status;
  (json ? show_json : show_text)(backend, params);
  td_device_params_close(params);
  return TD_OK;
}

static td_status devices(int argc, char **argv, int *out_exit) {
  const char *name = NULL;
  bool json = false;
  int32_t positionals;
  const struct td_flag flags[] = {{.name = "--json", .given = &json}, {.name = NULL}};
  (void)out_exit;
  TD_TRY(td_flags_parse(argc, argv, flags, &name, 1, &positionals));
  if (positionals) return show_one(name, json);
  return json ? json_all() : print_all();
}

const struct td_command td_command_devices = {
    .name = "devices",
    .usage = "[NAME] [--json]",
    .summary = "lists backends and device files, or one device's numbers with their sources",
    .help =
        "  NAME    a backend, a device file's name or a path: every number with range, evidence and source\n"
        "  --json  one JSON object, in base units (B, B/s, FLOP/s, OP/s, s, W, cycles, Hz, USD); {backend, device} if "
        "NAME is "
        "both\n",
    .run = devices,
};
