/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening spoiled files in a child process that is watched: it must not crash, take over 10 s for one file, or use more
 * memory than twice the file and 100 MB.
 */
#ifndef TESTS_HOSTILE_VICTIM_H
#define TESTS_HOSTILE_VICTIM_H

#include <stdbool.h>
#include <stddef.h>

/* Writes case `index` to the scratch file, and a name of it for messages. */
typedef void victim_make(void *context, int index, char *name, size_t size);

/* Opens `count` files in a child, which fails the test with the case's name. opened[i] says whether case i was read
 * (may be NULL). `file_bytes` bounds the memory. Returns how many opened. */
int victim_open_all(const char *path, int count, size_t file_bytes, victim_make *make, void *context, bool *opened);

/* Runs `tandem eval` on the scratch file as it is: it must end in 10 s with code 0, or with one line and code 1 or 2.
 */
void victim_eval(const char *path, const char *ids, size_t file_bytes, const char *name);

#endif
