/* SPDX-License-Identifier: Apache-2.0
 *
 * A collective of a library like NCCL on devices of one node: a start, a latency per further device, and bytes at a
 * rate that grows with the message (longer messages are cut into more pieces that overlap).
 */
#include <math.h>

#include "op_model.h"

enum { START, HOP, RATE, GROWTH, SPREAD, SMALL, POWER, HANDOVER, IN_SWITCH, QUICK, QUICK_SPREAD, BULK, PARAMETERS };

static const struct td_op_parameter parameters[] = {
    {"start", "us", 5, 0.1, 500, "launch and meeting"},
    {"hop", "us", 1.5, 0.01, 100, "for each further device"},
    {"rate", "GB/s", 300, 0.01, 1e5, "a device's rate in long messages"},
    {"growth", "kB", 100, 0.01, 1e6, "message at which half of its time is not yet the rate's"},
    {"spread", "1", 0.7, 0.05, 2, "how the bytes of a device grow with devices: exponent of a ring's 2 (n - 1) / n"},
    {"small", "ns", 5, 0.01, 1000, "for each doubling of the message and further device"},
    {"growth_power", "1", 0.6, 0.2, 2, "of growth over message: how fast the rate comes up"},
    {"handover", "us", 0.8, 0.001, 50,
     "for each doubling of devices, once a message is past the protocol for small ones"},
    {"in_switch", "1", 0.9, 0.3, 1.05, "time of sums of 16-bit numbers by eight devices and more: the switch may add"},
    {"quick_rate", "GB/s", 120, 0.1, 1e5, "a device's rate in short messages"},
    {"quick_spread", "1", 0.3, 0.01, 1.5, "how the bytes of a device grow with its peers then: exponent of n - 1"},
    {"bulk", "us", 10, 0.01, 1000, "what the start of long messages has beyond that of short ones"},
};

static const struct td_op_field fields[] = {
    {.name = "dtype", .octaves = 2, .linear = true, .most = 8},
    {.name = "num_gpus", .octaves = 1, .most = 1 << 20},
    {.name = "bytes", .octaves = 1, .most = INT64_C(1) << 40},
};

static const char *refuses(const int64_t *v) {
  return v[1] < 2 ? "a collective has two devices or more" : NULL;
}

#define CHANGE_OVER 8       /* sharpness */
#define SMALL_BYTES 12288.0 /* where libraries leave the protocol whose every word carries its own flag */

static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double devices = (double)v[1], bytes = (double)v[2];
  double moved = bytes * pow(2 * (devices - 1) / devices, p[SPREAD]); /* a ring moves 2 (n - 1) / n */
  double rate = (chip->reduces ? 1 : 0.5) / (p[RATE] * 1e9);
  double late = SMALL_BYTES / bytes, past = 1 / (1 + late * late * late);
  double fixed = p[START] + p[HOP] * (devices - 1) + p[HANDOVER] * log2(devices) * past;
  if (chip->reduces && v[0] == 2 && v[1] >= 8) rate *= p[IN_SWITCH];
  double start = fixed * 1e-6 + p[SMALL] * 1e-9 * log2(bytes) * (devices - 1);
  double quick = start + bytes * pow(devices - 1, p[QUICK_SPREAD]) / (p[QUICK] * 1e9);
  double bulk = start + p[BULK] * 1e-6 + moved * rate * (1 + pow(p[GROWTH] * 1e3 / bytes, p[POWER]));
  return 1 / td_op_smooth_max(1 / quick, 1 / bulk, CHANGE_OVER);
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
