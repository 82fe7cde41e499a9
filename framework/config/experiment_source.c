/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of workload.source, and which of them need or exclude each other.
 */
#include "tandem/experiment_source.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "internal.h"
#include "options.h"

#define MOST_RATE 1e9
#define LEAST_BOUND 1e-9 /* s: what is less than a picosecond would read as no bound */
#define MOST_LEVELS 16
#define MOST_TIERS 16

static const struct td_option lengths_options[] = {
    CHOICE(td_cfg_lengths, law, "trace|constant|uniform|lognormal|empirical", "trace",
           "trace = as the file has it; constant = mean; uniform = whole numbers low to high; lognormal = of this mean "
           "and cv; empirical = drawn from the lengths in file"),
    KEY(td_cfg_lengths, mean, TD_OPT_REAL, "tokens", "0", 0, MOST_TOKENS, "of laws constant and lognormal"),
    KEY(td_cfg_lengths, cv, TD_OPT_REAL, NULL, "1", 1e-3, 20,
        "law lognormal: standard deviation by mean, before low and high cut"),
    KEY(td_cfg_lengths, low, TD_OPT_INT, "tokens", "1", 1, MOST_TOKENS, "least length; shorter draws become this"),
    KEY(td_cfg_lengths, high, TD_OPT_INT, "tokens", "10000000", 1, MOST_TOKENS,
        "greatest length; longer draws become this"),
    KEY(td_cfg_lengths, file, TD_OPT_PATH, NULL, "", 0, 0,
        "law empirical: a length per line, or length,weight; gzip too"),
    END};
static const struct td_option_group lengths_group = {"lengths", sizeof(struct td_cfg_lengths), lengths_options};

static const struct td_option prefix_options[] = {
    KEY(td_cfg_prefix, tokens, TD_OPT_INT, "tokens", NULL, 1, MOST_TOKENS, "length of this level's part"),
    KEY(td_cfg_prefix, choices, TD_OPT_INT, NULL, "1", 1, 1000000000,
        "different parts to choose from below each parent"),
    KEY(td_cfg_prefix, skew, TD_OPT_REAL, NULL, "0", 0, 4,
        "choice k is taken as often as 1 / k^skew says; 0 = all alike; at most 65536 choices with a skew"),
    KEY(td_cfg_prefix, share, TD_OPT_REAL, NULL, "1", 0, 1,
        "how many of the requests that have the level above have this one"),
    END};
static const struct td_option_group prefix_group = {"a prefix level", sizeof(struct td_cfg_prefix), prefix_options};

static const struct td_option tier_options[] = {
    KEY(td_cfg_tier, weight, TD_OPT_REAL, NULL, NULL, 0, 1e9, "how often, beside the other tiers' weights"), END};
static const struct td_option_group tier_group = {"a tier", sizeof(struct td_cfg_tier), tier_options};

