/* SPDX-License-Identifier: Apache-2.0
 *
 * The YAML file beside a TraceV2 CSV: top-level "key: value" lines; what is indented belongs to a key that tandem has
 * no use for.
 */
#include <string.h>

#include "trace.h"

enum header_key { KEY_OTHER, KEY_VERSION, KEY_UNIT, KEY_MODE, KEY_WARM_UP };

static const struct {
  const char *name;
  enum header_key key;
} keys[] = {{"trace_version", KEY_VERSION},    {"time_unit", KEY_UNIT},   {"mode", KEY_MODE},
            {"warm_up_requests", KEY_WARM_UP}, {"created_at", KEY_OTHER}, {"workload_seed", KEY_OTHER},
            {"workload_spec", KEY_OTHER},      {"server", KEY_OTHER},     {"network", KEY_OTHER},
            {"goodput_slo_targets", KEY_OTHER}};

static struct field trimmed(const char *at, const char *end) {
  while (at < end && *at == ' ') at++;
  while (end > at && (end[-1] == ' ' || end[-1] == '\t')) end--;
  if (end - at >= 2 && (*at == '"' || *at == '\'') && end[-1] == *at) {
    at++;
    end--;
  }
  return (struct field){at, (size_t)(end - at)};
}

static td_status wrong(const struct lines *lines, const char *name, struct field found, const char *expected) {
  return lines_fail(lines, "%s: found \"%.*s\", expected %s", name, (int)(found.bytes < 60 ? found.bytes : 60),
                    found.at, expected);
}

static td_status check_value(const struct lines *lines, const char *name, enum header_key key, struct field value) {
  uint64_t count;
  switch (key) {
    case KEY_VERSION:
      if (field_is(value, "2") || field_is(value, "3")) return TD_OK;
      return wrong(lines, name, value, "2 or 3");
    case KEY_UNIT:
      return field_is(value, "microseconds") ? TD_OK : wrong(lines, name, value, "microseconds");
    case KEY_MODE:
      if (field_is(value, "real") || field_is(value, "generated") || field_is(value, "replayed")) return TD_OK;
      return wrong(lines, name, value, "real, generated or replayed");
    case KEY_WARM_UP:
      return field_count(value, INT32_MAX, &count) ? TD_OK : wrong(lines, name, value, "a whole number");
    default:
      return TD_OK;
  }
}

static td_status check_line(const struct lines *lines, const char *line, size_t bytes, unsigned *seen) {
  const char *colon = memchr(line, ':', bytes);
  if (*line == ' ' || *line == '#' || !strcmp(line, "---")) return TD_OK;
  struct field name = {line, colon ? (size_t)(colon - line) : bytes};
  for (size_t i = 0; colon && i < sizeof keys / sizeof *keys; i++) {
    if (!field_is(name, keys[i].name)) continue;
    if (*seen & 1u << i) return wrong(lines, "key", name, "each key once");
    *seen |= 1u << i;
    return check_value(lines, keys[i].name, keys[i].key, trimmed(colon + 1, line + bytes));
  }
  return wrong(lines, "key", name, "a key of a TraceV2 header: trace_version, time_unit, mode, ...");
}

static td_status check_lines(struct lines *lines) {
  char *line;
  size_t bytes;
  unsigned seen = 0;
  for (bool any = true; any;) {
    TD_TRY(lines_next(lines, &line, &bytes, &any));
    if (any) TD_TRY(check_line(lines, line, bytes, &seen));
  }
  if ((seen & 3) == 3) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: found no %s, expected a TraceV2 header", lines->path,
                 seen & 1 ? "time_unit" : "trace_version");
}

td_status blis_header_check(const char *path) {
  struct lines lines;
  TD_TRY(lines_open(path, &lines));
  td_status status = check_lines(&lines);
  lines_close(&lines);
  return status;
}
