/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend's table, and the whole of it where OpenCL's headers were missing at build time.
 */
#include "tandem/backend.h"

#if TANDEM_OPENCL_HEADERS
#include "device.h"
#include "tandem/base.h"

static int32_t probe(const char **out_reason) {
  return opencl_platforms(out_reason);
}
static const char *name_of(int32_t index) {
  return opencl_found(index)->name;
}
static bool on_host(int32_t index) {
  return opencl_found(index)->processor;
}
#else
static int32_t probe(const char **out_reason) {
  *out_reason = "built without OpenCL headers";
  return 0;
}
static td_status opencl_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  (void)index, (void)options, (void)out;
  return td_fail(TD_UNAVAILABLE, "built without OpenCL headers");
}
static const char *name_of(int32_t index) {
  return (void)index, (const char *)0;
}
static bool on_host(int32_t index) {
  return (void)index, false;
}
#endif

const struct td_backend td_backend_opencl = {.size = sizeof td_backend_opencl,
                                             .name = "opencl",
                                             .summary = "any OpenCL 1.2 device through the ICD loader",
                                             .executes = true,
                                             .exact = true,
                                             .probe = probe,
                                             .open = opencl_open,
                                             .device_name = name_of,
                                             .numbered = true,
                                             .on_host = on_host};
