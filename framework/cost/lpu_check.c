/* SPDX-License-Identifier: Apache-2.0
 *
 * What no LPU can be, whatever its numbers are one by one. The bounds of single numbers are in lpu_table.h.
 */
#include <stdarg.h>
#include <string.h>

#include "lpu_system.h"

/* Only the first fault is kept. */
__attribute__((format(printf, 3, 4))) static void fail_at(struct td_lpu_fault *fault, enum td_lpu_number row,
                                                          const char *format, ...) {
  if (fault->row != TD_LPU_NUMBER_COUNT) return;
  va_list args;
  va_start(args, format);
  vsnprintf(fault->text, sizeof fault->text, format, args);
  va_end(args);
  fault->row = row;
}

#define REFUSE_IF(wrong, row, ...)                              \
  do {                                                          \
    if (wrong) fail_at(fault, TD_LPU_##row##_ROW, __VA_ARGS__); \
  } while (0)

static void check_lanes(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  REFUSE_IF(m->lanes > TD_LPU_MOST_LANES, superlanes, "found %d x %d lanes, expected at most %d in all", m->superlanes,
            m->lanes_per_superlane, TD_LPU_MOST_LANES);
  REFUSE_IF(m->plane_k != m->lanes, plane_k, "found %d, expected the %d lanes that an activation vector has",
            m->plane_k, m->lanes);
  REFUSE_IF(m->plane_k / 2 % m->load_vectors, load_vectors,
            "found %d, expected a divisor of %d, half a plane's k: an fp16 plane is loaded in whole steps",
            m->load_vectors, m->plane_k / 2);
  REFUSE_IF(m->streams < 2 * m->load_vectors, streams, "found %d, expected at least %d: a load takes %d pairs",
            m->streams, 2 * m->load_vectors, m->load_vectors);
  REFUSE_IF(m->planes % 4, planes, "found %d, expected a multiple of 4: pairs for fp16 in each hemisphere", m->planes);
}

static void check_memory(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  int32_t step = TD_LPU_HEMISPHERES * m->mem_slices_per_hop;
  REFUSE_IF(m->mem_slices % step, mem_slices, "found %d, expected a multiple of %d: whole hops in each hemisphere",
            m->mem_slices, step);
  REFUSE_IF(m->mem_words % m->mem_banks, mem_words, "found %d, expected a multiple of the %d banks", m->mem_words,
            m->mem_banks);
}

static void check_queues(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  int32_t matrix = m->planes * TD_MATRIX_QUEUES, switches = TD_LPU_HEMISPHERES * m->switch_functions;
  int32_t all = m->mem_slices + m->alus + matrix + switches + m->links;
  REFUSE_IF(all != m->instruction_queues, instruction_queues,
            "found %d, expected %d: %d memory + %d vector + %d matrix + %d switch + %d link", m->instruction_queues,
            all, m->mem_slices, m->alus, matrix, switches, m->links);
}

/* A vector that was mixed across superlanes is whole once the last of them was read. */
static void check_crossing(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  static const struct {
    enum td_lpu_opcode opcode;
    enum td_lpu_number row;
  } crossing[] = {{TD_LPU_PASS, TD_LPU_pass_func_ROW},
                  {TD_LPU_SHIFT, TD_LPU_shift_func_ROW},
                  {TD_LPU_PERMUTE, TD_LPU_permute_func_ROW}};
  for (size_t i = 0; i < sizeof crossing / sizeof *crossing; i++) {
    const struct td_lpu_delay *delay = &m->delay[crossing[i].opcode];
    if (delay->func - delay->skew >= m->superlanes) continue;
    fail_at(fault, crossing[i].row,
            "found %d cycles, %d of them before the operand is read, expected at least %d: it mixes the %d superlanes",
            delay->func, delay->skew, delay->skew + m->superlanes, m->superlanes);
  }
  REFUSE_IF(m->transpose_cycles < m->superlanes, transpose_cycles,
            "found %d cycles, expected at least %d: it mixes the superlanes", m->transpose_cycles, m->superlanes);
}

/* Nothing has a result before its operands. */
static void check_delays(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  static const struct {
    enum td_lpu_opcode opcode;
    enum td_lpu_number row;
  } others[] = {{TD_LPU_LOAD, TD_LPU_load_func_ROW},
                {TD_LPU_ROTATE, TD_LPU_rotate_func_ROW},
                {TD_LPU_SELECT, TD_LPU_select_func_ROW},
                {TD_LPU_TRANSPOSE, TD_LPU_transpose_func_ROW}};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    const struct td_lpu_delay *delay = &m->delay[others[i].opcode];
    if (delay->func > delay->skew) continue;
    fail_at(fault, others[i].row, "found %d cycles, expected more than the %d after which the operand is read",
            delay->func, delay->skew);
  }
  for (int i = 0; i < TD_ALU_COUNT; i++) {
    if (m->alu_func[i] > m->delay[TD_LPU_ALU].skew) continue;
    fail_at(fault, (enum td_lpu_number)(TD_LPU_alu_move_ROW + i),
            "found %d cycles, expected more than the %d after which operands are read", m->alu_func[i],
            m->delay[TD_LPU_ALU].skew);
  }
}
_Static_assert(TD_LPU_alu_shift_i32_ROW - TD_LPU_alu_move_ROW == TD_ALU_COUNT - 1, "ALU rows are in enum order");

