/* SPDX-License-Identifier: Apache-2.0
 *
 * What no wiring of LPUs can be.
 */
#include <stdarg.h>
#include <string.h>

#include "lpu_system.h"

const char *td_lpu_wiring_name(enum td_lpu_wiring wiring) {
  static const char *const names[] = {"all-to-all", "ring", "mesh"};
  return (unsigned)wiring < TD_LPU_WIRING_COUNT ? names[wiring] : "unknown";
}

struct report {
  const struct td_lpu_level *level;
  char *text;
  size_t size;
};

__attribute__((format(printf, 2, 3))) static bool refuse(const struct report *report, const char *format, ...) {
  int used = snprintf(report->text, report->size, "level %.15s: ", report->level->name);
  va_list args;
  va_start(args, format);
  if (used > 0 && (size_t)used < report->size)
    vsnprintf(report->text + used, report->size - (size_t)used, format, args);
  va_end(args);
  return false;
}

/* Numbers of one level, before anything is reckoned with them. */
static bool check_bounds(const struct td_lpu_level *level, const struct report *report) {
  if (!*level->name || !memchr(level->name, 0, sizeof level->name)) return refuse(report, "found no name of a level");
  if (level->wiring < 0 || level->wiring >= TD_LPU_WIRING_COUNT) {
    return refuse(report, "found wiring %d, expected 0..%d", level->wiring, TD_LPU_WIRING_COUNT - 1);
  }
  if (level->units < 2 || level->units > TD_LPU_MOST_CHIPS) {
    return refuse(report, "found %d units, expected 2..%d", level->units, TD_LPU_MOST_CHIPS);
  }
  if (level->spares < 0 || level->spares > TD_LPU_MOST_CHIPS || (level->spares && level->wiring != TD_WIRED_ALL)) {
    return refuse(report, "found %d spares, expected 0..%d, and 0 unless all are wired to all", level->spares,
                  TD_LPU_MOST_CHIPS);
  }
  bool mesh = level->wiring == TD_WIRED_MESH;
  if (level->columns < mesh || level->columns > (mesh ? level->units : 0)) {
    return refuse(report, "found %d columns, expected %s", level->columns,
                  mesh ? "1 to as many as units" : "0: no mesh");
  }
  if (level->links > 0 && level->links <= TD_LPU_MOST_LINKS) return true;
  return refuse(report, "found %d links, expected 1..%d", level->links, TD_LPU_MOST_LINKS);
}

/* Whether units of `size` chips have ports for all that they are wired with. */
static bool check_ports(const struct td_lpu_level *level, int32_t size, const struct report *report) {
  int32_t ways = level->wiring == TD_WIRED_ALL    ? level->units + level->spares - 1
                 : level->wiring == TD_WIRED_RING ? 2
                                                  : 4;
  if (level->links * size >= ways) return true;
  return refuse(report, "found %d links of each of %d chips, expected at least %d: one for each way", level->links,
                size, ways);
}

static bool check_level(const struct td_lpu_machine *m, int32_t index, int64_t *size, const struct report *report) {
  const struct td_lpu_level *level = &m->level[index];
  if (!check_bounds(level, report)) return false;
  if (index && level->wiring == TD_WIRED_MESH)
    return refuse(report, "found a mesh, expected it as the first level only");
  if (!check_ports(level, (int32_t)*size, report)) return false;
  *size *= level->units;
  if (*size <= TD_LPU_MOST_CHIPS) return true;
  return refuse(report, "found %lld chips up to here, expected at most %d", (long long)*size, TD_LPU_MOST_CHIPS);
}

bool td_lpu_check_wiring(const struct td_lpu_machine *machine, char *text, size_t size) {
  int64_t chips = 1;
  int32_t links = 0;
  if (machine->levels < 0 || machine->levels > TD_LPU_MOST_LEVELS) {
    snprintf(text, size, "found %d levels of wiring, expected 0..%d", machine->levels, TD_LPU_MOST_LEVELS);
    return false;
  }
  for (int32_t i = 0; i < machine->levels; i++) {
    const struct report report = {&machine->level[i], text, size};
    if (!check_level(machine, i, &chips, &report)) return false;
    links += machine->level[i].links;
  }
  if (machine->system_chips != (machine->levels ? chips : 0)) {
    snprintf(text, size, "found %d chips, expected the %lld that the levels make", machine->system_chips,
             machine->levels ? (long long)chips : 0);
    return false;
  }
  if (machine->levels == 0 || links == machine->links_used) return true;
  snprintf(text, size, "found %d, expected the %d links that the wiring takes", machine->links_used, links);
  return false;
}
