/* SPDX-License-Identifier: Apache-2.0
 *
 * What a served step has beyond its products, attention, experts and collectives: small operators, launches, the host.
 * As a model of its own it is the ratio of a framework's times to their sum.
 */
#include "op_model.h"

static const struct td_op_parameter parameters[TD_E2E_PARAMETERS] = {
    {"scale", "1", 1, 0.2, 5, "a framework's times over the sum of their parts"},
    {"small", "us", 2, 0.1, 100, "a norm, rotation, sum, activation or write to the cache, in a graph"},
    {"launch", "us", 3, 0.01, 100, "what each operator adds in steps without a graph"},
    {"step", "us", 200, 0.1, 100000, "host: scheduling a step"},
    {"sequence", "us", 20, 0.01, 1000, "host: a sequence's part in it, sampling and text included"},
};

static const struct td_op_field fields[] = {
    {.name = "isl", .octaves = 1, .most = 1 << 30},
    {.name = "osl", .octaves = 1, .most = 1 << 30},
    {.name = "batch_size", .octaves = 1, .most = 1 << 20},
};

static const char *refuses(const int64_t *v) {
  (void)v;
  return NULL;
}

static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  (void)chip, (void)v;
  return p[TD_E2E_SCALE];
}

double td_e2e_parameter(const struct td_op_fit *fit, int32_t parameter) {
  return fit ? fit->parameters[parameter] : parameters[parameter].guess;
}

const struct td_op_model td_op_e2e = {
    .name = "e2e",
    .parameters = parameters,
    .parameter_count = TD_E2E_PARAMETERS,
    .fields = fields,
    .field_count = 3,
    .family_fields = 0,
    .class_bounds = {16, 64},
    .class_names = {"all", "batch <= 16", "batch 17..64", "batch > 64", "sums of four"},
    .refuses = refuses,
    .seconds = seconds,
};
