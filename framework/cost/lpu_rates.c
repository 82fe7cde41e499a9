/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from an LPU's numbers alone, without a program.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lpu_table.h"

void td_lpu_machine_rates(const struct td_lpu_machine *machine, struct td_lpu_rates *out) {
  int64_t lanes = machine->lanes, slices = machine->mem_slices, weights = (int64_t)machine->planes * machine->plane_k;
  int64_t streams = 2 * (int64_t)machine->streams * lanes;
  /* a slice reads one word and writes one in a cycle, in different banks */
  int64_t ports = machine->mem_banks > 1 ? 2 : 1;
  *out = (struct td_lpu_rates){
      .sram_bytes = slices * machine->mem_words * lanes,
      .sram_bytes_per_cycle = slices * ports * lanes,
      .stream_bytes_per_cycle = streams,
      .macs_int8 = weights * lanes,
      .macs_f16 = (int64_t)(machine->planes / 2) * (machine->plane_k / 2) * lanes,
      .install_cycles_full = (weights * lanes + streams - 1) / streams,
      .link_vector_cycles = (int64_t)ceil((double)(lanes + machine->link_overhead_bytes) * machine->clock_hz /
                                          machine->link_bytes_per_second),
  };
}

/* What follows from the machine's numbers, for people and for scripts; the last column says how. */
static const struct {
  const char *name, *unit, *how;
  size_t offset;
} rows[] = {
    {"sram_bytes", "B", "mem_slices x mem_words x lanes", offsetof(struct td_lpu_rates, sram_bytes)},
    {"sram_rate", "B/cycle", "a read and a write of every slice", offsetof(struct td_lpu_rates, sram_bytes_per_cycle)},
    {"stream_rate", "B/cycle", "2 directions x streams x lanes", offsetof(struct td_lpu_rates, stream_bytes_per_cycle)},
    {"macs_int8", "1/cycle", "planes x plane_k x lanes", offsetof(struct td_lpu_rates, macs_int8)},
    {"macs_f16", "1/cycle", "planes / 2 x plane_k / 2 x lanes", offsetof(struct td_lpu_rates, macs_f16)},
    {"install_full", "cycles", "weights of all planes at the stream rate",
     offsetof(struct td_lpu_rates, install_cycles_full)},
    {"link_vector", "cycles", "spacing of vectors on a link: (lanes + link_overhead) x clock / link_rate, rounded up",
     offsetof(struct td_lpu_rates, link_vector_cycles)},
};

static int64_t rate_at(const struct td_lpu_rates *rates, size_t row) {
  int64_t value;
  memcpy(&value, (const char *)rates + rows[row].offset, sizeof value);
  return value;
}

void td_lpu_print_rates(const struct td_lpu_machine *machine, FILE *out) {
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  fprintf(out, "what follows from them, of a chip\n");
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    char value[48];
    snprintf(value, sizeof value, "%" PRId64 " %s", rate_at(&rates, i), rows[i].unit);
    fprintf(out, "  %-20s %-33s %-10s %s\n", rows[i].name, value, "derived", rows[i].how);
  }
}

void td_lpu_json_rates(const struct td_lpu_machine *machine, FILE *out) {
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
    fprintf(out, "%s\"%s\": {\"value\": %" PRId64 ", \"unit\": \"%s\"}", i ? ", " : "{", rows[i].name,
            rate_at(&rates, i), rows[i].unit);
  }
  fputc('}', out);
}
