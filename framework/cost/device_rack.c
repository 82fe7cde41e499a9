/* SPDX-License-Identifier: Apache-2.0
 *
 * A rack: so many of a chip and of a host, whose files lie beside its own. What is published of the whole must be what
 * the parts add up to, within their ranges.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "device_folder.h"
#include "quantity.h"
#include "tandem/base.h"

/* The file of part `name` lies in the rack's folder. */
td_status td_rack_part(const struct td_config *config, const char *key, const char *name,
                       struct td_device_params **out) {
  const char *own = td_config_path(config), *slash = strrchr(own, '/');
  char path[PATH_MAX];
  if (strchr(name, '/')) {
    return td_config_fail(config, key, "found \"%.80s\", expected the name of a device file beside this one", name);
  }
  TD_TRY(td_format(path, sizeof path, "%.*s%s.cfg", slash ? (int)(slash - own + 1) : 0, own, name));
  td_status status = td_device_file_open(path, false, out);
  if (!status || status == TD_NO_MEMORY) return status;
  char *why = NULL;
  TD_TRY(td_copy_text(td_error_text(), &why));
  status = td_config_fail(config, key, "found \"%.80s\", whose device file does not open: %.400s", name, why);
  free(why);
  return status;
}

/* A power is only the sum of powers of the same basis. */
static bool adds_up(const struct td_device_params *rack, const struct td_device_params *part,
                    const struct td_quantity_row *row) {
  if (!(row->kinds & TD_IN_RACK && row->kinds & TD_IN_CHIP)) return false;
  if (row->dimension == TD_DIM_DOLLARS_PER_WATT) return false;
  const char *whole = td_quantity_basis(rack, row), *each = td_quantity_basis(part, row);
  return !whole || !each || !strcmp(whole, each);
}

static td_status check_sum(const struct td_config *config, const char *name, const struct td_quantity *sum,
                           const struct td_quantity *count, const struct td_quantity *each, const char *part) {
  if (!sum->present || !each->present) return TD_OK;
  double low = count->low * each->low, high = count->high * each->high;
  if (sum->low <= high && sum->high >= low) return TD_OK;
  return td_config_fail(config, name, "found %.6g..%.6g, expected it to meet the %.6g..%.6g that %g of %s add up to",
                        sum->low, sum->high, low, high, count->value, part);
}

static td_status check_chips(const struct td_config *config, const struct td_device_params *rack,
                             const struct td_device_params *chip) {
  if (chip->kind != TD_KIND_CHIP && chip->kind != TD_KIND_LPU) {
    return td_config_fail(config, "chip", "found the %s %s, expected a chip", td_device_kind_name(chip->kind),
                          chip->name);
  }
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) {
    if (!adds_up(rack, chip, row)) continue;
    TD_TRY(
        check_sum(config, row->name, td_quantity_at(rack, row), &rack->chips, td_quantity_at(chip, row), chip->name));
  }
  return TD_OK;
}

static td_status check_hosts(const struct td_config *config, const struct td_device_params *rack,
                             const struct td_device_params *host) {
  if (host->kind != TD_KIND_CHIP) {
    return td_config_fail(config, "host", "found the %s %s, expected a chip", td_device_kind_name(host->kind),
                          host->name);
  }
  TD_TRY(check_sum(config, "hosts_memory", &rack->hosts_memory, &rack->hosts, &host->memory_bytes, host->name));
  return check_sum(config, "hosts_bandwidth", &rack->hosts_bandwidth, &rack->hosts, &host->memory_bandwidth,
                   host->name);
}

/* Opens the part `name`, checks it, closes it. */
static td_status with_part(const struct td_config *config, const struct td_device_params *rack, const char *key,
                           const char *name,
                           td_status (*check)(const struct td_config *config, const struct td_device_params *rack,
                                              const struct td_device_params *part)) {
  struct td_device_params *part;
  TD_TRY(td_rack_part(config, key, name, &part));
  td_status status = check(config, rack, part);
  td_device_params_close(part);
  return status;
}

static td_status check_complete(const struct td_config *config, const struct td_device_params *rack) {
  if (!rack->chip) return td_config_fail(config, "chip", "found nothing, expected the device file of a rack's chips");
  if (!rack->chips.present) {
    return td_config_fail(config, "chips", "found nothing, expected the number of chips in a rack");
  }
  if (!rack->host == !rack->hosts.present) return TD_OK;
  return rack->host ? td_config_fail(config, "hosts", "found nothing, expected the number of hosts beside host")
                    : td_config_fail(config, "host", "found nothing, expected a device file beside hosts");
}

td_status td_rack_check(const struct td_config *config, const struct td_device_params *params, bool racks) {
  if (params->kind != TD_KIND_RACK && params->kind != TD_KIND_LPU_SYSTEM) {
    const char *stray = params->chip ? "chip" : params->host ? "host" : NULL;
    if (!stray) return TD_OK;
    return td_config_fail(config, stray, "found it in a %s, expected it only in a rack or lpu-system",
                          td_device_kind_name(params->kind));
  }
  if (!racks)
    return td_config_fail(config, "kind", "found a %s, expected a chip as a part of a rack",
                          td_device_kind_name(params->kind));
  TD_TRY(check_complete(config, params));
  TD_TRY(with_part(config, params, "chip", params->chip, check_chips));
  return params->host ? with_part(config, params, "host", params->host, check_hosts) : TD_OK;
}
