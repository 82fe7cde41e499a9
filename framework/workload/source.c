/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "stream.h"

static bool has_file(const struct source *source) {
  return source->cfg->format != TD_SOURCE_GENERATED;
}

static bool has_own_arrivals(const struct source *source) {
  return source->cfg->arrivals != TD_ARRIVALS_TRACE && source->cfg->arrivals != TD_ARRIVALS_CLOSED;
}

static td_status open_parts(struct source *source, int64_t block) {
  const struct td_cfg_source *cfg = source->cfg;
  TD_TRY(td_ps_from_seconds(cfg->duration, &source->duration_ps));
  if (has_own_arrivals(source)) arrivals_open(cfg, source->seed, &source->arrivals);
  TD_TRY(lengths_open(source->config, "prompt", &cfg->prompt, DRAW_PROMPT, source->seed, &source->prompt));
  TD_TRY(lengths_open(source->config, "output", &cfg->output, DRAW_OUTPUT, source->seed, &source->output));
  return has_file(source) ? rows_open(source->config, cfg, block, source->seed, ROWS_KEPT_MAX, &source->rows) : TD_OK;
}

td_status source_open(const struct td_config *config, const struct td_cfg_source *cfg, int64_t block, uint64_t seed,
                      struct source *out_source) {
  *out_source = (struct source){.config = config, .cfg = cfg, .seed = draw_seed(seed)};
  td_status status = open_parts(out_source, block);
  if (status) source_close(out_source);
  return status;
}

void source_close(struct source *source) {
  if (!source->cfg) return;
  if (source->ready) session_close(source->head.session);
  if (has_file(source)) rows_close(&source->rows);
  lengths_close(&source->prompt);
  lengths_close(&source->output);
  source->cfg = NULL;
}

/* The lengths that the config asks for instead of the row's. */
static void shape_row(const struct source *source, uint64_t i, struct row *row) {
  const struct td_cfg_source *cfg = source->cfg;
  if (cfg->prompt.law) row->prompt = row->shared + lengths_draw(&source->prompt, i);
  if (cfg->output.law) row->output = lengths_draw(&source->output, i);
  if (cfg->most_prompt && row->prompt > cfg->most_prompt) row->prompt = cfg->most_prompt;
  if (cfg->most_output && row->output > cfg->most_output) row->output = cfg->most_output;
  if (row->output < cfg->least_output) row->output = cfg->least_output;
}

static td_status read_row(struct source *source, uint64_t i, struct unit *unit, bool *out_any) {
  *out_any = true;
  if (has_file(source)) {
    TD_TRY(time_of_key(source->config, "repeat", rows_next(&source->rows, i, &unit->row, out_any)));
  } else {
    unit->row = (struct row){.tier = -1};
  }
  if (*out_any) shape_row(source, i, &unit->row);
  return TD_OK;
}

static td_status read_unit(struct source *source, uint64_t i, struct unit *unit, bool *out_any) {
  unit->index = i;
  unit->session = NULL;
  if (source->cfg->format != TD_SOURCE_SESSIONS) {
    TD_TRY(read_row(source, i, unit, out_any));
    unit->at_ps = unit->row.at_ps;
    return TD_OK;
  }
  TD_TRY(time_of_key(source->config, "repeat", sessions_next(&source->sessions, &source->rows, &unit->session)));
  *out_any = unit->session != NULL;
  if (!*out_any) return TD_OK;
  unit->session->number = i + 1;
  unit->at_ps = unit->session->at_ps;
  return TD_OK;
}

static td_status place_unit(struct source *source, struct unit *unit) {
  const struct td_cfg_source *cfg = source->cfg;
  if (has_own_arrivals(source)) {
    return time_of_key(source->config, "rate", arrivals_next(&source->arrivals, unit->index, &unit->at_ps));
  }
  if (cfg->arrivals == TD_ARRIVALS_CLOSED) unit->at_ps = 0;
  if (cfg->scale == 1) return TD_OK;
  return time_of_key(source->config, "scale", time_scale(unit->at_ps, cfg->scale, &unit->at_ps));
}

static td_status too_few(const struct source *source) {
  const struct td_cfg_source *cfg = source->cfg;
  if (!cfg->requests || source->rows.trace.window_ended || cfg->end > 0) return TD_OK;
  return td_config_fail(source->config, "workload.source.requests",
                        "found %" PRIu64 " %s in %s, expected %" PRId64 "; repeat = true begins the file again",
                        source->given, cfg->format == TD_SOURCE_SESSIONS ? "sessions" : "rows", cfg->file,
                        cfg->requests);
}

td_status source_peek(struct source *source, bool *out_any) {
  const struct td_cfg_source *cfg = source->cfg;
  *out_any = source->ready;
  if (source->ready || source->ended) return TD_OK;
  source->ended = cfg->requests && source->given == (uint64_t)cfg->requests;
  if (source->ended) return TD_OK;
  TD_TRY(read_unit(source, source->given, &source->head, out_any));
  source->ready = *out_any;
  source->ended = !*out_any;
  if (source->ended) return too_few(source);
  TD_TRY(place_unit(source, &source->head));
  if (!source->duration_ps || source->head.at_ps < source->duration_ps) return TD_OK;
  session_close(source->head.session);
  source->ended = true;
  *out_any = source->ready = false;
  return TD_OK;
}

struct unit source_take(struct source *source) {
  source->ready = false;
  source->given++;
  return source->head;
}
