/* SPDX-License-Identifier: Apache-2.0
 *
 * The HDF5 file of `tandem eval`. It grows as FILE.part and gets its name when it is complete.
 */
#ifndef TD_EVAL_FILE_H
#define TD_EVAL_FILE_H

#include "eval_pass.h"

struct td_eval_file;

/* Creates PATH.part; TD_IO names the path and the reason. With logits, room for [count, vocab] float32. */
td_status td_eval_file_create(const char *path, int64_t count, int32_t vocab, bool logits,
                              struct td_eval_file **out_file);
/* A td_eval_sink; context is the file. */
td_status td_eval_file_logits(void *context, int64_t first, int64_t count, const float *logits);
/* A text or number that says how the file came to be. */
td_status td_eval_file_note(struct td_eval_file *file, const char *name, const char *text);
td_status td_eval_file_number(struct td_eval_file *file, const char *name, double value);
/* Writes the rows and renames. Frees the file even on failure, and then PATH.part is gone. */
td_status td_eval_file_finish(struct td_eval_file *file, const struct td_eval_rows *rows, bool greedy);
/* Removes PATH.part and frees. NULL is fine. */
void td_eval_file_abandon(struct td_eval_file *file);

#endif
