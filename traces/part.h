/* SPDX-License-Identifier: Apache-2.0
 *
 * The file under a trace while it is written: an HDF5 file driver that keeps every write in memory until
 * td_part_commit puts all of them into the file at once.
 *
 * Why not HDF5's own driver: it writes whenever it likes, so a kill can meet a half-written file, and a full disk
 * reaches HDF5 in the middle of its work, after which closing the file fails or crashes. Here HDF5 never sees an I/O
 * error, what counts of the file changes only during a commit, and a commit first claims the space it needs, then
 * writes new data, and only then the metadata that makes it visible. Rows behind the end of what counts go to the file
 * at once: until the commit nothing points to them, and a failure there is told by the next check or commit. Whole
 * pages of rows from memory that begins at one go there past the system's page cache.
 */
#ifndef TRACES_PART_H
#define TRACES_PART_H

#include <hdf5.h>
#include <stdint.h>

#include "tandem/status.h"

struct td_part;

/* Creates the file `path`, empty, in place of what an ended run left there; TD_IO names it and the system's reason if
 * it cannot be made, or that another run, here or in another process, is writing it. */
td_status td_part_create(const char *path, struct td_part **out_part);
/* Gives the file its name, in place of what an ended run left there; TD_IO as above, and it keeps its old one. */
td_status td_part_publish(struct td_part *part, const char *path);
/* A file access list for H5Fcreate that writes into `part`. Negative on failure. The part outlives the HDF5 file. */
hid_t td_part_access(struct td_part *part);
/* TD_IO if rows that HDF5 wrote since the last commit found no room: no commit will succeed any more. */
td_status td_part_check(const struct td_part *part);
/* Brings the file up to everything HDF5 has written. On TD_IO nothing that was readable before is lost. */
td_status td_part_commit(struct td_part *part);
/* True if `path` still names this file. */
int td_part_is(const struct td_part *part, const char *path);
/* Closes the file without a commit. NULL is fine. */
void td_part_free(struct td_part *part);

#endif
