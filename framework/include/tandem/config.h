/* SPDX-License-Identifier: Apache-2.0
 *
 * Configs: libconfig files read through option tables into typed structs.
 *
 * A component declares its keys once, as rows of td_option; parsing, defaults, ranges, "did you mean", --set, the
 * resolved print of `tandem check` and the docs all come from the rows. Unknown keys are errors with file:line and
 * the nearest known key. Strings inside parsed structs belong to the td_config and live until td_config_close.
 */
#ifndef TANDEM_CONFIG_H
#define TANDEM_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/status.h"

enum td_option_type {
  TD_OPT_INT,    /* int64_t; `low`..`high` */
  TD_OPT_REAL,   /* double; `low`..`high` */
  TD_OPT_BOOL,   /* bool */
  TD_OPT_TEXT,   /* const char * */
  TD_OPT_CHOICE, /* int; `choices` is "a|b|c", the value is the index */
  TD_OPT_PATH,   /* const char *; relative to the config file's folder (to the current one in --set), made absolute */
  TD_OPT_GROUP,  /* nested struct at offset; `group` describes it; absent groups get their defaults, or, with a
                    fallback (""), stay zero */
  TD_OPT_LIST,   /* struct td_list of nested structs; `group` describes the elements */
  TD_OPT_TEXTS   /* struct td_list of const char * */
};

#define TD_NO_INT INT64_MIN /* of an optional INT that is not given */
struct td_list {
  void *items; /* count elements of the group's size (or of const char *) */
  int32_t count;
};

struct td_option_group;
struct td_option {
  const char *name;
  enum td_option_type type;
  const char *unit;     /* "s", "GB/s", "tokens"; NULL if none */
  const char *fallback; /* the default, written as in a config; NULL: the key is required. REAL "nan": no value, as is
                           INT "none", which gives TD_NO_INT */
  const char *help;     /* one line */
  size_t offset;
  double low, high; /* inclusive bounds of INT and REAL, ignored when both are 0 */
  const char *choices;
  const struct td_option_group *group;
};
struct td_option_group {
  const char *name;                /* "engine", for messages and docs */
  size_t bytes;                    /* of the struct */
  const struct td_option *options; /* ends with a NULL name */
};

struct td_config;

/* Bounds, so that no file can hang or exhaust the program: 16 MiB with all included files, 64 nested brackets, 4096
 * keys in a group, 1,000,000 elements in a list, 256 included files up to 8 deep. @include "FILE" is relative to the
 * file it stands in; its values are reported with that file's own lines.
 *
 * Parses `path` and applies `sets` ("path=value", e.g. "engine.chunk_tokens=7", "cluster.pools.[0].count=2"; values in
 * libconfig syntax, and plain text is taken for a string). Everything that goes wrong is TD_CONFIG with
 * "FILE:LINE: KEY: found X, expected Y". */
td_status td_config_open(const char *path, const char *const *sets, int32_t set_count, struct td_config **out_config);
void td_config_close(struct td_config *config); /* NULL is fine; frees everything td_config_parse gave */

/* Reads the whole config through `group` into *out (group->bytes). */
td_status td_config_parse(struct td_config *config, const struct td_option_group *group, void *out);

/* Prints "path = value unit  # origin" for every key, defaults included, in table order. Origin: FILE:LINE, "--set" or
 * "default". As libconfig syntax: the output, fed back, parses to the same values. */
td_status td_config_print(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                          FILE *out);
/* The same without origins, as one string for the trace. *out_text is malloc'd. */
td_status td_config_text(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                         char **out_text);

/* The keys as a flat JSON array of {path, value, unit, origin}. */
void td_config_json(const struct td_config *config, const struct td_option_group *group, const void *parsed, FILE *out);

/* The reference of a table as Markdown, from its help texts. */
void td_config_help(const struct td_option_group *group, FILE *out);

/* TD_CONFIG for a value found wrong after parsing: "FILE:LINE: path: " + text, where `path` is a key path such as
 * "cluster.pools.[1].backend" ("--set path" if it came from there). */
td_status td_config_fail(const struct td_config *config, const char *path, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

const char *td_config_path(const struct td_config *config);

#endif
