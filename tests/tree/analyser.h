/* SPDX-License-Identifier: Apache-2.0
 *
 * Included in front of every file that clang-tidy looks at: says what it cannot see, that a failure is never TD_OK.
 */
#ifndef TESTS_TREE_ANALYSER_H
#define TESTS_TREE_ANALYSER_H

#include "tandem/status.h"

#define td_fail(code, ...) (td_fail(code, __VA_ARGS__), (td_status)(code))
#define td_fail_within(code, ...) (td_fail_within(code, __VA_ARGS__), (td_status)(code))

#endif