static void check_links(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  REFUSE_IF(m->links_used > m->links, links_used, "found %d, expected at most the chip's %d links", m->links_used,
            m->links);
  REFUSE_IF(m->node_chips - 1 > m->links_used, node_chips,
            "found %d chips wired all to all, expected at most %d: a chip has %d wired links", m->node_chips,
            m->links_used + 1, m->links_used);
  REFUSE_IF(m->link_latency <= m->delay[TD_LPU_SEND].skew, link_latency,
            "found %d cycles, expected more than the %d after which a send reads its stream", m->link_latency,
            m->delay[TD_LPU_SEND].skew);
  REFUSE_IF(m->link_slack >= m->link_latency, link_slack, "found %d cycles, expected less than the link's %d",
            m->link_slack, m->link_latency);
}

static void check_wiring(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  char text[sizeof fault->text] = "";
  if (!td_lpu_check_wiring(m, text, sizeof text)) fail_at(fault, TD_LPU_links_used_ROW, "%s", text);
}

static void check_power(const struct td_lpu_machine *m, struct td_lpu_fault *fault) {
  static const enum td_lpu_number rows[TD_LPU_UNIT_COUNT] = {TD_LPU_power_memory_idle_ROW, TD_LPU_power_matrix_idle_ROW,
                                                             TD_LPU_power_vector_idle_ROW, TD_LPU_power_switch_idle_ROW,
                                                             TD_LPU_power_link_idle_ROW};
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    if (m->power_idle[unit] <= m->power_active[unit]) continue;
    fail_at(fault, rows[unit], "found %g W, expected at most the %g W of a working unit", m->power_idle[unit],
            m->power_active[unit]);
  }
}

void td_lpu_check_machine(const struct td_lpu_machine *machine, struct td_lpu_fault *out) {
  *out = (struct td_lpu_fault){.row = TD_LPU_NUMBER_COUNT};
  check_lanes(machine, out);
  check_memory(machine, out);
  check_queues(machine, out);
  check_crossing(machine, out);
  check_delays(machine, out);
  check_links(machine, out);
  check_wiring(machine, out);
  check_power(machine, out);
}

/* ---- a machine that did not come from a device file ---- */

static double number_at(const struct td_lpu_machine *machine, const struct td_lpu_number_row *row) {
  const char *field = (const char *)machine + row->quantity.offset;
  int32_t whole;
  double real;
  memcpy(&whole, field, sizeof whole);
  if (row->whole) return whole;
  memcpy(&real, field, sizeof real);
  return real;
}

static td_status check_bounds(const struct td_lpu_machine *machine) {
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const struct td_quantity_row *row = &td_lpu_number_rows[i].quantity;
    double value = number_at(machine, &td_lpu_number_rows[i]);
    if (value >= row->least && value <= row->most) continue; /* not so if it is NaN */
    return td_fail(TD_CONFIG, "%s: found %g, expected it within %g..%g %s", row->name, value, row->least, row->most,
                   td_unit_base(row->dimension));
  }
  return TD_OK;
}

/* Delays that no row gives, because nothing happens then. */
static td_status check_unused(const struct td_lpu_machine *m) {
  const int32_t unused[] = {m->delay[TD_LPU_MEMORY].skew, m->delay[TD_LPU_INSTALL].skew, m->delay[TD_LPU_INSTALL].func,
                            m->delay[TD_LPU_SUM].skew,    m->delay[TD_LPU_ALU].func,     m->delay[TD_LPU_SEND].func,
                            m->delay[TD_LPU_RECEIVE].skew};
  for (size_t i = 0; i < sizeof unused / sizeof *unused; i++) {
    if (unused[i]) return td_fail(TD_CONFIG, "found an unused delay of %d cycles, expected 0", unused[i]);
  }
  int64_t lanes = (int64_t)m->superlanes * m->lanes_per_superlane;
  if (m->lanes == lanes) return TD_OK;
  return td_fail(TD_CONFIG, "found %d lanes, expected %d x %d", m->lanes, m->superlanes, m->lanes_per_superlane);
}

td_status td_lpu_machine_check(const struct td_lpu_machine *machine) {
  struct td_lpu_fault fault;
  if (!memchr(machine->name, 0, sizeof machine->name)) {
    return td_fail(TD_CONFIG, "found a name of %zu bytes, expected at most %zu", sizeof machine->name,
                   sizeof machine->name - 1);
  }
  TD_TRY(check_bounds(machine));
  TD_TRY(check_unused(machine));
  td_lpu_check_machine(machine, &fault);
  if (fault.row == TD_LPU_NUMBER_COUNT) return TD_OK;
  return td_fail(TD_CONFIG, "%s: %s", td_lpu_number_rows[fault.row].quantity.name, fault.text);
}
