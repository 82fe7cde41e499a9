/* SPDX-License-Identifier: Apache-2.0
 *
 * A device with numbers set, for studies: "lpu-imagined:lpu.mem_words=8192,lpu.links_used=32".
 */
#include <stdlib.h>
#include <string.h>

#include "device_folder.h"
#include "tandem/base.h"

enum { MOST_SETS = 32, KEYS = 5, TEXT_BYTES = 160 };

/* What one KEY=VALUE comes to in the file's terms. The file's own range has to hold first; then there is none. */
struct sets {
  char texts[MOST_SETS * KEYS][TEXT_BYTES];
  const char *own[MOST_SETS * KEYS], *chip[MOST_SETS * KEYS];
  int32_t count, own_count, chip_count;
};

const char *td_device_spec_of(const char *name_or_path) {
  const char *colon = strchr(name_or_path, ':');
  return colon && strchr(colon, '=') ? colon + 1 : NULL;
}

static td_status add_text(struct sets *sets, bool of_chip, const char *key, int key_bytes, const char *field,
                          const char *value, int value_bytes) {
  char *text = sets->texts[sets->count++];
  if (of_chip) {
    sets->chip[sets->chip_count++] = text;
  } else {
    sets->own[sets->own_count++] = text;
  }
  return td_format(text, TEXT_BYTES, "%.*s.%s=%.*s", key_bytes, key, field, value_bytes, value);
}

static td_status add_set(struct sets *sets, bool of_chip, bool last, const char *set, int bytes) {
  static const char source[] = "set where the device is named";
  const char *equals = memchr(set, '=', (size_t)bytes);
  if (!equals || equals == set || equals == set + bytes - 1) {
    return td_fail(TD_CONFIG, "device: found \"%.*s\", expected KEY=VALUE, as lpu.mem_words=8192", bytes, set);
  }
  if (sets->count + KEYS > MOST_SETS * KEYS) {
    return td_fail(TD_CONFIG, "device: found over %d numbers set, expected at most as many", MOST_SETS);
  }
  int key = (int)(equals - set), value = bytes - key - 1;
  TD_TRY(add_text(sets, of_chip, set, key, "value", equals + 1, value));
  if (!last) return TD_OK;
  TD_TRY(add_text(sets, of_chip, set, key, "low", equals + 1, value));
  TD_TRY(add_text(sets, of_chip, set, key, "high", equals + 1, value));
  TD_TRY(add_text(sets, of_chip, set, key, "evidence", "assumed", 7));
  return add_text(sets, of_chip, set, key, "source", source, (int)sizeof source - 1);
}

static td_status split(const char *spec, bool system, bool last, struct sets *out) {
  memset(out, 0, sizeof *out);
  for (const char *set = spec; set;) {
    const char *comma = strchr(set, ',');
    int bytes = comma ? (int)(comma - set) : (int)strlen(set);
    TD_TRY(add_set(out, system && strncmp(set, "lpu.", 4) == 0, last, set, bytes));
    set = comma ? comma + 1 : NULL;
  }
  return TD_OK;
}

static td_status open_with(const char *file, const char *spec, bool system, bool last, struct sets *room,
                           struct td_device_params **out) {
  TD_TRY(split(spec, system, last, room));
  const struct td_device_sets sets = {room->own, room->chip, room->own_count, room->chip_count};
  return td_device_file_open(file, true, &sets, out);
}

td_status td_device_spec_open(const char *file, const char *spec, struct td_device_params **out_params) {
  struct td_device_params *plain = NULL;
  void *room = NULL;
  TD_TRY(td_device_file_open(file, true, NULL, &plain));
  bool system = plain->chip != NULL;
  td_device_params_close(plain);
  TD_TRY(td_alloc(1, sizeof(struct sets), &room));
  td_status status = open_with(file, spec, system, false, room, &plain);
  if (!status) {
    td_device_params_close(plain);
    status = open_with(file, spec, system, true, room, out_params);
  }
  free(room);
  return status;
}
