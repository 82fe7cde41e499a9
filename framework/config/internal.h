/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/config: the tree a config is kept in, and the steps between a file and a typed struct:
 * scan.c (text and @include, bounded) -> tree.c (libconfig -> nodes) -> set.c (--set) -> parse.c (option tables).
 */
#ifndef TANDEM_CONFIG_INTERNAL_H
#define TANDEM_CONFIG_INTERNAL_H

#include "tandem/base.h"
#include "tandem/config.h"

#define CFG_MAX_BYTES (16u << 20) /* of a config with everything it includes */
#define CFG_MAX_DEPTH 64          /* nested brackets */
#define CFG_MAX_INCLUDES 256      /* files */
#define CFG_MAX_INCLUDE_DEPTH 8   /* includes within includes */
#define CFG_MAX_KEYS 4096         /* in one group; libconfig looks for duplicates one by one */
#define CFG_MAX_ITEMS 1000000     /* of one list */
#define CFG_FROM_SET (-1)         /* as a file number: the value came from --set */
#define CFG_NAME_BYTES 256        /* of one key in a path, with its NUL */
#define CFG_MAX_SET_PATH 1000     /* bytes of a --set path */
#define CFG_SHOWN 96              /* bytes of a found value that a message shows */

enum cfg_type { CFG_GROUP, CFG_LIST, CFG_INT, CFG_REAL, CFG_BOOL, CFG_TEXT };

/* One setting, owned by the config's arena. Children of a group have names, those of a list have none. */
struct cfg_node {
  const char *name;
  const char *raw; /* --set: the value as typed, for keys that want text */
  struct cfg_node *children;
  union {
    int64_t integer;
    double real;
    bool boolean;
    const char *text;
  } value;
  int32_t count, file, line;
  enum cfg_type type;
};

struct cfg_block {
  struct cfg_block *next;
};

struct td_config {
  const char *path;   /* as given */
  const char *folder; /* absolute, for relative paths inside */
  const char *files[CFG_MAX_INCLUDES + 1];
  int32_t file_count;
  struct cfg_node root;
  struct cfg_block *blocks; /* arena */
  char *room;
  size_t room_bytes;
};

/* Where lines of the scanned text come from. */
struct cfg_line {
  int32_t scanned, file, line;
};
struct cfg_scanned {
  struct td_text text;
  struct cfg_line *lines;
  size_t line_count, line_capacity;
};

/* A key path on the way down, for messages. name NULL: element `index` of a list. */
struct cfg_path {
  const struct cfg_path *up;
  const char *name;
  int32_t index;
};

/* arena.c: zeroed memory and text that live as long as the config. */
td_status td_cfg_alloc(struct td_config *config, size_t count, size_t size, void **out);
td_status td_cfg_copy(struct td_config *config, const char *text, size_t bytes, const char **out);
void td_cfg_release(struct td_config *config);

/* scan.c: reads files[0] of the config with all its includes / the text of a --set value. */
td_status td_cfg_scan_file(struct td_config *config, struct cfg_scanned *out);
td_status td_cfg_scan_text(struct td_config *config, const char *text, struct cfg_scanned *out);
void td_cfg_scanned_free(struct cfg_scanned *scanned);
void td_cfg_origin_of(const struct cfg_scanned *scanned, int32_t scanned_line, int32_t *out_file, int32_t *out_line);

/* number.c: checks and rewrites the number at `at`: libconfig 1.5 narrows silently. Returns the bytes of the token, 0
 * if it does not fit in 64 bits. */
size_t td_cfg_number(const char *at, char *out, size_t size);

/* tree.c */
td_status td_cfg_tree(struct td_config *config, const struct cfg_scanned *scanned, struct cfg_node *out_root);
struct cfg_node *td_cfg_member(const struct cfg_node *group, const char *name);

/* set.c */
td_status td_cfg_set(struct td_config *config, const char *assignment);

/* locate.c */
bool td_cfg_next_part(const char **path, char *name, size_t size, int32_t *out_index);
/* The node of a key path; the deepest existing one on the way if it is absent. */
const struct cfg_node *td_cfg_locate(const struct td_config *config, const char *path, bool *out_exact);

/* message.c */
void td_cfg_path_text(const struct cfg_path *path, struct td_text *out);
void td_cfg_shorten(const char *text, char *out, size_t size); /* for messages: quoted, cut at CFG_SHOWN */
void td_cfg_found(const struct cfg_node *node, char *out, size_t size);
void td_cfg_expected(const struct td_option *option, struct td_text *out);
/* "FILE:LINE: path: found X, expected Y". node: whose place is named. */
td_status td_cfg_wrong(const struct td_config *config, const struct cfg_path *path, const struct cfg_node *node,
                       const struct td_option *option);
td_status td_cfg_fail_at(const struct td_config *config, const struct cfg_path *path, const struct cfg_node *node,
                         const char *text);
void td_cfg_nearest(const struct td_option_group *group, const char *name, struct td_text *out);
int td_cfg_choice_count(const char *choices);
/* The i-th choice: its bytes and length. */
const char *td_cfg_choice_at(const char *choices, int i, int *out_bytes);

/* value.c: one option's value out of a node, or out of its fallback text. */
td_status td_cfg_value(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                       const struct cfg_node *node, void *field);
td_status td_cfg_fallback(struct td_config *config, const struct td_option *option, void *field);

/* print.c */
void td_cfg_real_text(double value, char *out, size_t size);
void td_cfg_print_value(struct td_text *out, const struct td_option *option, const void *field);
void td_cfg_origin_text(const struct td_config *config, const struct cfg_node *node, char *out, size_t size);
bool td_cfg_is_absent(const struct td_option *option, const struct cfg_node *node, const void *field);

/* resolve.c: a path as written -> absolute, ${TANDEM_CACHE} expanded. from_shell: relative to the current folder, not
 * to the config's. *out_trouble is set, to a static text, when the path itself is wrong. */
td_status td_cfg_resolve(struct td_config *config, const char *text, bool from_shell, const char **out,
                         const char **out_trouble);

/* ---- experiment_faults.c ---- */

struct td_cfg_cluster;
extern const struct td_option_group td_cfg_failures_group, td_cfg_outage_group; /* of a pool */
td_status td_cfg_check_faults(const struct td_config *config, const struct td_cfg_cluster *cluster);

/* ---- experiment_check.c ---- */

/* A name that machines of a pool and trace rows can have; `path` is where it stands. */
td_status td_cfg_check_pool_name(const struct td_config *config, const char *path, const char *name);
/* Opens the device file that `device` of list element `list`.[index] names and checks its kind (enum td_device_kind); a
 * path relative to the config's folder is made absolute. */
td_status td_cfg_check_device(struct td_config *config, const char *list, int32_t index, int kind, const char **device);

/* ---- experiment_tools.c ---- */

extern const struct td_option_group td_cfg_orchestrators_group; /* of the cluster */
td_status td_cfg_check_orchestrators(struct td_config *config, const struct td_cfg_cluster *cluster);

/* ---- experiment_lpu.c ---- */

struct td_experiment;
/* Checks pool `index`: its group lpu, and what a pool of backend lpu asks of the rest. */
td_status td_cfg_check_lpu(const struct td_config *config, const struct td_experiment *experiment, int32_t index);

/* ---- experiment_source.c ---- */

struct td_cfg_source;
extern const struct td_option_group td_source_group;
/* What the table cannot say of workload.source: keys that need or exclude each other. */
td_status td_cfg_check_source(const struct td_config *config, const struct td_cfg_source *source);

#endif
