/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "cli_input.h"
#include "cli_output.h"
#include "eval_file.h"
#include "eval_pass.h"
#include "lpu_keys.h"
#include "tandem/base.h"
#include "tandem/cli.h"

struct options {
  const char *model, *text, *ids, *out;
  bool logits, json;
  struct lpu_keys lpu;
  struct td_eval_plan plan; /* split is -1 until the text's length is known, unless --split gave it */
};

/* ---- options ---- */

static const char *default_device(void) {
  return td_backend_find("cpu") ? "cpu" : "template";
}

static td_status parse_kv(const char *text, enum td_dtype *out) {
  const struct td_dtype_info *info = td_dtype_find(text);
  if (!info || (info->dtype != TD_F32 && info->dtype != TD_F16)) {
    return td_fail(TD_USAGE, "--kv: found \"%s\", expected f32 or f16", text);
  }
  *out = info->dtype;
  return TD_OK;
}

static const char *input_of(const struct options *options) {
  return options->text ? options->text : options->ids;
}

static td_status check_output(const struct options *options) {
  const char *input = input_of(options), *what = options->text ? "the text" : "the ids";
  if (!options->out) return TD_OK;
  TD_TRY(td_output_is_not(options->out, options->model, "the model"));
  return td_output_is_not(options->out, td_input_is_stdin(input) ? "/dev/stdin" : input, what);
}

static td_status check_options(const struct options *options, int32_t positionals, bool split_given) {
  if (!positionals) return td_fail(TD_USAGE, "expected a model file");
  if (!options->text == !options->ids) return td_fail(TD_USAGE, "expected --text FILE or --ids FILE, one of them");
  if (split_given && !options->plan.prefill_device) return td_fail(TD_USAGE, "--split: expected --prefill-device too");
  if (options->logits && !options->out) return td_fail(TD_USAGE, "--logits: expected --out FILE.h5 too");
  return check_output(options);
}

static td_status parse(int argc, char **argv, struct options *out) {
  const char *threads = NULL, *kv = "f32", *micro_batch = "64", *split = NULL, *generate = "0", *lpu = NULL;
  struct options options = {.plan = {.device = default_device(), .split = -1}};
  const struct td_flag flags[] = {{.name = "--text", .value = &options.text},
                                  {.name = "--ids", .value = &options.ids},
                                  {.name = "--device", .value = &options.plan.device},
                                  {.name = "--device-file", .value = &options.plan.device_file},
                                  {.name = "--lpu", .value = &lpu},
                                  {.name = "--prefill-device", .value = &options.plan.prefill_device},
                                  {.name = "--split", .value = &split},
                                  {.name = "--threads", .value = &threads},
                                  {.name = "--kv", .value = &kv},
                                  {.name = "--micro-batch", .value = &micro_batch},
                                  {.name = "--generate", .value = &generate},
                                  {.name = "--out", .value = &options.out},
                                  {.name = "-o", .value = &options.out},
                                  {.name = "--logits", .given = &options.logits},
                                  {.name = "--inexact", .given = &options.plan.inexact},
                                  {.name = "--json", .given = &options.json},
                                  {.name = NULL}};
  int32_t positionals;
  int64_t thread_count = get_nprocs();
  TD_TRY(td_flags_parse(argc, argv, flags, &options.model, 1, &positionals));
  TD_TRY(check_options(&options, positionals, split != NULL));
  TD_TRY(parse_kv(kv, &options.plan.kv_dtype));
  TD_TRY(td_flag_int("--micro-batch", micro_batch, 1, 1 << 20, &options.plan.micro_batch));
  TD_TRY(td_flag_int("--generate", generate, 0, 1 << 20, &options.plan.generate));
  if (threads) TD_TRY(td_flag_int("--threads", threads, 1, 1024, &thread_count));
  if (split) TD_TRY(td_flag_int("--split", split, 1, INT32_MAX, &options.plan.split));
  options.plan.threads = (int32_t)thread_count;
  *out = options;
  if (!lpu) return TD_OK;
  if (strncmp(options.plan.device, "lpu", 3)) return td_fail(TD_USAGE, "--lpu: expected --device lpu too");
  out->plan.lpu = &out->lpu.choice;
  return lpu_keys_parse(lpu, &out->lpu);
}

