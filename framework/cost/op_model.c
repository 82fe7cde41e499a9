/* SPDX-License-Identifier: Apache-2.0
 *
 * What all operator models share: names, shapes, paths, prices.
 */
#include "op_model.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "op_calibrate.h"
#include "tandem/base.h"

static const struct td_op_model *const models[] = {&td_op_gemm, &td_op_attention_context, &td_op_attention_generation,
                                                   &td_op_moe,  &td_op_collective,        &td_op_e2e};

const struct td_op_model *td_op_model(enum td_operator op) {
  return models[op];
}

const char *td_operator_name(enum td_operator op) {
  return (unsigned)op < TD_OPERATOR_COUNT ? models[op]->name : "unknown";
}

bool td_operator_find(const char *name, enum td_operator *out_op) {
  for (int op = 0; op < TD_OPERATOR_COUNT; op++) {
    if (strcmp(models[op]->name, name)) continue;
    *out_op = (enum td_operator)op;
    return true;
  }
  return false;
}

int32_t td_operator_fields(enum td_operator op) {
  return models[op]->field_count;
}

const char *td_operator_field(enum td_operator op, int32_t field) {
  return field >= 0 && field < models[op]->field_count ? models[op]->fields[field].name : NULL;
}

int32_t td_operator_parameters(enum td_operator op) {
  return models[op]->parameter_count;
}

const char *td_operator_parameter(enum td_operator op, int32_t parameter, const char **out_unit) {
  *out_unit = models[op]->parameters[parameter].unit;
  return models[op]->parameters[parameter].name;
}

const char *td_operator_class(enum td_operator op, int32_t class_index) {
  return models[op]->class_names[class_index];
}

int32_t td_op_class_of(const struct td_op_model *model, const struct td_op_shape *shape) {
  int64_t last = shape->v[model->field_count - 1];
  return last <= model->class_bounds[0] ? 1 : last <= model->class_bounds[1] ? 2 : 3;
}

int32_t td_operator_class_of(enum td_operator op, const struct td_op_shape *shape) {
  return td_op_class_of(models[op], shape);
}

/* exp(-30) and less beside 1 is nothing. */
static double smooth_share(double value, double largest, double sharpness) {
  double share = value > 0 ? sharpness * log(value / largest) : -INFINITY;
  return share < -30 ? 0 : exp(share);
}

double td_op_smooth_max(double a, double b, double sharpness) {
  double large = a > b ? a : b, share = smooth_share(a > b ? b : a, large, sharpness);
  return share > 0 ? large * exp(log(1 + share) / sharpness) : large;
}

double td_op_smooth_max_of_three(double a, double b, double c, double sharpness) {
  double ab = a > b ? a : b, less = a > b ? b : a, large = ab > c ? ab : c, other = ab > c ? c : ab;
  double share = smooth_share(less, large, sharpness) + smooth_share(other, large, sharpness);
  return share > 0 ? large * exp(log(1 + share) / sharpness) : large;
}

static int64_t least_of(const struct td_op_field *field) {
  return field->linear || field->may_lack ? 0 : 1;
}

/* The first field out of its range; field_count: none. */
static int32_t wrong_field(const struct td_op_model *model, const struct td_op_shape *shape) {
  int32_t i = 0;
  while (i < model->field_count && shape->v[i] >= least_of(&model->fields[i]) && shape->v[i] <= model->fields[i].most) {
    i++;
  }
  return i;
}

bool td_op_shape_is(enum td_operator op, const struct td_op_shape *shape) {
  return wrong_field(models[op], shape) == models[op]->field_count && !models[op]->refuses(shape->v);
}

td_status td_op_shape_check(enum td_operator op, const struct td_op_shape *shape) {
  const struct td_op_model *model = models[op];
  int32_t wrong = wrong_field(model, shape);
  if (wrong < model->field_count) {
    const struct td_op_field *field = &model->fields[wrong];
    return td_fail(TD_UNSUPPORTED, "%s: found %" PRId64 ", expected %" PRId64 "..%" PRId64, field->name,
                   shape->v[wrong], least_of(field), field->most);
  }
  const char *why = model->refuses(shape->v);
  return why ? td_fail(TD_UNSUPPORTED, "%s: found a shape the model has no basis for: %s", model->name, why) : TD_OK;
}

