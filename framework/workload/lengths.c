/* SPDX-License-Identifier: Apache-2.0
 *
 * Lengths by law.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "stream.h"

#define STEPS_MAX ((size_t)4 << 20) /* 64 MiB of them */

/* A first line that begins with a word names the columns; nan and inf are no words. */
static bool is_header(const struct lines *lines, struct field first) {
  static const char *const numbers[] = {"nan", "inf", "infinity"};
  for (int i = 0; i < 3; i++) {
    if (first.bytes == strlen(numbers[i]) && !strncasecmp(first.at, numbers[i], first.bytes)) return false;
  }
  return lines->row == 1 && first.bytes && !memchr("0123456789-+.", *first.at, 13);
}

static td_status add_step(struct lengths *lengths, const struct lines *lines, char *line, size_t bytes) {
  struct field fields[TEXT_FIELDS_MAX];
  int32_t count;
  uint64_t tokens;
  double weight = 1;
  const char *trouble = fields_cut(line, bytes, fields, &count);
  if (trouble) return lines_fail(lines, "%s", trouble);
  if (is_header(lines, fields[0])) return TD_OK;
  if (count > 2) return lines_fail(lines, "found %d fields, expected length or length,weight", count);
  if (!field_count(fields[0], ROW_TOKENS_MAX, &tokens) || !tokens) {
    return lines_fail(lines, "found \"%.*s\", expected tokens, 1 to 10000000",
                      (int)(fields[0].bytes < 60 ? fields[0].bytes : 60), fields[0].at);
  }
  if (count == 2 && (!field_real(fields[1], &weight) || weight > 1e15)) {
    return lines_fail(lines, "found \"%.*s\", expected a weight, 0 to 1e15",
                      (int)(fields[1].bytes < 60 ? fields[1].bytes : 60), fields[1].at);
  }
  if (lengths->step_count == STEPS_MAX) return lines_fail(lines, "found over %zu lengths, expected fewer", STEPS_MAX);
  TD_TRY(td_grow((void **)&lengths->steps, &lengths->step_capacity, lengths->step_count + 1, sizeof *lengths->steps));
  double before = lengths->step_count ? lengths->steps[lengths->step_count - 1].up_to : 0;
  lengths->steps[lengths->step_count++] = (struct length_step){before + weight, (int64_t)tokens};
  return TD_OK;
}

static td_status read_steps(struct lengths *lengths, struct lines *lines) {
  char *line;
  size_t bytes;
  for (bool any = true; any;) {
    TD_TRY(lines_next(lines, &line, &bytes, &any));
    if (!any) break;
    TD_TRY(add_step(lengths, lines, line, bytes));
  }
  if (lengths->step_count && lengths->steps[lengths->step_count - 1].up_to > 0) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: found no length with a weight, expected at least one", lines->path);
}

static td_status read_file(const struct td_config *config, const char *key, struct lengths *lengths) {
  struct lines lines;
  char path[64];
  td_status status = lines_open(lengths->law->file, &lines);
  if (status == TD_CONFIG) {
    TD_TRY(td_format(path, sizeof path, "workload.source.%s.file", key));
    return td_config_fail(config, path, "%s", td_error_text());
  }
  if (!status) status = read_steps(lengths, &lines);
  lines_close(&lines);
  return status;
}

td_status lengths_open(const struct td_config *config, const char *key, const struct td_cfg_lengths *law,
                       enum draw_stream stream, uint64_t seed, struct lengths *out_lengths) {
  *out_lengths = (struct lengths){.law = law, .stream = stream, .seed = seed};
  if (law->law == TD_LAW_LOGNORMAL) {
    double square = draw_log(1 + law->cv * law->cv);
    out_lengths->sigma = sqrt(square);
    out_lengths->mu = draw_log(law->mean) - square / 2;
  }
  return law->law == TD_LAW_EMPIRICAL ? read_file(config, key, out_lengths) : TD_OK;
}

void lengths_close(struct lengths *lengths) {
  free(lengths->steps);
  lengths->steps = NULL;
}

static int64_t empirical(const struct lengths *lengths, double unit) {
  size_t low = 0, high = lengths->step_count - 1;
  double at = unit * lengths->steps[high].up_to;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (lengths->steps[middle].up_to > at) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return lengths->steps[low].tokens;
}

static int64_t rounded(const struct td_cfg_lengths *law, double tokens) {
  if (!(tokens < (double)law->high)) return law->high;
  int64_t whole = (int64_t)(tokens + 0.5);
  return whole < law->low ? law->low : whole > law->high ? law->high : whole;
}

int64_t lengths_draw(const struct lengths *lengths, uint64_t i) {
  const struct td_cfg_lengths *law = lengths->law;
  switch (law->law) {
    case TD_LAW_CONSTANT:
      return rounded(law, law->mean);
    case TD_LAW_UNIFORM:
      return law->low +
             (int64_t)(td_random_unit(lengths->seed, lengths->stream, i) * (double)(law->high - law->low + 1));
    case TD_LAW_LOGNORMAL: {
      double power = lengths->mu + lengths->sigma * draw_normal(lengths->seed, lengths->stream, i);
      return rounded(law, power < -690 ? 0 : power > 690 ? (double)law->high : draw_exp(power));
    }
    default:
      return rounded(law, (double)empirical(lengths, td_random_unit(lengths->seed, lengths->stream, i)));
  }
}