/* ---- what is evaluated ---- */

static td_status encode(const struct td_model *model, const char *path, int32_t **out_ids, int64_t *out_count) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(model);
  char *text;
  size_t bytes;
  if (!tokenizer) {
    return td_fail(TD_UNSUPPORTED, "%s: found no tokenizer, expected one for --text; --ids needs none",
                   td_model_path(model));
  }
  TD_TRY(td_input_read(path, &text, &bytes));
  td_status status = td_tokenizer_encode(tokenizer, text, bytes, true, out_ids, out_count);
  free(text);
  return status ? td_fail_within(status, "%s", td_input_name(path)) : TD_OK;
}

/* White-space separated ids; the line is for the message. */
static td_status parse_ids(const char *path, const char *text, int32_t vocab, int32_t *ids, int64_t *out_count) {
  int64_t count = 0, line = 1;
  for (const char *at = text; *at;) {
    if (isspace((unsigned char)*at)) {
      line += *at++ == '\n';
      continue;
    }
    size_t length = strcspn(at, " \t\n\v\f\r");
    char *end;
    long value = strtol(at, &end, 10);
    if (end != at + length || !isdigit((unsigned char)*at) || value >= vocab) {
      return td_fail(TD_CONFIG, "%s:%" PRId64 ": found \"%.*s\", expected a token id, 0 to %" PRId32, path, line,
                     (int)(length < 32 ? length : 32), at, vocab - 1);
    }
    ids[count++] = (int32_t)value;
    at = end;
  }
  *out_count = count;
  return TD_OK;
}

static td_status read_ids(const struct td_model *model, const char *path, int32_t **out_ids, int64_t *out_count) {
  char *text;
  size_t bytes;
  TD_TRY(td_input_read(path, &text, &bytes));
  path = td_input_name(path);
  void *ids = NULL;
  td_status status = TD_OK;
  if (strlen(text) < bytes) status = td_fail(TD_CONFIG, "%s: found a NUL byte, expected token ids", path);
  if (!status) status = td_alloc(bytes / 2 + 1, sizeof(int32_t), &ids);
  if (!status) status = parse_ids(path, text, td_model_shape(model)->vocab, ids, out_count);
  free(text);
  if (status) {
    free(ids);
    return status;
  }
  *out_ids = ids;
  return TD_OK;
}

static td_status check_length(const struct options *options, const struct td_model *model, int64_t count) {
  const char *path = td_input_name(input_of(options));
  int64_t context = td_model_shape(model)->context, generate = options->plan.generate;
  if (count < 1) return td_fail(TD_CONFIG, "%s: found no token, expected at least one", path);
  if (count > context) {
    return td_fail(TD_CONFIG, "%s: found %" PRId64 " tokens, expected at most %" PRId64 ", the context of %s", path,
                   count, context, td_model_path(model));
  }
  if (count + generate - 1 > context) { /* the last generated token is never fed back */
    return td_fail(TD_CONFIG,
                   "--generate: found %" PRId64 ", expected at most %" PRId64 " after %" PRId64
                   " tokens, the context of %s is %" PRId64,
                   generate, context - count + 1, count, td_model_path(model), context);
  }
  if (options->plan.prefill_device && count < 2) {
    return td_fail(TD_CONFIG, "%s: found one token, expected two or more for --prefill-device", path);
  }
  if (options->plan.split > count) {
    return td_fail(TD_USAGE, "--split: found %" PRId64 ", expected 1 to %" PRId64 ", the tokens of %s",
                   options->plan.split, count, path);
  }
  return TD_OK;
}

/* ---- results ---- */

struct summary {
  int64_t predicted;
  double mean_nll, perplexity; /* NaN if nothing was predicted */
};

static struct summary summarise(const struct td_eval_rows *rows) {
  double sum = 0;
  for (int64_t i = 0; i + 1 < rows->count; i++) sum -= rows->next_logprob[i];
  int64_t predicted = rows->count - 1;
  double mean = predicted ? sum / (double)predicted : NAN;
  return (struct summary){predicted, mean, exp(mean)};
}

static void json_text(const char *key, const char *text) {
  printf(", \"%s\": ", key);
  if (text) {
    td_json_string(stdout, text, strlen(text));
  } else {
    fputs("null", stdout);
  }
}