/* ---- datasheet and path ---- */

struct element {
  const char *name;
  double bytes;
  size_t peak; /* offset of a quantity */
  const char *peak_name;
};
#define PEAK(field_) offsetof(struct td_device_params, field_), #field_
static const struct element elements[] = {
    {"bfloat16", 2, PEAK(flops_bf16)}, {"float16", 2, PEAK(flops_f16)},
    {"half", 2, PEAK(flops_f16)},      {"fp8", 1, PEAK(flops_fp8)},
    {"fp8_block", 1, PEAK(flops_fp8)}, {"nvfp4", 0.5625, PEAK(flops_fp4)},
    {"float32", 4, PEAK(flops_f32)},   {"w4a16_mxfp4", 0.53125, PEAK(flops_bf16)},
};
static const char element_names[] = "bfloat16, float16, half, fp8, fp8_block, nvfp4, w4a16_mxfp4 or float32";

static td_status element_of(const char *path, size_t bytes, const struct element **out) {
  for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
    if (strlen(elements[i].name) != bytes || memcmp(elements[i].name, path, bytes)) continue;
    *out = &elements[i];
    return TD_OK;
  }
  return td_fail(TD_UNSUPPORTED, "element type: found \"%.*s\", expected %s", (int)(bytes < 40 ? bytes : 40), path,
                 element_names);
}

static td_status number(const struct td_device_params *device, const struct td_quantity *quantity, const char *name,
                        enum td_operator op, double *out) {
  if (!quantity->present) {
    return td_fail(TD_UNSUPPORTED, "device %s: found no %s, expected it in the device file to price %s", device->name,
                   name, td_operator_name(op));
  }
  *out = quantity->value;
  return TD_OK;
}

static td_status take_elements(const struct td_device_params *device, enum td_operator op, const char *path,
                               struct td_op_chip *chip) {
  const char *slash = strchr(path, '/');
  const struct element *products = NULL, *cache;
  TD_TRY(element_of(path, slash ? (size_t)(slash - path) : strlen(path), &products));
  cache = products;
  if (slash) TD_TRY(element_of(slash + 1, strlen(slash + 1), &cache));
  chip->bytes = products->bytes;
  chip->kv_bytes = cache->bytes;
  const struct td_quantity *peak = (const void *)((const char *)device + products->peak);
  return number(device, peak, products->peak_name, op, &chip->peak);
}

td_status td_op_chip_of(const struct td_device_params *device, enum td_operator op, const char *path,
                        struct td_op_chip *out_chip) {
  struct td_op_chip chip = {.reduces = op == TD_COLLECTIVE && strstr(path, "all_reduce")};
  if (device->kind != TD_KIND_CHIP && device->kind != TD_KIND_LPU) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a %s, expected a chip to price %s", device->name,
                   td_device_kind_name(device->kind), td_operator_name(op));
  }
  if (op != TD_COLLECTIVE && op != TD_E2E) {
    TD_TRY(take_elements(device, op, path, &chip));
    TD_TRY(number(device, &device->memory_bandwidth, "memory_bandwidth", op, &chip.bandwidth));
    TD_TRY(number(device, &device->multiprocessors, "multiprocessors", op, &chip.units));
    TD_TRY(number(device, &device->l2_bytes, "l2_bytes", op, &chip.cache));
  }
  *out_chip = chip;
  return TD_OK;
}

/* ---- prices ---- */

/* exp(*out_residual) of them is the residuals'. */
static double seconds_of(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape,
                         double *out_residual) {
  double seconds = models[fit->op]->seconds(chip, fit->parameters, shape->v);
  *out_residual = fit->residual_count ? td_op_residual_at(chip, fit, shape, seconds) : 0;
  return *out_residual != 0 ? seconds * exp(*out_residual) : seconds;
}

double td_op_seconds(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape) {
  double residual;
  return seconds_of(chip, fit, shape, &residual);
}

