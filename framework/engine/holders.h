/* SPDX-License-Identifier: Apache-2.0
 *
 * Who has a block in its prefix cache? For each key the workers that do, by number.
 */
#ifndef ENGINE_HOLDERS_H
#define ENGINE_HOLDERS_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

/* Most keys are on few workers. */
enum { HOLDERS_FEW = 2 };
struct holder_list {
  uint64_t key;
  union {
    int32_t few[HOLDERS_FEW];
    int32_t *many; /* [capacity] */
  } workers;
  int32_t count, capacity; /* count 0: no key's; capacity 0: the workers are in `few` */
};
struct holders {
  struct holder_list *slots; /* [slot_count]: by key; a power of two, at most half full */
  size_t slot_count, used;
};

void holders_close(struct holders *holders); /* of one that is zero, too */
/* Of a key that the worker does not have yet; and of one that it has. */
td_status holders_add(struct holders *holders, uint64_t key, int32_t worker);
void holders_remove(struct holders *holders, uint64_t key, int32_t worker);
/* How many have the key, and who, until the next change. */
int32_t holders_of(const struct holders *holders, uint64_t key, const int32_t **out_workers);

#endif
