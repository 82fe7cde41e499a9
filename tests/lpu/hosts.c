/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/hosts.h"

#include "tandem/device.h"

const struct lpu_host_kind lpu_host_kinds[] = {
#ifdef LPU_HOSTS_EMULATED /* the driver is the one of tests/cuda/emulator */
    {"cuda emulated", "cuda:0", NULL, NULL, false},
#else
    {"cpu plain", "cpu", "TANDEM_CPU_ISA", "plain", false},
    {"cpu avx2", "cpu", "TANDEM_CPU_ISA", "avx2", false},
    {"cpu avx512", "cpu", "TANDEM_CPU_ISA", "avx512", false},
    {"opencl cpu", "opencl:0", "TANDEM_OPENCL_FORM", "cpu", false},
    {"opencl gpu", "opencl:0", "TANDEM_OPENCL_FORM", "gpu", true},
    {"cuda", "cuda:0", NULL, NULL, false},
#endif
};
const size_t lpu_host_kind_count = sizeof lpu_host_kinds / sizeof *lpu_host_kinds;

/* Devices stay open until the program ends: PoCL 3.1 may crash when they come and go, since its threads look at events
 * of queues that are gone. */
static struct td_device *device_of(size_t kind) {
  static struct td_device *devices[sizeof lpu_host_kinds / sizeof *lpu_host_kinds];
  static bool tried[sizeof lpu_host_kinds / sizeof *lpu_host_kinds];
  const struct lpu_host_kind *of = &lpu_host_kinds[kind];
  if (tried[kind]) return devices[kind];
  tried[kind] = true;
  if (of->variable) setenv(of->variable, of->value, 1);
  td_status status = td_device_open(of->spec, &(struct td_device_options){.threads = 1}, &devices[kind]);
  if (of->variable) unsetenv(of->variable);
  if (status) printf("no %s here: %s\n", of->name, td_error_text());
#ifdef LPU_HOSTS_EMULATED
  if (status) fail_msg("%s: %s", of->name, td_error_text());
#endif
  if (status && status != TD_UNAVAILABLE) fail_msg("%s: %s", of->name, td_error_text());
  return devices[kind];
}

struct td_lpu_host *lpu_host_open(const struct lpu_host_kind *kind, const struct td_lpu_program *program) {
  struct td_device *device = device_of((size_t)(kind - lpu_host_kinds));
  struct td_lpu_host *host = NULL;
  if (!device) return NULL;
  if (td_lpu_host_open_on(program, device, &host)) fail_msg("%s: %s", kind->name, td_error_text());
  return host;
}

void lpu_host_compare(struct td_lpu_host *host, const struct lpu_host_kind *kind, const struct td_lpu_program *program,
                      const uint8_t *expected, uint64_t bytes, const char *what) {
  const struct td_lpu_machine *machine = &program->machine;
  uint8_t *found = malloc(bytes);
  assert_non_null(found);
  if (td_lpu_host_sram_read(host, 0, bytes, found)) fail_msg("%s: %s", kind->name, td_error_text());
  for (uint64_t i = 0; memcmp(found, expected, bytes) != 0 && i < bytes; i++) {
    uint64_t vector = i / (uint64_t)machine->lanes, slices = (uint64_t)machine->mem_slices;
    if (found[i] == expected[i]) continue;
    fail_msg("%s, %s: word %llu of slice %llu, lane %d: found 0x%02x, expected 0x%02x", what, kind->name,
             (unsigned long long)(vector / slices), (unsigned long long)(vector % slices),
             (int)(i % (uint64_t)machine->lanes), found[i], expected[i]);
  }
  free(found);
}

void lpu_host_compare_counts(const struct td_lpu_counts *found, const struct td_lpu_counts *expected,
                             const char *what) {
  assert_int_equal(found->cycles, expected->cycles);
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) assert_int_equal(found->issued[i], expected->issued[i]);
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) assert_int_equal(found->busy[i], expected->busy[i]);
  if (memcmp(&found->energy_j, &expected->energy_j, sizeof found->energy_j) != 0) {
    fail_msg("%s: found %.17g J, expected %.17g", what, found->energy_j, expected->energy_j);
  }
}