static const struct td_option source_options[] = {
    CHOICE(td_cfg_source, format,
           "generated|azure|burstgpt|vidur|splitwise|mooncake|blis|sharegpt|apex|sessions|lengths", NULL,
           "what file is: docs/workloads.md has the columns of each; generated = no file, lengths by law"),
    KEY(td_cfg_source, file, TD_OPT_PATH, NULL, "", 0, 0, "the trace, plain or gzip"),
    KEY(td_cfg_source, header, TD_OPT_PATH, NULL, "", 0, 0,
        "format blis: the trace's YAML file, checked when given; the CSV's columns say the rest"),
    CHOICE(td_cfg_source, arrivals, "trace|poisson|gamma|constant|closed", "trace",
           "trace = the file's times; poisson, gamma, constant = the file's rows at times of their own; closed = a "
           "number of users, each asks again when answered"),
    KEY(td_cfg_source, rate, TD_OPT_REAL, "1/s", "0", 0, MOST_RATE,
        "arrivals poisson, gamma, constant: mean rate of requests (of sessions, with format sessions)"),
    KEY(td_cfg_source, cv, TD_OPT_REAL, NULL, "1", 0.01, 20,
        "arrivals gamma: standard deviation by mean of the time between two; 1 = poisson, more = bursts"),
    KEY(td_cfg_source, users, TD_OPT_INT, NULL, "0", 0, 10000000, "arrivals closed: how many ask"),
    KEY(td_cfg_source, think, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS,
        "arrivals closed: mean time from an answer (a session's last one) to the user's next request"),
    CHOICE(td_cfg_source, think_law, "constant|exponential", "constant", "arrivals closed: how that time is spread"),
    KEY(td_cfg_source, ramp, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS,
        "arrivals closed: the users begin one by one, evenly over this time; 0 = all at once"),
    KEY(td_cfg_source, scale, TD_OPT_REAL, NULL, "1", 1e-9, 1e9,
        "arrivals trace: factor on the trace's times; 0.5 = twice the rate"),
    KEY(td_cfg_source, begin, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS,
        "only rows from this time of the trace on, which becomes time 0"),
    KEY(td_cfg_source, end, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS, "only rows before this time of the trace; 0 = all"),
    KEY(td_cfg_source, duration, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS,
        "no request, and no session, begins at or after this time of the run; 0 = no such bound"),
    KEY(td_cfg_source, requests, TD_OPT_INT, NULL, "0", 0, 1e15,
        "how many requests (sessions, with format sessions); 0 = all there are; a file with fewer is an error without "
        "repeat"),
    KEY(td_cfg_source, repeat, TD_OPT_BOOL, NULL, "false", 0, 0,
        "at the end of the file begin it again: request i is row i mod rows; with arrivals trace its times go on from "
        "the last one, or from end"),
    KEY(td_cfg_source, draw, TD_OPT_BOOL, NULL, "false", 0, 0,
        "take rows at random, with replacement, instead of one after the other; for formats that are lengths only, of "
        "at most 8388608 rows, which are read at once"),
    KEY(td_cfg_source, skip_failed, TD_OPT_BOOL, NULL, "false", 0, 0,
        "formats burstgpt and blis: leave out requests that failed, which have no output, instead of refusing them"),
    KEY(td_cfg_source, least_output, TD_OPT_INT, "tokens", "1", 1, MOST_TOKENS, "shorter outputs become this long"),
    KEY(td_cfg_source, most_prompt, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "longer prompts become this long; 0 = any length; not with sessions"),
    KEY(td_cfg_source, most_output, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "longer outputs become this long; 0 = any length; not with sessions"),
    KEY(td_cfg_source, block_tokens, TD_OPT_INT, "tokens", "0", 0, 65536,
        "tokens of a block of shared prefix: what one of mooncake's hash_ids stands for, and how finely other prefixes "
        "and sessions are told; 0 = 512 with mooncake, else engine.block_tokens"),
    BELOW(td_cfg_source, prompt, TD_OPT_GROUP, "", &lengths_group, "prompt lengths; needed with format generated"),
    BELOW(td_cfg_source, output, TD_OPT_GROUP, "", &lengths_group, "output lengths; needed with format generated"),
    BELOW(td_cfg_source, prefixes, TD_OPT_LIST, "()", &prefix_group,
          "a tree of shared prefixes, from its root: each request takes a path, whose tokens come before its prompt's "
          "own and add to them"),
    BELOW(td_cfg_source, tiers, TD_OPT_LIST, "()", &tier_group,
          "tiers of service, the most urgent first, drawn by weight; () = the trace's (blis: slo_class), else one"),
    END};
const struct td_option_group td_source_group = {"a source", sizeof(struct td_cfg_source), source_options};

static td_status wrong(const struct td_config *config, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static td_status wrong(const struct td_config *config, const char *key, const char *format, ...) {
  char path[96], text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  TD_TRY(td_format(path, sizeof path, "workload.source.%s", key));
  return td_config_fail(config, path, "%s", text);
}

static bool has_own_rate(const struct td_cfg_source *source) {
  return source->arrivals == TD_ARRIVALS_POISSON || source->arrivals == TD_ARRIVALS_GAMMA ||
         source->arrivals == TD_ARRIVALS_CONSTANT;
}

/* Keys that would have no effect. */
static td_status check_idle(const struct td_config *config, const struct td_cfg_source *source) {
  bool closed = source->arrivals == TD_ARRIVALS_CLOSED;
  const struct {
    const char *key, *needs;
    bool idle;
  } keys[] = {
      {"rate", "arrivals = \"poisson\", \"gamma\" or \"constant\"", source->rate > 0 && !has_own_rate(source)},
      {"cv", "arrivals = \"gamma\"", source->cv != 1 && source->arrivals != TD_ARRIVALS_GAMMA},
      {"users", "arrivals = \"closed\"", source->users > 0 && !closed},
      {"think", "arrivals = \"closed\"", source->think > 0 && !closed},
      {"think_law", "think", source->think_law && !(source->think > 0)},
      {"ramp", "arrivals = \"closed\"", source->ramp > 0 && !closed},
      {"scale", "arrivals = \"trace\"", source->scale != 1 && source->arrivals != TD_ARRIVALS_TRACE},
      {"header", "format = \"blis\"", *source->header && source->format != TD_SOURCE_BLIS},
      {"skip_failed", "format = \"burstgpt\" or \"blis\"",
       source->skip_failed && source->format != TD_SOURCE_BURSTGPT && source->format != TD_SOURCE_BLIS},
  };
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
    if (keys[i].idle) return wrong(config, keys[i].key, "found it, expected it with %s only", keys[i].needs);
  }
  return TD_OK;
}

