/* SPDX-License-Identifier: Apache-2.0
 *
 * Device files: NAME.cfg -> struct td_device_params.
 */
#include <stdlib.h>
#include <string.h>

#include "device_folder.h"
#include "lpu_system.h"
#include "measure.h"
#include "op_curve.h"
#include "quantity.h"
#include "step_model.h"
#include "tandem/base.h"

/* The config stays open behind the params: it owns their strings. */
struct opened {
  struct td_device_params params; /* first: the user's pointer is ours */
  struct td_config *config;
  struct td_lpu_params lpu;
  struct td_device_params *chip; /* of a system: it owns the strings of the machine's numbers */
  struct td_op_fits fits;
  struct td_measured_op *measured;
  struct td_step_model *steps;
};

static const char *const bases[] = {NULL, "chip", "all-in", "utility"};

static const char *const states[] = {"sold", "announced", "cancelled"};

/* An LPU is a chip as well: with a chip's numbers it can be priced as a roofline, for comparison. */
static bool may_hold(enum td_device_kind device, const struct td_quantity_row *row) {
  return row->kinds & 1u << device || (device == TD_KIND_LPU && row->kinds & TD_IN_CHIP) ||
         (device == TD_KIND_LPU_SYSTEM && row->kinds & TD_IN_RACK);
}

static td_status take_numbers(const struct td_config *config, const struct td_device_file *file,
                              struct td_device_params *params) {
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) {
    const struct td_quantity_text *text = (const void *)((const char *)file + row->text_offset);
    if (!text->unit) continue;
    if (!may_hold(params->kind, row)) {
      char kinds[64];
      td_quantity_kinds(row, kinds, sizeof kinds);
      return td_config_fail(config, row->name, "found it in a %s, expected it only in a %s",
                            td_device_kind_name(params->kind), kinds);
    }
    struct td_quantity *quantity = (void *)((char *)params + row->offset);
    TD_TRY(td_quantity_take(config, row, row->name, text, quantity));
    if (row->dimension == TD_DIM_COUNT) TD_TRY(td_quantity_whole(config, row->name, quantity));
  }
  return TD_OK;
}

static td_status check_basis(const struct td_config *config, const struct td_device_params *params) {
  const struct td_lpu_machine *lpu = td_lpu_machine_of(params);
  bool power = params->power_busy.present || params->power_idle.present || (lpu && lpu->has_power);
  if (power && !params->power_basis) {
    return td_config_fail(config, "power_basis", "found nothing, expected chip, all-in or utility beside a power");
  }
  if (!power && params->power_basis) {
    return td_config_fail(config, "power_basis", "found it without power_busy or power_idle, expected a power too");
  }
  return TD_OK;
}

/* Two numbers of one file of which the first cannot be the larger one. */
static td_status check_order(const struct td_config *config, const char *small_name, const struct td_quantity *small,
                             const char *large_name, const struct td_quantity *large) {
  if (!small->present || !large->present || small->low <= large->high) return TD_OK;
  return td_config_fail(config, small_name, "found at least %.6g, expected no more than %s, which is at most %.6g",
                        small->low, large_name, large->high);
}

#define ORDERED(small_, large_) TD_TRY(check_order(config, #small_, &params->small_, #large_, &params->large_))

static td_status check_contradictions(const struct td_config *config, const struct td_device_params *params) {
  ORDERED(power_idle, power_busy);
  if (params->power_basis && !strcmp(params->power_basis, "chip")) ORDERED(power_busy, power_all_in);
  ORDERED(power_all_in, power_utility);
  ORDERED(link_bandwidth, link_peak);
  ORDERED(l2_bytes, memory_bytes);
  if (params->imagined && strcmp(params->status, "sold")) {
    return td_config_fail(config, "status", "found \"%s\" of an imagined device, expected a device that somebody named",
                          params->status);
  }
  return TD_OK;
}

static td_status check_complete(const struct td_config *config, const struct td_device_params *params) {
  TD_TRY(check_basis(config, params));
  if (params->kind != TD_KIND_LINK) return TD_OK;
  const char *lacking = !params->link_bandwidth.present ? "link_bandwidth"
                        : !params->link_latency.present ? "link_latency"
                                                        : NULL;
  return lacking ? td_config_fail(config, lacking, "found nothing, expected a number in a link") : TD_OK;
}

static bool has_lpu(const struct td_lpu_file *file) {
  bool any = false;
  for (int i = 0; i < TD_LPU_FILE_NUMBERS; i++) any = any || file->numbers[i].unit;
  return any;
}

static td_status take_lpu(const struct td_config *config, const struct td_lpu_file *file, struct opened *opened) {
  if (opened->params.kind != TD_KIND_LPU) {
    if (!has_lpu(file)) return TD_OK;
    return td_config_fail(config, "lpu", "found it in a %s, expected it only in an lpu",
                          td_device_kind_name(opened->params.kind));
  }
  TD_TRY(td_lpu_take(config, file, opened->params.name, &opened->lpu));
  opened->params.lpu = &opened->lpu;
  return TD_OK;
}

/* The chip's machine, wired; after the rack's own check. */
static td_status take_system(const struct td_list *wiring, const struct td_device_sets *sets, struct opened *opened) {
  struct td_device_params *params = &opened->params;
  if (params->kind == TD_KIND_LPU_SYSTEM && wiring->count == 0) {
    return td_config_fail(opened->config, "wiring", "found nothing, expected how the chips of an lpu-system are wired");
  }
  if (wiring->count == 0) return TD_OK;
  if (params->kind != TD_KIND_RACK && params->kind != TD_KIND_LPU_SYSTEM) {
    return td_config_fail(opened->config, "wiring", "found it in a %s, expected it only in a rack or lpu-system",
                          td_device_kind_name(params->kind));
  }
  TD_TRY(td_rack_part(opened->config, "chip", params->chip, sets, &opened->chip));
  TD_TRY(td_lpu_system_take(opened->config, wiring, params, opened->chip, &opened->lpu));
  params->lpu = &opened->lpu;
  return TD_OK;
}

