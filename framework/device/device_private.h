/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of framework/device share and nobody else sees.
 */
#ifndef TD_DEVICE_PRIVATE_H
#define TD_DEVICE_PRIVATE_H

#include "tandem/device.h"

/* A table entry, or NULL: entries beyond the size an older table declares are absent. */
#define TD_ENTRY(device, entry)                                                                      \
  (offsetof(struct td_device_table, entry) + sizeof((device)->table->entry) <= (device)->table->size \
       ? (device)->table->entry                                                                      \
       : NULL)

/* ---- books of the buffers handed out (buffers.c) ---- */

td_status td_books_open(struct td_device_books **out_books);
void td_books_close(struct td_device_books *books);
td_status td_books_add(struct td_device_books *books, struct td_buffer *buffer, uint64_t bytes);
void td_books_remove(struct td_device_books *books, const struct td_buffer *buffer);
/* False if the device never handed this buffer out. */
bool td_books_find(const struct td_device_books *books, const struct td_buffer *buffer, uint64_t *out_bytes);

/* td_device_read without the wait: dst is filled when the device has synced past it (calls.c). */
td_status td_device_enqueue_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                                 uint64_t bytes);

/* TD_INTERNAL naming the operand that breaks the contract of enum td_op_kind (opcheck.c). */
td_status td_op_call_check(const struct td_device *device, const struct td_op_call *call);
/* TD_UNSUPPORTED for what is priced only, so that no backend need ask. */
td_status td_op_query_check(const struct td_op_query *query);

/* "cpu:0", for messages. */
struct td_device_label {
  char text[TD_NAME_BYTES];
};
struct td_device_label td_device_label(const struct td_device *device);

/* ---- one layer's cache positions as host bytes in canonical order (kv_copy.c) ---- */

uint64_t td_kv_view_token_bytes(const struct td_kv_view *view);
/* Exports are there after td_device_kv_exported, once for many; imports have read k and v when they return. */
td_status td_device_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              void *k, void *v);
td_status td_device_kv_exported(struct td_device *device);
td_status td_device_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                              const void *k, const void *v);
td_status td_device_kv_truncate(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq);

#endif
