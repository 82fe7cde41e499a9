/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzzes the GGUF reader: any bytes are a model or an error, and a model can be used.
 * With -DTANDEM_FUZZ_MAIN a plain program that replays the files it is given, for compilers without libFuzzer.
 */
#include <stdlib.h>
#include <string.h>

#include "model/internal.h"
#include "tandem/base.h"
#include "tandem/graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_tokenizer(const struct td_tokenizer *tokenizer) {
  static const char text[] = "Hello <|im_start|> world 123 \xff\n";
  int32_t *ids;
  int64_t count;
  char *chat;
  struct td_chat_message message = {"user", "hi"};
  if (td_tokenizer_chat(tokenizer, &message, 1, &chat) == TD_OK) free(chat);
  if (td_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &count)) return;
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t bytes;
    if (td_tokenizer_piece(tokenizer, ids[i], &piece, &bytes)) abort();
  }
  free(ids);
}

static void use(const struct td_model *model) {
  struct td_graph *graph;
  struct td_op_cost cost;
  td_model_digest(model);
  if (td_graph_build(model, &graph) == TD_OK) {
    for (int32_t i = 0; i < graph->op_count; i++) td_op_cost(graph, &graph->ops[i], TD_F16, &cost);
    td_graph_free(graph);
  }
  if (td_model_tokenizer(model)) use_tokenizer(td_model_tokenizer(model));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct td_model *model;
  if (td_model_open_bytes("fuzz.gguf", data, size, false, &model)) return 0;
  use(model);
  td_model_close(model);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