static void json_number(const char *key, double value) {
  if (isfinite(value)) {
    printf(", \"%s\": %.17g", key, value);
  } else {
    printf(", \"%s\": null", key);
  }
}

static td_status greedy_text(const struct td_model *model, const struct td_eval_rows *rows, struct td_text *text) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(model);
  for (int64_t i = 0; tokenizer && i < rows->greedy_count; i++) {
    const char *piece;
    size_t bytes;
    TD_TRY(td_tokenizer_piece(tokenizer, rows->greedy_id[i], &piece, &bytes));
    td_text_add(text, piece, bytes);
  }
  return text->failed ? td_fail(TD_NO_MEMORY, "found no memory for the generated text") : TD_OK;
}

static void print_json(const struct options *options, const struct td_eval_rows *rows, const struct summary *summary,
                       const struct td_text *text) {
  printf("{\"tokens\": %" PRId64 ", \"predicted\": %" PRId64, rows->count, summary->predicted);
  json_number("mean_nll", summary->mean_nll);
  json_number("perplexity", summary->perplexity);
  json_text("model", options->model);
  json_text("device", options->plan.device);
  json_text("prefill_device", options->plan.prefill_device);
  if (options->plan.prefill_device) printf(", \"split\": %" PRId64, options->plan.split);
  json_text("kv", td_dtype_info(options->plan.kv_dtype)->name);
  printf(", \"micro_batch\": %" PRId64, options->plan.micro_batch);
  json_text("out", options->out);
  printf(", \"greedy_ids\": [");
  for (int64_t i = 0; i < rows->greedy_count; i++) printf("%s%" PRId32, i ? ", " : "", rows->greedy_id[i]);
  printf("], \"greedy_text\": ");
  td_json_string(stdout, text->bytes ? text->data : "", text->bytes);
  printf("}\n");
}

static void print_text(const struct options *options, const struct td_eval_rows *rows, const struct summary *summary,
                       const struct td_text *text) {
  const struct td_eval_plan *plan = &options->plan;
  printf("model       %s\n", options->model);
  if (plan->prefill_device) {
    printf("device      %s to position %" PRId64 ", then %s\n", plan->prefill_device, plan->split, plan->device);
  } else {
    printf("device      %s\n", plan->device);
  }
  printf("KV          %s\n", td_dtype_info(plan->kv_dtype)->name);
  printf("tokens      %" PRId64 "\n", rows->count);
  if (summary->predicted) {
    printf("mean NLL    %.9f nats\nperplexity  %.6f\n", summary->mean_nll, summary->perplexity);
  } else {
    printf("mean NLL    - (one token predicts none)\nperplexity  -\n");
  }
  if (plan->generate) {
    printf("greedy      %" PRId64 " tokens: ", rows->greedy_count);
    td_json_string(stdout, text->bytes ? text->data : "", text->bytes);
    putchar('\n');
  }
  if (options->out) printf("file        %s\n", options->out);
}

static td_status print_results(const struct options *options, const struct td_model *model,
                               const struct td_eval_rows *rows, const struct summary *summary) {
  struct td_text text = {0};
  td_status status = greedy_text(model, rows, &text);
  if (!status && options->json) print_json(options, rows, summary, &text);
  if (!status && !options->json) print_text(options, rows, summary, &text);
  td_text_free(&text);
  return status;
}

/* ---- the file ---- */

static td_status note_run(struct td_eval_file *file, const struct options *options, const struct summary *summary) {
  const struct td_eval_plan *plan = &options->plan;
  TD_TRY(td_eval_file_note(file, "tandem", TANDEM_VERSION));
  TD_TRY(td_eval_file_note(file, "model", options->model));
  TD_TRY(td_eval_file_note(file, "device", plan->device));
  TD_TRY(td_eval_file_note(file, "kv", td_dtype_info(plan->kv_dtype)->name));
  if (plan->device_file) TD_TRY(td_eval_file_note(file, "device_file", plan->device_file));
  TD_TRY(td_eval_file_number(file, "micro_batch", (double)plan->micro_batch));
  if (plan->prefill_device) {
    TD_TRY(td_eval_file_note(file, "prefill_device", plan->prefill_device));
    TD_TRY(td_eval_file_number(file, "split", (double)plan->split));
  }
  TD_TRY(td_eval_file_number(file, "mean_nll", summary->mean_nll));
  return td_eval_file_number(file, "perplexity", summary->perplexity);
}

