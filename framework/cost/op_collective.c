/* SPDX-License-Identifier: Apache-2.0
 *
 * A collective of a library like NCCL on devices of one node: a start, a latency per further device, and bytes at a
 * rate that grows with the message (longer messages are cut into more pieces that overlap).
 */
#include <math.h>

#include "op_model.h"

enum { START, HOP, RATE, GROWTH, SPREAD, SMALL, PARAMETERS };

static const struct td_op_parameter parameters[] = {
    {"start", "us", 5, 0.1, 500, "launch and meeting"},
    {"hop", "us", 1.5, 0.01, 100, "for each further device"},
    {"rate", "GB/s", 300, 0.01, 1e5, "a device's rate in long messages"},
    {"growth", "kB", 100, 0.01, 1e6, "message at which half of its time is not yet the rate's"},
    {"spread", "1", 0.7, 0.05, 2, "how the bytes of a device grow with devices: exponent of a ring's 2 (n - 1) / n"},
    {"small", "ns", 5, 0.01, 1000, "for each doubling of the message and further device"},
};

static const struct td_op_field fields[] = {
    {.name = "dtype", .octaves = 2, .linear = true, .most = 8},
    {.name = "num_gpus", .octaves = 1, .most = 1 << 20},
    {.name = "bytes", .octaves = 1, .most = INT64_C(1) << 40},
};

static const char *refuses(const int64_t *v) {
  return v[1] < 2 ? "a collective has two devices or more" : NULL;
}

static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double devices = (double)v[1], bytes = (double)v[2];
  double ring = 2 * (devices - 1) / devices, moved = bytes * pow(ring, p[SPREAD]);
  double rate = (chip->reduces ? 1 : 0.5) / (p[RATE] * 1e9);
  double fixed = (p[START] + p[HOP] * (devices - 1)) * 1e-6 + p[SMALL] * 1e-9 * log2(bytes) * (devices - 1);
  return fixed + moved * rate * (1 + sqrt(p[GROWTH] * 1e3 / bytes));
}

const struct td_op_model td_op_collective = {
    .name = "collective",
    .parameters = parameters,
    .parameter_count = PARAMETERS,
    .fields = fields,
    .field_count = 3,
    .family_fields = 0,
    .class_bounds = {65536, 4194304},
    .class_names = {"all", "bytes <= 64 KiB", "bytes <= 4 MiB", "bytes > 4 MiB", "sums of four"},
    .refuses = refuses,
    .seconds = seconds,
};
