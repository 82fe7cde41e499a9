/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/config: how the rows of an option table are written.
 */
#ifndef TANDEM_CONFIG_OPTIONS_H
#define TANDEM_CONFIG_OPTIONS_H

#include <stddef.h>

#include "tandem/config.h"

#define KEY(struct_, field, type_, unit_, default_, low_, high_, help_)                \
  {                                                                                    \
    .name = #field, .type = type_, .unit = unit_, .fallback = default_, .help = help_, \
    .offset = offsetof(struct struct_, field), .low = low_, .high = high_              \
  }
#define TEXT(struct_, field, default_, help_) KEY(struct_, field, TD_OPT_TEXT, NULL, default_, 0, 0, help_)
#define CHOICE(struct_, field, choices_, default_, help_)                       \
  {                                                                             \
    .name = #field, .type = TD_OPT_CHOICE, .fallback = default_, .help = help_, \
    .offset = offsetof(struct struct_, field), .choices = choices_              \
  }
#define BELOW(struct_, field, type_, default_, group_, help_)                                                      \
  {                                                                                                                \
    .name = #field, .type = type_, .fallback = default_, .help = help_, .offset = offsetof(struct struct_, field), \
    .group = group_                                                                                                \
  }
#define END \
  { .name = NULL }

#define MOST_TOKENS 10000000
#define MOST_SECONDS 9000000 /* 104 days; time is int64 picoseconds */

#endif