static td_status evaluate(const struct options *options, const struct td_model *model, struct td_eval_rows *rows,
                          struct summary *out_summary) {
  struct td_eval_file *file = NULL;
  if (options->out) {
    TD_TRY(td_eval_file_create(options->out, rows->count, td_model_shape(model)->vocab, options->logits, &file));
  }
  td_status status = td_eval_pass(model, &options->plan, rows, options->logits ? td_eval_file_logits : NULL, file);
  if (!status) *out_summary = summarise(rows);
  if (!status && file) status = note_run(file, options, out_summary);
  if (!file) return status;
  if (!status) return td_eval_file_finish(file, rows, options->plan.generate > 0);
  td_eval_file_abandon(file);
  return status;
}

/* ---- the command ---- */

static td_status eval_ids(struct options *options, const struct td_model *model, const int32_t *ids, int64_t count) {
  struct td_eval_rows rows;
  struct summary summary;
  TD_TRY(check_length(options, model, count));
  if (options->plan.split < 0) options->plan.split = count / 2;
  TD_TRY(td_eval_rows_open(ids, count, options->plan.generate, &rows));
  td_status status = evaluate(options, model, &rows, &summary);
  if (!status) status = print_results(options, model, &rows, &summary);
  td_eval_rows_free(&rows);
  return status;
}

static td_status eval_model(struct options *options, const struct td_model *model) {
  int32_t *ids = NULL;
  int64_t count = 0;
  if (!td_model_has_weights(model)) {
    return td_fail(TD_UNSUPPORTED, "%s: found a shape without weights, expected a model to execute", options->model);
  }
  if (options->text) TD_TRY(encode(model, options->text, &ids, &count));
  if (options->ids) TD_TRY(read_ids(model, options->ids, &ids, &count));
  td_status status = eval_ids(options, model, ids, count);
  free(ids);
  return status;
}

static td_status eval(int argc, char **argv, int *out_exit) {
  struct options options;
  struct td_model *model;
  (void)out_exit;
  TD_TRY(parse(argc, argv, &options));
  TD_TRY(td_model_open(options.model, &model));
  td_status status = eval_model(&options, model);
  td_model_close(model);
  return status;
}

const struct td_command td_command_eval = {
    .name = "eval",
    .usage = "MODEL (--text FILE | --ids FILE) [--device D] [--prefill-device P [--split N]] [--out FILE.h5]",
    .summary = "teacher-forced pass over a text: perplexity, and what each position says about the next",
    .help =
        "  --text FILE          the text, read as bytes; special tokens in it are parsed, no BOS is added;\n"
        "                       64 MiB at most; \"-\": standard input\n"
        "  --ids FILE           white-space separated token ids instead of text; \"-\": standard input\n"
        "  --device D           backend[:N] that computes (default: cpu, or template without it)\n"
        "  --device-file NAME   D's device file, which backend lpu asks for\n"
        "  --lpu KEY=VALUE,...  how D runs an LPU: weights, activations, rows, chips, tensor, objective, as in a "
        "config's group "
        "lpu\n"
        "  --prefill-device P   positions before the split are computed on P, in micro-batches; their KV is handed\n"
        "                       over and checked; D computes the rest one token at a time, as decoding does\n"
        "  --split N            first position computed on D (default: half of the tokens)\n"
        "  --threads N          host threads of each device (default: one per core; results do not depend on it)\n"
        "  --kv f32|f16         element type of the KV cache (default: f32)\n"
        "  --micro-batch N      positions per step (default: 64)\n"
        "  --generate N         up to N greedy tokens after the text; an end token is the last\n"
        "  --out FILE.h5        data sets ids, next_logprob, top_id, top_logprob, top_gap: one row per position\n"
        "                       (natural logarithms, the last next_logprob is NaN); with --generate also\n"
        "                       greedy_ids, greedy_logprob, greedy_gap\n"
        "  --logits             also the data set logits [positions, vocabulary], float32\n"
        "  --inexact            devices may take their fastest paths, whose bits depend on the batch\n"
        "  --json               one JSON object on stdout\n",
    .run = eval,
};
