/* SPDX-License-Identifier: Apache-2.0 */
#include "messages.h"

td_status message_make(enum message_type type, int32_t worker, struct td_text *text, struct td_message *out_message) {
  if (text->failed) {
    td_text_free(text);
    return td_fail(TD_NO_MEMORY, "no memory for a message");
  }
  *out_message =
      (struct td_message){.type = (uint32_t)type, .worker = (uint32_t)worker, .bytes = text->bytes, .data = text->data};
  *text = (struct td_text){0};
  return TD_OK;
}

struct reader reader_of(const struct td_message *message) {
  return (struct reader){.at = message->data, .left = message->bytes};
}

const void *reader_take(struct reader *reader, uint64_t bytes) {
  if (bytes > reader->left) return NULL;
  const void *taken = reader->at;
  reader->at += bytes;
  reader->left -= bytes;
  return taken;
}

td_status message_short(const struct td_message *message) {
  return td_fail(TD_INTERNAL, "message %u for worker %u: too short", message->type, message->worker);
}