static td_status take_fits(const struct td_config *config, const struct td_list *list, struct opened *opened) {
  if (!list->count) return TD_OK;
  if (opened->params.kind != TD_KIND_CHIP) {
    return td_config_fail(config, "fits", "found it in a %s, expected it only in a chip",
                          td_device_kind_name(opened->params.kind));
  }
  TD_TRY(td_op_fits_take(config, list, &opened->params, &opened->fits));
  opened->params.fits = opened->fits.fits;
  opened->params.fit_count = opened->fits.count;
  return td_op_cache_open(&opened->params.op_cache);
}

static td_status take_operators(const struct td_config *config, const struct td_list *list, struct opened *opened) {
  if (!list->count) return TD_OK;
  if (opened->params.kind != TD_KIND_CHIP) {
    return td_config_fail(config, "operators", "found it in a %s, expected it only in a chip",
                          td_device_kind_name(opened->params.kind));
  }
  TD_TRY(td_measured_take(config, list, &opened->measured, &opened->params.measured_count));
  opened->params.measured = opened->measured;
  return TD_OK;
}

/* One way to price a step in a file: which one is meant is never a matter of what matches. */
static td_status take_steps(const struct td_config *config, const struct td_list *list, struct opened *opened) {
  const struct td_device_params *params = &opened->params;
  if (!list->count) return TD_OK;
  if (params->kind != TD_KIND_CHIP) {
    return td_config_fail(config, "steps", "found it in a %s, expected it only in a chip",
                          td_device_kind_name(params->kind));
  }
  if (params->fit_count || params->measured_count) {
    return td_config_fail(config, "steps", "found it beside %s, expected one of both",
                          params->fit_count ? "fits" : "operators");
  }
  TD_TRY(td_step_models_take(config, list, &opened->steps, &opened->params.step_count));
  opened->params.steps = opened->steps;
  if (params->power_basis || !td_step_models_have_power(opened->steps, params->step_count)) return TD_OK;
  return td_config_fail(config, "power_basis", "found nothing, expected chip, all-in or utility beside a power");
}

static td_status take_name(const char *path, struct td_device_params *params) {
  const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
  size_t bytes = strlen(base);
  if (bytes > 4 && !strcmp(base + bytes - 4, ".cfg")) bytes -= 4;
  if (bytes >= sizeof params->name) {
    return td_fail(TD_CONFIG, "%s: found a file name of %zu bytes, expected at most %zu", path, bytes,
                   sizeof params->name - 1);
  }
  memcpy(params->name, base, bytes);
  return TD_OK;
}

static td_status take_texts(const struct td_config *config, const struct td_device_file *file,
                            struct td_device_params *params) {
  if (!*file->title || strlen(file->title) >= sizeof params->title) {
    return td_config_fail(config, "title", "found a text of %zu bytes, expected 1..%zu", strlen(file->title),
                          sizeof params->title - 1);
  }
  memcpy(params->title, file->title, strlen(file->title) + 1);
  params->kind = (enum td_device_kind)file->kind;
  params->imagined = file->imagined;
  params->status = states[file->status];
  params->path = td_config_path(config);
  params->power_basis = bases[file->power_basis];
  params->chip = *file->chip ? file->chip : NULL;
  params->host = *file->host ? file->host : NULL;
  return TD_OK;
}

static td_status fill(struct opened *opened, const char *path, bool racks, const struct td_device_sets *sets) {
  struct td_device_params *params = &opened->params;
  struct td_device_file file;
  TD_TRY(td_config_open(path, sets->own, sets->own_count, &opened->config));
  TD_TRY(td_config_parse(opened->config, &td_device_file_group, &file));
  TD_TRY(take_name(path, params));
  TD_TRY(take_texts(opened->config, &file, params));
  TD_TRY(take_numbers(opened->config, &file, params));
  TD_TRY(take_lpu(opened->config, &file.lpu, opened));
  TD_TRY(take_fits(opened->config, &file.fits, opened));
  TD_TRY(take_operators(opened->config, &file.operators, opened));
  TD_TRY(take_steps(opened->config, &file.steps, opened));
  TD_TRY(check_complete(opened->config, params));
  TD_TRY(check_contradictions(opened->config, params));
  TD_TRY(td_rack_check(opened->config, params, racks));
  return take_system(&file.wiring, sets, opened);
}

td_status td_device_file_open(const char *path, bool racks, const struct td_device_sets *sets,
                              struct td_device_params **out_params) {
  static const struct td_device_sets none;
  void *memory = NULL;
  TD_TRY(td_alloc(1, sizeof(struct opened), &memory));
  struct opened *opened = memory;
  td_status status = fill(opened, path, racks, sets ? sets : &none);
  if (status) {
    td_device_params_close(&opened->params);
    return status;
  }
  *out_params = &opened->params;
  return TD_OK;
}

void td_device_params_close(struct td_device_params *params) {
  if (!params) return;
  struct opened *opened = (struct opened *)(void *)params;
  td_op_cache_close(opened->params.op_cache);
  td_op_fits_free(&opened->fits);
  td_device_params_close(opened->chip);
  free(opened->measured);
  td_step_models_free(opened->steps, opened->params.step_count);
  td_config_close(opened->config);
  free(opened);
}
