/* SPDX-License-Identifier: Apache-2.0
 *
 * Which link of which chip leads where.
 *
 * A unit of a level has ports: its chips' links of that level, the last chip's first link first, then the first link of
 * the chip before it, and so on. The units it is wired with take equal parts of them, in order of how far ahead they
 * are numbered, and what is the first port there is the last port here: so the last chip of a unit meets the first one
 * of the next.
 */
#include <math.h>
#include <stdlib.h>

#include "tandem/base.h"
#include "tandem/lpu_machine.h"

int32_t td_lpu_hop_cycles(const struct td_lpu_machine *machine) {
  if (machine->levels == 0) return 0;
  double cycles = ceil(machine->link_hop_seconds * machine->clock_hz - 1e-9);
  return cycles < 1 << 30 ? (int32_t)cycles : 1 << 30;
}

/* ---- units that are wired with each other ---- */

static int32_t ways_of(const struct td_lpu_level *level) {
  if (level->wiring == TD_WIRED_ALL) return level->units + level->spares - 1;
  return level->wiring == TD_WIRED_RING ? 2 : 4;
}

/* The unit at (column, row), numbered there and back; -1: there is none. */
static int32_t mesh_unit(const struct td_lpu_level *level, int32_t column, int32_t row) {
  if (column < 0 || column >= level->columns || row < 0) return -1;
  int32_t unit = row * level->columns + (row % 2 ? level->columns - 1 - column : column);
  return unit < level->units ? unit : -1;
}

/* Ways of a mesh: right, down, up, left: the opposite of way w is 3 - w, as in the other wirings. */
static int32_t mesh_peer(const struct td_lpu_level *level, int32_t unit, int32_t way) {
  static const int32_t aside[] = {1, 0, 0, -1}, below[] = {0, 1, -1, 0};
  int32_t row = unit / level->columns, at = unit % level->columns;
  int32_t column = row % 2 ? level->columns - 1 - at : at;
  return mesh_unit(level, column + aside[way], row + below[way]);
}

/* Where way `way` of a unit leads: a unit that is in use, or -1. */
static int32_t unit_at(const struct td_lpu_level *level, int32_t unit, int32_t way) {
  if (level->wiring == TD_WIRED_MESH) return mesh_peer(level, unit, way);
  int32_t all = level->units + (level->wiring == TD_WIRED_ALL ? level->spares : 0);
  int32_t peer = level->wiring == TD_WIRED_RING && way ? (unit + all - 1) % all : (unit + way + 1) % all;
  return peer < level->units && peer != unit ? peer : -1;
}

/* ---- links ---- */

static bool ring_peer(const struct td_lpu_machine *machine, int32_t chips, int32_t chip, int32_t link,
                      int32_t *out_chip, int32_t *out_link) {
  int32_t far = link ^ 1;
  if (chips < 2 || link >= machine->links_used || far >= machine->links_used) return false;
  *out_chip = link % 2 ? (chip + chips - 1) % chips : (chip + 1) % chips;
  *out_link = far;
  return true;
}

/* A unit's ports at a level: the first half of the ways has the first ones, the other half the last; what is left
 * over in between leads nowhere. Port p of way w meets port `ports` - 1 - p of the far end's way, but for a way that is
 * its own opposite. */
struct ports {
  int32_t count, ways, per;
};

static struct ports ports_of(const struct td_lpu_level *level, int32_t size) {
  struct ports ports = {level->links * size, ways_of(level), 0};
  ports.per = ports.ways ? ports.count / ports.ways : 0;
  return ports;
}

/* Which way a port leads, -1: none, and its far end's number. */
static int32_t way_of(const struct ports *ports, int32_t port, int32_t *out_far) {
  int32_t low = (ports->ways + 1) / 2, mirror = ports->count - 1 - port;
  if (ports->per == 0) return -1;
  *out_far = mirror;
  if (mirror < (ports->ways - low) * ports->per) return ports->ways - 1 - mirror / ports->per;
  if (port >= low * ports->per) return -1;
  int32_t way = port / ports->per;
  if (2 * way + 1 == ports->ways) *out_far = (2 * way + 1) * ports->per - 1 - port;
  return way;
}

/* Link `link` of those of the level, on a chip; a unit has `size` of them. */
static bool level_peer(const struct td_lpu_level *level, int32_t size, int32_t chip, int32_t link, int32_t *out_chip,
                       int32_t *out_link) {
  int32_t group = size * level->units, first = chip / group * group, unit = chip % group / size, far = 0;
  const struct ports ports = ports_of(level, size);
  int32_t way = way_of(&ports, link * size + size - 1 - chip % size, &far);
  int32_t peer = way < 0 ? -1 : unit_at(level, unit, way);
  if (peer < 0) return false;
  *out_chip = first + peer * size + size - 1 - far % size;
  *out_link = far / size;
  return true;
}

bool td_lpu_link_peer(const struct td_lpu_machine *machine, int32_t chips, int32_t chip, int32_t link,
                      int32_t *out_chip, int32_t *out_link) {
  int32_t size = 1, base = 0, far = 0;
  if (link < 0) return false;
  if (machine->levels == 0) return ring_peer(machine, chips, chip, link, out_chip, out_link);
  for (int32_t l = 0; l < machine->levels; l++) {
    const struct td_lpu_level *level = &machine->level[l];
    if (link < base + level->links) {
      if (!level_peer(level, size, chip, link - base, out_chip, &far)) return false;
      *out_link = base + far;
      return *out_chip < chips;
    }
    base += level->links;
    size *= level->units;
  }
  return false;
}

/* ---- routes ---- */

td_status td_lpu_reach(const struct td_lpu_machine *machine, int32_t chips, int32_t from, struct td_lpu_reached out[]) {
  int32_t *order = NULL, count = 1;
  TD_TRY(td_alloc((size_t)chips, sizeof *order, (void **)&order));
  for (int32_t chip = 0; chip < chips; chip++) out[chip] = (struct td_lpu_reached){-1, -1, -1};
  out[from].hops = 0;
  order[0] = from;
  for (int32_t i = 0; i < count; i++) {
    for (int32_t link = 0; link < machine->links_used; link++) {
      int32_t peer = 0, far = 0;
      if (!td_lpu_link_peer(machine, chips, order[i], link, &peer, &far) || out[peer].hops >= 0) continue;
      out[peer] = (struct td_lpu_reached){out[order[i]].hops + 1, order[i], link};
      order[count++] = peer;
    }
  }
  free(order);
  return TD_OK;
}

td_status td_lpu_route(const struct td_lpu_machine *machine, int32_t chips, int32_t from, int32_t to,
                       struct td_lpu_hop out[], int32_t most, int32_t *out_count) {
  struct td_lpu_reached *reached = NULL;
  TD_TRY(td_alloc((size_t)chips, sizeof *reached, (void **)&reached));
  td_status status = td_lpu_reach(machine, chips, from, reached);
  int32_t hops = status ? 0 : reached[to].hops;
  if (!status && hops < 0) {
    status =
        td_fail(TD_NOT_FOUND, "LPU %s: no way leads from chip %d to chip %d of %d", machine->name, from, to, chips);
  } else if (!status && hops > most) {
    status = td_fail(TD_EXHAUSTED, "LPU %s: %d hops from chip %d to chip %d, expected at most %d", machine->name, hops,
                     from, to, most);
  }
  for (int32_t at = to, i = hops - 1; !status && i >= 0; i--) {
    out[i] = (struct td_lpu_hop){reached[at].chip, reached[at].link};
    at = reached[at].chip;
  }
  *out_count = hops;
  free(reached);
  return status;
}