const struct td_op_fit *td_device_fit(const struct td_device_params *device, enum td_operator op, const char *path) {
  for (int32_t i = 0; i < device->fit_count; i++) {
    if (device->fits[i].op == op && !strcmp(device->fits[i].path, path)) return &device->fits[i];
  }
  return NULL;
}

void td_op_guesses(enum td_operator op, struct td_op_fit *out_fit) {
  *out_fit = (struct td_op_fit){.op = op};
  for (int32_t i = 0; i < models[op]->parameter_count; i++) {
    out_fit->parameters[i] = models[op]->parameters[i].guess;
  }
}

/* Octaves by which a value lies outside a field's range in the rows of the fit. */
static double octaves_outside(const struct td_op_field *field, int64_t v, int64_t least, int64_t most) {
  if (v >= least && v <= most) return 0;
  if (field->linear) return log2(1 + (double)(v < least ? least - v : v - most) / field->octaves);
  double here = (double)v + 1, bound = (double)(v < least ? least : most) + 1;
  return log2(v < least ? bound / here : here / bound);
}

/* Over all fields. */
static double outside(const struct td_op_model *model, const struct td_op_fit *fit, const struct td_op_shape *shape) {
  double octaves = 0;
  for (int32_t i = 0; i < model->field_count; i++) {
    octaves += octaves_outside(&model->fields[i], shape->v[i], fit->least.v[i], fit->most.v[i]);
  }
  return octaves;
}

/* Parameters of another device: an A100 priced with an H100's and the other way round (docs/calibration.md). */
#define BORROWED 1.25
/* Each octave beyond what was measured widens the interval by this factor on both sides. */
#define PER_OCTAVE 1.15

/* Fits that say something of a path which has none: kernels that widen narrow weights on the fly run at the widened
 * type's rates, over fewer bytes. */
static const char *const akin[][2] = {{"w4a16_mxfp4", "bfloat16"}};

static const struct td_op_fit *fit_akin(const struct td_device_params *device, enum td_operator op, const char *path) {
  const struct td_op_fit *fit = NULL;
  for (size_t i = 0; i < sizeof akin / sizeof *akin && !fit; i++) {
    if (!strcmp(akin[i][0], path)) fit = td_device_fit(device, op, akin[i][1]);
  }
  return fit;
}

void td_op_basis_of(const struct td_device_params *device, enum td_operator op, const char *path,
                    struct td_op_basis *out) {
  const struct td_op_fit *own = td_device_fit(device, op, path), *other = own ? NULL : fit_akin(device, op, path);
  out->fit = own ? own : &out->own;
  out->guessed = !own && !other;
  out->wider = 1;
  out->gap = 0;
  out->note = NULL;
  if (out->guessed) td_op_guesses(op, &out->own);
  if (other) { /* residuals are of that type's kernels */
    out->own = *other;
    out->own.residual_count = 0;
    out->wider = BORROWED;
    out->note = "fitted on other element types";
  }
  if (!out->guessed && device->fits_borrowed) {
    out->wider *= BORROWED;
    out->note = "fitted on another device";
  }
}

/* Of the class; where it has few rows, of all, and of the class where its own were further off. */
static struct td_op_error error_for(const struct td_op_fit *fit, int32_t class_index) {
  const struct td_op_error *own = &fit->errors[class_index];
  struct td_op_error error = fit->errors[0];
  if (own->rows >= TD_FEW_FAMILIES) return *own;
  if (!own->rows) return error;
  error.low = fmin(error.low, own->low);
  error.high = fmax(error.high, own->high);
  return error;
}

/* Residuals that move a price further than guesses are worth: an odd row near it, times in another unit or of another
 * device, or kernels that the model is not about. Which of the two is right is not known, so both lie inside. */
static void doubt(const struct td_op_model *model, double residual, struct td_op_price *price) {
  if (fabs(residual) <= log(TD_GUESS_HIGH) || model->other_kernel > 0) return;
  price->low = fmin(price->low, price->low * exp(-residual));
  price->high = fmax(price->high, price->high * exp(-residual));
  price->note = "measurements near it are over twice off the model";
}

