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

/* What a spec says: a backend's name, and N or TEXT (borrowed from the spec; NULL if it is a number). */
struct wanted {
  char name[TD_NAME_BYTES];
  int32_t index;
  const char *text;
};

static td_status parse_number(const char *spec, const char *digits, int32_t *out_index) {
  int64_t index = 0;
  const char *digit = digits;
  for (; *digit >= '0' && *digit <= '9' && index < INT32_MAX / 10; digit++) index = index * 10 + (*digit - '0');
  if (digit == digits || *digit) {
    return td_fail(TD_CONFIG, "device '%s': found '%s' after ':', expected a device number or a part of its name", spec,
                   digits);
  }
  *out_index = (int32_t)index;
  return TD_OK;
}

/* Splits "NAME[:N]" or "NAME:TEXT"; the name is copied. */
static td_status parse_spec(const char *spec, struct wanted *out) {
  const char *colon = strchr(spec, ':');
  size_t bytes = colon ? (size_t)(colon - spec) : strlen(spec);
  if (bytes == 0 || bytes >= TD_NAME_BYTES) {
    return td_fail(TD_CONFIG, "device '%s': found no backend name, expected NAME, NAME:N or NAME:TEXT", spec);
  }
  *out = (struct wanted){0};
  memcpy(out->name, spec, bytes);
  if (!colon) return TD_OK;
  if (colon[1] == 0 || (colon[1] >= '0' && colon[1] <= '9')) return parse_number(spec, colon + 1, &out->index);
  out->text = colon + 1;
  return TD_OK;
}

static td_status find_named(const char *spec, const char *name, const struct td_backend **out_backend) {
  *out_backend = td_backend_find(name);
  if (*out_backend) return TD_OK;
  const char *nearest = td_backend_nearest(name);
  if (nearest) return td_fail(TD_NOT_FOUND, "device '%s': no backend '%s'; did you mean '%s'?", spec, name, nearest);
  return td_fail(TD_NOT_FOUND, "device '%s': no backend '%s'; `tandem devices` lists them", spec, name);
}

static td_status count_devices(const char *spec, const struct td_backend *backend, int32_t *out_count) {
  const char *reason = NULL;
  *out_count = backend->probe(&reason);
  if (*out_count > 0) return TD_OK;
  return td_fail(TD_UNAVAILABLE, "device '%s': backend %s has no device here: %s", spec, backend->name,
                 reason ? reason : "no reason given");
}

/* NULL: the backend names none. */
static const char *name_of(const struct td_backend *backend, int32_t index) {
  bool known = offsetof(struct td_backend, device_name) + sizeof backend->device_name <= backend->size;
  return known && backend->device_name ? backend->device_name(index) : NULL;
}

/* "0 'NVIDIA H200', 1 'AMD EPYC'", cut where the text ends. */
static void list_names(const struct td_backend *backend, int32_t count, char *out, size_t size) {
  size_t used = 0;
  for (int32_t i = 0; i < count && used + 1 < size; i++) {
    const char *name = name_of(backend, i);
    int bytes = snprintf(out + used, size - used, "%s%d '%s'", i ? ", " : "", (int)i, name ? name : "");
    used += bytes > 0 ? (size_t)bytes : 0;
  }
}

/* The one device whose name contains the text. */
static td_status match_name(const char *spec, const struct td_backend *backend, const char *text, int32_t count,
                            int32_t *out_index) {
  int32_t matches = 0;
  char names[600] = "";
  if (!name_of(backend, 0)) {
    return td_fail(TD_CONFIG, "device '%s': found '%s' after ':', expected a number: devices of %s have no names", spec,
                   text, backend->name);
  }
  for (int32_t i = count - 1; i >= 0; i--) {
    const char *name = name_of(backend, i);
    if (!name || !strcasestr(name, text)) continue;
    *out_index = i;
    matches++;
  }
  if (matches == 1) return TD_OK;
  list_names(backend, count, names, sizeof names);
  if (matches == 0) return td_fail(TD_NOT_FOUND, "device '%s': no name contains '%s'; found %s", spec, text, names);
  return td_fail(TD_CONFIG, "device '%s': %d names contain '%s', expected one; found %s", spec, (int)matches, text,
                 names);
}

static td_status check_index(const char *spec, const struct td_backend *backend, int32_t index, int32_t count) {
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
  struct wanted wanted;
  int32_t count, index;
  const struct td_backend *backend = NULL;
  TD_TRY(parse_spec(spec, &wanted));
  TD_TRY(find_named(spec, wanted.name, &backend));
  TD_TRY(count_devices(spec, backend, &count));
  index = wanted.index;
  if (wanted.text) TD_TRY(match_name(spec, backend, wanted.text, count, &index));
  TD_TRY(check_index(spec, backend, index, count));
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
