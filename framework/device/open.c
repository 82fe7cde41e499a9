/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding backends and opening devices by name.
 */
#include <stdlib.h>
#include <string.h>

#include "device_private.h"
#include "tandem/base.h"

const struct td_backend *td_backend_find(const char *name) {
  for (int32_t i = 0; td_backends[i]; i++) {
    if (strcmp(td_backends[i]->name, name) == 0) return td_backends[i];
  }
  return NULL;
}

const char *td_backend_nearest(const char *name) {
  const char *nearest = NULL;
  int best = 4; /* further away than three typing mistakes is another word */
  for (int32_t i = 0; td_backends[i]; i++) {
    int distance = td_edit_distance(name, td_backends[i]->name);
    if (distance >= best) continue;
    best = distance;
    nearest = td_backends[i]->name;
  }
  return nearest;
}

bool td_backend_on_host(const struct td_backend *backend, int32_t index) {
  bool known = offsetof(struct td_backend, on_host) + sizeof backend->on_host <= backend->size && backend->on_host;
  return known ? backend->on_host(index) : backend->executes && !backend->numbered;
}

struct td_device_label td_device_label(const struct td_device *device) {
  struct td_device_label label;
  snprintf(label.text, sizeof label.text, "%s:%d", device->backend->name, (int)device->index);
  return label;
}

/* Splits "NAME[:N]"; the name is copied. */
static td_status parse_spec(const char *spec, char name[TD_NAME_BYTES], int32_t *out_index) {
  const char *colon = strchr(spec, ':');
  size_t bytes = colon ? (size_t)(colon - spec) : strlen(spec);
  if (bytes == 0 || bytes >= TD_NAME_BYTES) {
    return td_fail(TD_CONFIG, "device '%s': found no backend name, expected NAME or NAME:N", spec);
  }
  memcpy(name, spec, bytes);
  name[bytes] = 0;
  *out_index = 0;
  if (!colon) return TD_OK;
  int64_t index = 0;
  const char *digit = colon + 1;
  for (; *digit >= '0' && *digit <= '9' && index < INT32_MAX / 10; digit++) index = index * 10 + (*digit - '0');
  if (digit == colon + 1 || *digit) {
    return td_fail(TD_CONFIG, "device '%s': found '%s' after ':', expected a device number", spec, colon + 1);
  }
  *out_index = (int32_t)index;
  return TD_OK;
}

static td_status find_named(const char *spec, const char *name, const struct td_backend **out_backend) {
  *out_backend = td_backend_find(name);
  if (*out_backend) return TD_OK;
  const char *nearest = td_backend_nearest(name);
  if (nearest) return td_fail(TD_NOT_FOUND, "device '%s': no backend '%s'; did you mean '%s'?", spec, name, nearest);
  return td_fail(TD_NOT_FOUND, "device '%s': no backend '%s'; `tandem devices` lists them", spec, name);
}

static td_status check_present(const char *spec, const struct td_backend *backend, int32_t index) {
  const char *reason = NULL;
  int32_t count = backend->probe(&reason);
  if (count <= 0) {
    return td_fail(TD_UNAVAILABLE, "device '%s': backend %s has no device here: %s", spec, backend->name,
                   reason ? reason : "no reason given");
  }
  if (index < count) return TD_OK;
  return td_fail(TD_UNAVAILABLE, "device '%s': found %d device(s) of backend %s here, expected more than %d", spec,
                 (int)count, backend->name, (int)index);
}

/* The name of a required entry the table lacks, NULL if it has all. */
static const char *missing_entry(const struct td_device_table *table) {
  if (table->size < offsetof(struct td_device_table, supports)) return "size";
  if (!table->close) return "close";
  if (!table->alloc) return "alloc";
  if (!table->free) return "free";
  if (!table->write) return "write";
  if (!table->read) return "read";
  if (!table->op) return "op";
  return table->sync ? NULL : "sync";
}

td_status td_device_find(const char *spec, const struct td_backend **out_backend, int32_t *out_index) {
  char name[TD_NAME_BYTES];
  int32_t index;
  const struct td_backend *backend = NULL;
  TD_TRY(parse_spec(spec, name, &index));
  TD_TRY(find_named(spec, name, &backend));
  TD_TRY(check_present(spec, backend, index));
  *out_backend = backend;
  *out_index = index;
  return TD_OK;
}

td_status td_device_open(const char *spec, const struct td_device_options *options, struct td_device **out_device) {
  int32_t index = 0;
  const struct td_backend *backend = NULL;
  TD_TRY(td_device_find(spec, &backend, &index));
  struct td_device_books *books;
  TD_TRY(td_books_open(&books));
  struct td_device *device;
  td_status status = backend->open(index, options, &device);
  if (status) {
    td_books_close(books);
    return td_fail_within(status, "device '%s'", spec);
  }
  const char *missing = missing_entry(device->table);
  if (missing) {
    td_books_close(books);
    return td_fail(TD_INTERNAL, "backend %s: its device table lacks '%s'", backend->name, missing);
  }
  device->backend = backend;
  device->index = index;
  device->params = options->params;
  device->submitted = 0;
  device->books = books;
  *out_device = device;
  return TD_OK;
}

void td_device_close(struct td_device *device) {
  if (!device) return;
  td_books_close(device->books);
  device->table->close(device);
}
