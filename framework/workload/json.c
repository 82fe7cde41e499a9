/* SPDX-License-Identifier: Apache-2.0
 *
 * Mooncake's JSON lines: objects of known keys with numbers, and one list of numbers. Read in one pass, without a tree.
 */
#include <inttypes.h>
#include <string.h>

#include "trace.h"

struct scan {
  struct trace *trace;
  const char *at, *end;
  struct row *row;
  struct instant *time;
};

static void skip_blanks(struct scan *scan) {
  while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\t')) scan->at++;
}

static bool take(struct scan *scan, char c) {
  skip_blanks(scan);
  if (scan->at == scan->end || *scan->at != c) return false;
  scan->at++;
  return true;
}

static td_status expected(const struct scan *scan, const char *what) {
  int left = scan->end - scan->at < 24 ? (int)(scan->end - scan->at) : 24;
  if (!left) return lines_fail(&scan->trace->lines, "found the end of the line, expected %s", what);
  return lines_fail(&scan->trace->lines, "found \"%.*s\", expected %s", left, scan->at, what);
}

/* The characters a number can have; what they are worth is for its reader. */
static struct field number(struct scan *scan) {
  skip_blanks(scan);
  const char *begin = scan->at;
  while (scan->at < scan->end && !strchr(",]} \t", *scan->at)) scan->at++;
  return (struct field){begin, (size_t)(scan->at - begin)};
}

static td_status read_tokens(struct scan *scan, const char *name, int64_t *out) {
  struct field field = number(scan);
  uint64_t value;
  if (!field_count(field, ROW_TOKENS_MAX, &value) || !value) {
    return trace_wrong(scan->trace, name, field, "tokens, 1 to 10000000");
  }
  *out = (int64_t)value;
  return TD_OK;
}

static td_status read_hashes(struct scan *scan) {
  struct trace *trace = scan->trace;
  size_t count = 0;
  if (!take(scan, '[')) return expected(scan, "a list of hash ids");
  bool more = !take(scan, ']');
  while (more) {
    TD_TRY(td_grow((void **)&trace->hashes, &trace->hash_capacity, count + 1, sizeof *trace->hashes));
    struct field field = number(scan);
    if (!field_count(field, UINT64_MAX, &trace->hashes[count])) {
      return trace_wrong(trace, "hash_ids", field, "whole numbers");
    }
    count++;
    more = take(scan, ',');
    if (!more && !take(scan, ']')) return expected(scan, "a comma or ]");
  }
  scan->row->hashes = trace->hashes;
  scan->row->hash_count = (int32_t)count;
  return TD_OK;
}

static td_status read_value(struct scan *scan, const struct column *column) {
  if (column->kind == COLUMN_PREFIX) return read_hashes(scan);
  if (column->kind == COLUMN_PROMPT) return read_tokens(scan, column->name, &scan->row->prompt);
  if (column->kind == COLUMN_OUTPUT) return read_tokens(scan, column->name, &scan->row->output);
  struct field field = number(scan);
  if (field_time(field, scan->trace->format->power, scan->time)) return TD_OK;
  return trace_wrong(scan->trace, column->name, field, "a time in ms, not negative");
}

/* "name": value, of a name not seen yet. */
static td_status read_pair(struct scan *scan, unsigned *seen) {
  const struct column *columns = scan->trace->format->columns, *column = columns;
  if (!take(scan, '"')) return expected(scan, "a key in quotes");
  const char *close = memchr(scan->at, '"', (size_t)(scan->end - scan->at));
  if (!close) return expected(scan, "a key in quotes");
  struct field name = {scan->at, (size_t)(close - scan->at)};
  while (column->name && !field_is(name, column->name)) column++;
  if (!column->name) {
    return trace_wrong(scan->trace, "key", name, "timestamp, input_length, output_length or hash_ids");
  }
  if (*seen & 1u << (column - columns)) return trace_wrong(scan->trace, "key", name, "each key once");
  *seen |= 1u << (column - columns);
  scan->at = close + 1;
  if (!take(scan, ':')) return expected(scan, "a colon");
  return read_value(scan, column);
}

static td_status check_row(const struct scan *scan, unsigned seen) {
  const struct trace *trace = scan->trace;
  const struct row *row = scan->row;
  int64_t block = trace->block, blocks = (row->prompt + block - 1) / block;
  for (int i = 0; trace->format->columns[i].name; i++) {
    if (seen & 1u << i) continue;
    return lines_fail(&trace->lines, "found no key %s, expected it", trace->format->columns[i].name);
  }
  if (row->hash_count == blocks) return TD_OK;
  return lines_fail(&trace->lines,
                    "hash_ids: found %d, expected %" PRId64 ": input_length %" PRId64 " in blocks of %" PRId64
                    " tokens",
                    row->hash_count, blocks, row->prompt, block);
}

td_status json_row(struct trace *trace, const char *line, size_t bytes, struct row *out_row, struct instant *out_time) {
  struct scan scan = {trace, line, line + bytes, out_row, out_time};
  unsigned seen = 0;
  bool more = true;
  if (!take(&scan, '{')) return expected(&scan, "an object { ... }");
  while (more) {
    TD_TRY(read_pair(&scan, &seen));
    more = take(&scan, ',');
  }
  if (!take(&scan, '}')) return expected(&scan, "a comma or }");
  skip_blanks(&scan);
  if (scan.at < scan.end) return expected(&scan, "the end of the line");
  return check_row(&scan, seen);
}