static td_status check_bound(const struct td_config *config, const char *key, double seconds) {
  if (!(seconds > 0) || seconds >= LEAST_BOUND) return TD_OK;
  return wrong(config, key, "found %g, expected 0, which is no bound, or at least %g", seconds, LEAST_BOUND);
}

static td_status check_arrivals(const struct td_config *config, const struct td_cfg_source *source) {
  if (has_own_rate(source) && !(source->rate > 0))
    return wrong(config, "rate", "found 0, expected requests per second");
  if (source->arrivals == TD_ARRIVALS_CLOSED && !source->users) {
    return wrong(config, "users", "found 0, expected at least 1 with arrivals = \"closed\"");
  }
  if (source->arrivals == TD_ARRIVALS_TRACE &&
      (source->format == TD_SOURCE_GENERATED || source->format == TD_SOURCE_LENGTHS)) {
    return wrong(config, "arrivals",
                 "found \"trace\", expected poisson, gamma, constant or closed: this format has no times");
  }
  bool endless = source->repeat || source->draw || source->format == TD_SOURCE_GENERATED;
  if (endless && !source->requests && !(source->duration > 0)) {
    return wrong(config, "requests", "found 0, expected a number, or a duration: the source has no end");
  }
  return TD_OK;
}

static td_status check_rows(const struct td_config *config, const struct td_cfg_source *source) {
  bool generated = source->format == TD_SOURCE_GENERATED, sessions = source->format == TD_SOURCE_SESSIONS;
  bool window = source->begin > 0 || source->end > 0;
  if (generated && *source->file) return wrong(config, "file", "found it with format = \"generated\", expected none");
  if (!generated && !*source->file) return wrong(config, "file", "found \"\", expected a trace");
  if (generated && source->repeat) return wrong(config, "repeat", "found it without a file, expected one");
  if (window && (generated || source->format == TD_SOURCE_LENGTHS)) {
    return wrong(config, source->end > 0 ? "end" : "begin", "found it, expected none: this format has no times");
  }
  if (source->end > 0 && source->end <= source->begin) {
    return wrong(config, "end", "found %g, expected more than begin, %g", source->end, source->begin);
  }
  if (source->draw && (generated || sessions || source->format == TD_SOURCE_MOONCAKE ||
                       source->format == TD_SOURCE_BLIS || source->repeat || source->arrivals == TD_ARRIVALS_TRACE)) {
    return wrong(config, "draw",
                 "found it, expected a file of lengths, other arrivals than the trace's, and no repeat");
  }
  if (!sessions || (!source->most_prompt && !source->most_output && source->least_output == 1)) return TD_OK;
  return wrong(config,
               source->most_prompt   ? "most_prompt"
               : source->most_output ? "most_output"
                                     : "least_output",
               "found it, expected none with format = \"sessions\": a turn's prompt holds the answers before it");
}

/* Lengths are the file's as it has them. */
static td_status check_no_law(const struct td_config *config, const struct td_cfg_source *source, const char *name,
                              const struct td_cfg_lengths *lengths) {
  bool given = lengths->file != NULL;
  if (source->format == TD_SOURCE_GENERATED) {
    return wrong(config, name, "found no law, expected one with format = \"generated\"");
  }
  if (given && (lengths->mean > 0 || *lengths->file)) return wrong(config, name, "found no law, expected one");
  if (!given || (lengths->cv == 1 && lengths->low == 1 && lengths->high == MOST_TOKENS)) return TD_OK;
  return wrong(config, name,
               "found cv, low or high without a law, expected one (most_prompt, most_output and least_output cut the "
               "file's lengths)");
}