void td_op_interval(const struct td_op_basis *basis, const struct td_op_shape *shape, double residual,
                    struct td_op_price *price) {
  const struct td_op_fit *fit = basis->fit;
  price->low = price->seconds * TD_GUESS_LOW;
  price->high = price->seconds * TD_GUESS_HIGH;
  price->note = "no fit: the model's guesses";
  if (basis->guessed) return;
  const struct td_op_model *model = models[fit->op];
  struct td_op_error error = error_for(fit, td_op_class_of(model, shape));
  bool known = error.rows > 0;
  double out = outside(model, fit, shape), octaves = out > basis->gap ? out : basis->gap;
  double beyond = octaves > 0 ? pow(PER_OCTAVE, octaves) : 1;
  double wider = beyond * basis->wider;
  price->note = known ? NULL : "no rows were held back to measure the fit's error";
  price->low = price->seconds * (known ? error.low : TD_GUESS_LOW) / wider;
  price->high = price->seconds * (known ? error.high : TD_GUESS_HIGH) * wider;
  if (beyond > 1) price->note = out > 0 ? "outside the measured shapes" : "far from all measured shapes";
  if (basis->note) price->note = basis->note;
  doubt(model, residual, price);
}

double td_op_energy(const struct td_device_params *device, double seconds, double flops, double peak, double bytes) {
  const struct td_quantity *idle = &device->power_idle, *busy = &device->power_busy;
  if (!idle->present || !busy->present) return (double)NAN;
  double rate = peak * (device->compute_efficiency.present ? device->compute_efficiency.value : 1);
  double stream = device->memory_bandwidth.value;
  if (device->memory_efficiency.present) stream *= device->memory_efficiency.value;
  double compute = flops > 0 && rate > 0 ? flops / rate * (busy->high - idle->value) : 0;
  double more = busy->low > idle->value ? busy->low - idle->value : 0;
  double memory = bytes > 0 && stream > 0 ? bytes / stream * more : 0;
  double sum = seconds * idle->value + compute + memory, most = seconds * busy->high;
  return sum < most ? sum : most;
}

td_status td_op_price(const struct td_device_params *device, enum td_operator op, const char *path,
                      const struct td_op_shape *shape, struct td_op_price *out_price) {
  struct td_op_chip chip;
  struct td_op_basis basis;
  TD_TRY(td_op_shape_check(op, shape));
  TD_TRY(td_op_chip_of(device, op, path, &chip));
  td_op_basis_of(device, op, path, &basis);
  basis.gap = td_op_residual_gap(basis.fit, shape);
  double residual;
  out_price->seconds = seconds_of(&chip, basis.fit, shape, &residual);
  td_op_interval(&basis, shape, residual, out_price);
  double flops = 0, bytes = 0;
  const struct td_op_model *model = models[op];
  if (model->work) model->work(&chip, shape->v, &flops, &bytes);
  out_price->energy_j = model->work ? td_op_energy(device, out_price->seconds, flops, chip.peak, bytes) : (double)NAN;
  return TD_OK;
}

td_status td_device_borrow_fits(const struct td_device_params *device, const struct td_device_params *other,
                                struct td_device_params *out_copy, struct td_op_fit **out_fits) {
  void *memory;
  if (!other->fit_count) {
    return td_fail(TD_CONFIG, "device %s: found no fits, expected a file that tandem calibrate made", other->name);
  }
  TD_TRY(td_alloc((size_t)other->fit_count, sizeof **out_fits, &memory));
  struct td_op_fit *fits = memory;
  for (int32_t i = 0; i < other->fit_count; i++) {
    fits[i] = other->fits[i];
    fits[i].residuals = NULL;
    fits[i].places = NULL;
    fits[i].residual_count = 0;
  }
  *out_copy = *device;
  out_copy->fits = fits;
  out_copy->fit_count = other->fit_count;
  out_copy->fits_borrowed = true;
  out_copy->op_cache = NULL;
  *out_fits = fits;
  return TD_OK;
}
