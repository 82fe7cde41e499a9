/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem tokenize: the token ids of a text.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cli_input.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/model.h"

struct options {
  const char *model, *text;
  bool json, no_special;
};

static void print_ids(const struct options *options, const int32_t *ids, int64_t count) {
  if (options->json) putchar('[');
  for (int64_t i = 0; i < count; i++) {
    if (i && options->json) fputs(", ", stdout);
    printf("%" PRId32, ids[i]);
    if (!options->json) putchar('\n');
  }
  if (options->json) puts("]");
}

static td_status print_text(const struct options *options, const struct td_tokenizer *tokenizer, const char *data,
                            size_t bytes) {
  int32_t *ids;
  int64_t count;
  TD_TRY(td_tokenizer_encode(tokenizer, data, bytes, !options->no_special, &ids, &count));
  print_ids(options, ids, count);
  free(ids);
  return TD_OK;
}

static td_status tokenize(const struct options *options, const struct td_model *model) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(model);
  char *data;
  size_t bytes;
  if (!tokenizer) {
    return td_fail(TD_UNSUPPORTED, "%s: tokenizer.ggml.model: found none, expected a model with a tokenizer",
                   options->model);
  }
  TD_TRY(td_tokenizer_usable(tokenizer));
  TD_TRY(td_input_read(options->text, &data, &bytes));
  td_status status = print_text(options, tokenizer, data, bytes);
  if (status) td_fail_within(status, "%s", td_input_name(options->text));
  free(data);
  return status;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct options options = {0};
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--text", .value = &options.text},
      {.name = "--json", .given = &options.json},
      {.name = "--no-special", .given = &options.no_special},
      {0},
  };
  *out_exit = 0;
  TD_TRY(td_flags_parse(argc, argv, flags, &options.model, 1, &count));
  if (!count) return td_fail(TD_USAGE, "tokenize: found no MODEL, expected tandem tokenize MODEL --text FILE");
  if (!options.text)
    return td_fail(TD_USAGE, "tokenize: found no --text, expected --text FILE (\"-\": standard input)");
  struct td_model *model;
  TD_TRY(td_model_open(options.model, &model));
  td_status status = tokenize(&options, model);
  td_model_close(model);
  return status;
}

const struct td_command td_command_tokenize = {
    .name = "tokenize",
    .usage = "MODEL --text FILE [--json] [--no-special]",
    .summary = "prints the token ids of a text",
    .help =
        "  MODEL         a GGUF file with a tokenizer; its ids are printed as the text has them, no BOS is added\n"
        "  --text FILE   the text, as bytes, 64 MiB at most; \"-\": standard input\n"
        "  --json        one JSON array instead of one id a line\n"
        "  --no-special  control tokens written out in the text are plain text\n",
    .run = run,
};