static td_status check_lengths(const struct td_config *config, const struct td_cfg_source *source, const char *name,
                               const struct td_cfg_lengths *lengths) {
  char key[32];
  bool given = lengths->file != NULL, with_mean = lengths->law == TD_LAW_CONSTANT || lengths->law == TD_LAW_LOGNORMAL;
  if (lengths->law == TD_LAW_TRACE) return check_no_law(config, source, name, lengths);
  if (source->format == TD_SOURCE_SESSIONS || source->format == TD_SOURCE_MOONCAKE) {
    return wrong(config, name, "found it, expected none: this format's lengths and prefixes belong together");
  }
  TD_TRY(td_format(key, sizeof key, "%s.mean", name));
  if (with_mean && !(lengths->mean >= 1)) return wrong(config, key, "found %g, expected at least 1", lengths->mean);
  if (!with_mean && lengths->mean > 0) return wrong(config, key, "found it, expected it with another law");
  TD_TRY(td_format(key, sizeof key, "%s.cv", name));
  if (lengths->law != TD_LAW_LOGNORMAL && lengths->cv != 1) {
    return wrong(config, key, "found it, expected it with law = \"lognormal\" only");
  }
  TD_TRY(td_format(key, sizeof key, "%s.high", name));
  if (lengths->high < lengths->low) return wrong(config, key, "found less than low, expected as much or more");
  TD_TRY(td_format(key, sizeof key, "%s.file", name));
  if (lengths->law == TD_LAW_EMPIRICAL && !*lengths->file) return wrong(config, key, "found \"\", expected a file");
  if (lengths->law != TD_LAW_EMPIRICAL && given && *lengths->file) {
    return wrong(config, key, "found it, expected it with law = \"empirical\" only");
  }
  return TD_OK;
}

static td_status check_prefixes(const struct td_config *config, const struct td_cfg_source *source) {
  const struct td_list *list = &source->prefixes;
  const struct td_cfg_prefix *level = list->items;
  int64_t tokens = 0;
  if (!list->count) return TD_OK;
  if (source->format == TD_SOURCE_SESSIONS || source->format == TD_SOURCE_MOONCAKE ||
      source->format == TD_SOURCE_BLIS) {
    return wrong(config, "prefixes", "found them, expected none: this format brings its own");
  }
  if (list->count > MOST_LEVELS) {
    return wrong(config, "prefixes", "found a list of %d, expected at most %d levels", list->count, MOST_LEVELS);
  }
  for (int32_t i = 0; i < list->count; i++) {
    char key[40];
    TD_TRY(td_format(key, sizeof key, "prefixes.[%d].tokens", i));
    tokens += level[i].tokens;
    if (tokens > MOST_TOKENS) {
      return wrong(config, key, "found %" PRId64 " tokens down to here, expected at most %d", tokens, MOST_TOKENS);
    }
    TD_TRY(td_format(key, sizeof key, "prefixes.[%d].choices", i));
    if (level[i].skew > 0 && level[i].choices > 65536) {
      return wrong(config, key, "found over 65536 with a skew, expected fewer");
    }
  }
  return TD_OK;
}

static td_status check_tiers(const struct td_config *config, const struct td_cfg_source *source) {
  const struct td_cfg_tier *tier = source->tiers.items;
  double sum = 0;
  if (source->tiers.count > MOST_TIERS) {
    return wrong(config, "tiers", "found a list of %d, expected at most %d", source->tiers.count, MOST_TIERS);
  }
  for (int32_t i = 0; i < source->tiers.count; i++) sum += tier[i].weight;
  if (!source->tiers.count || sum > 0) return TD_OK;
  return wrong(config, "tiers", "found weights of 0 only, expected one above");
}

td_status td_cfg_check_source(const struct td_config *config, const struct td_cfg_source *source) {
  TD_TRY(check_idle(config, source));
  TD_TRY(check_bound(config, "end", source->end));
  TD_TRY(check_bound(config, "duration", source->duration));
  TD_TRY(check_arrivals(config, source));
  TD_TRY(check_rows(config, source));
  TD_TRY(check_lengths(config, source, "prompt", &source->prompt));
  TD_TRY(check_lengths(config, source, "output", &source->output));
  TD_TRY(check_prefixes(config, source));
  return check_tiers(config, source);
}
