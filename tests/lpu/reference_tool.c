/* SPDX-License-Identifier: Apache-2.0
 *
 * lpu_reference [-l LANES] [-k PLANE_K] [-b BLOCK_TOKENS] [-v VALUE] MODEL MODE COUNT ID...: greedy tokens after a
 * prompt in the LPU's numerics, one id a line; with -v, instead, every row of a value of the graph (exact, as %a).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/modes.h"
#include "lpu/reference.h"
#include "tandem/base.h"

struct request {
  struct lpu_reference_options options;
  const char *value, *model;
  int32_t *prompt, prompt_count, *answer, count;
};

static td_status parse_number(const char *text, int32_t *out) {
  char *end;
  long number = strtol(text, &end, 10);
  if (end == text || *end || number < 0 || number > INT32_MAX) return td_fail(TD_USAGE, "%s: not a number", text);
  *out = (int32_t)number;
  return TD_OK;
}

static td_status parse_options(int argc, char **argv, struct request *request) {
  struct lpu_reference_options *o = &request->options;
  for (int option; (option = getopt(argc, argv, "l:k:b:v:")) != -1;) {
    if (option == 'v') request->value = optarg;
    if (option == 'l') TD_TRY(parse_number(optarg, &o->lanes));
    if (option == 'k') TD_TRY(parse_number(optarg, &o->plane_k));
    if (option == 'b') TD_TRY(parse_number(optarg, &o->block_tokens));
    if (option == '?') return td_fail(TD_USAGE, "known options: -l, -k, -b, -v");
  }
  if (argc - optind < 4) return td_fail(TD_USAGE, "expected MODEL MODE COUNT ID...");
  return TD_OK;
}

static td_status parse_mode(const char *name, struct lpu_reference_options *options) {
  for (size_t i = 0; i < LPU_MODES; i++) {
    if (strcmp(name, lpu_modes[i].name) != 0) continue;
    options->weights = lpu_modes[i].weights;
    options->activations = lpu_modes[i].activations;
    return TD_OK;
  }
  return td_fail(TD_USAGE, "mode %s: expected f16, f16_i8, i8, i8x2, f16_f8 or f8", name);
}

static td_status parse(int argc, char **argv, struct request *request) {
  request->options = lpu_reference_options(TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, 1);
  TD_TRY(parse_options(argc, argv, request));
  request->model = argv[optind];
  TD_TRY(parse_mode(argv[optind + 1], &request->options));
  TD_TRY(parse_number(argv[optind + 2], &request->count));
  request->prompt_count = argc - optind - 3;
  request->options.context = request->prompt_count + request->count;
  TD_TRY(td_alloc((size_t)request->prompt_count, sizeof(int32_t), (void **)&request->prompt));
  TD_TRY(td_alloc((size_t)request->count + 1, sizeof(int32_t), (void **)&request->answer));
  for (int i = 0; i < request->prompt_count; i++) TD_TRY(parse_number(argv[optind + 3 + i], &request->prompt[i]));
  return TD_OK;
}

static void print_value(void *context, const struct td_value *value, int32_t position, const float *values) {
  if (strcmp(value->name, context) != 0) return;
  printf("%d:", (int)position);
  for (int64_t i = 0; i < value->cols; i++) printf(" %a", (double)values[i]);
  printf("\n");
}

static td_status run(const struct td_model *model, struct request *request) {
  struct lpu_reference *reference;
  int32_t count;
  char name[TD_NAME_BYTES];
  TD_TRY(lpu_reference_open(model, &request->options, &reference));
  td_status status = TD_OK;
  if (request->value) {
    status = td_format(name, sizeof name, "%s", request->value);
    if (!status && !lpu_reference_value(reference, name)) status = td_fail(TD_USAGE, "no value is named %s", name);
    lpu_reference_observe(reference, print_value, name);
  }
  if (!status) {
    status = lpu_reference_greedy(reference, 0, request->prompt, request->prompt_count, request->count, request->answer,
                                  &count);
  }
  for (int32_t i = 0; !status && !request->value && i < count; i++) printf("%d\n", (int)request->answer[i]);
  lpu_reference_close(reference);
  return status;
}

int main(int argc, char **argv) {
  struct request request = {.value = NULL};
  struct td_model *model = NULL;
  td_status status = parse(argc, argv, &request);
  if (!status) status = td_model_open(request.model, &model);
  if (!status) status = run(model, &request);
  if (status) fprintf(stderr, "lpu_reference: %s\n", td_error_text());
  td_model_close(model);
  free(request.prompt);
  free(request.answer);
  return td_exit_code(status);
}
