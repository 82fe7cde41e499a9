/* SPDX-License-Identifier: Apache-2.0
 *
 * Every shape of experiments/models through `tandem run` on modelled devices: prefill here, decode there, and exactly
 * the model's KV bytes on the link; encoders on one device, one result a prompt.
 */
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

#define PROMPTS "requests = ( { name = \"a\", prompt_tokens = 200 }, { name = \"b\", prompt_tokens = 40 } )"
#define POOL(name, role, device) \
  "{ name = \"" name "\", role = \"" role "\", backend = \"modelled\", device = \"" device "\", kv_tokens = 100000 }"

static const char decoder[] =
    "name = \"m\"; seed = 1; model = \"%s\"; sampling = { temperature = 0.0 }\n"
    "workload = { max_tokens = %d " PROMPTS " }\n"
    "engine = { pace = \"priced\" policy = \"disaggregated\" chunk_tokens = 64 kv_dtype = \"f16\" handoff = \"layers\" }\n"
    "cluster = { pools = ( " POOL("p", "prefill", "h100_sxm") ", " POOL("d", "decode", "sram-imagined") " )\n"
    "links = ( { from = \"p\", to = \"d\", device = \"ib-ndr-400g\" } ) }\n";
static const char encoder[] =
    "name = \"m\"; seed = 1; model = \"%s\"; sampling = { temperature = 0.0 }\n"
    "workload = { max_tokens = %d " PROMPTS
    " }\n"
    "engine = { pace = \"priced\" policy = \"colocated\" chunk_tokens = 0 kv_dtype = \"f16\" }\n"
    "cluster = { pools = ( " POOL("p", "both", "h100_sxm") " ) }\n";

static int run(const char *folder, const char *format, const char *model, int max_tokens, char *out, size_t size) {
  char path[4300];
  snprintf(path, sizeof path, "%s/run.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, format, model, max_tokens); /* one of the two above */
  assert_int_equal(fclose(file), 0);
  return test_run(out, size, "rm -f '%s/t.h5'; '%s' run '%s' -o '%s/t.h5' 2>&1", folder, TANDEM_PROGRAM, path, folder);
}

static void check_model(const char *folder, const char *path) {
  char out[8192], moved[64];
  struct td_model *model;
  if (td_model_open(path, &model)) fail_msg("%s", td_error_text());
  const struct td_shape *shape = td_model_shape(model);
  bool encodes = shape->arch == TD_ARCH_BERT;
  int code = run(folder, encodes ? encoder : decoder, path, encodes ? 1 : 20, out, sizeof out);
  snprintf(moved, sizeof moved, " %" PRIu64 " B in ", td_kv_bytes(shape, TD_F16, shape->layers, 240));
  if (code || (!encodes && !strstr(out, moved)))
    fail_msg("%s: exit code %d, without \"%s\": %s", path, code, moved, out);
  if (encodes) {
    code = run(folder, encoder, path, 2, out, sizeof out);
    if (code != 2 || !strstr(out, "encoder")) fail_msg("%s: exit code %d: %s", path, code, out);
  }
  td_model_close(model);
}

static void test_all(void **state) {
  (void)state;
  glob_t found;
  const char *folder = test_scratch();
  assert_non_null(folder);
  assert_int_equal(glob(test_source("experiments/models/*.cfg"), 0, NULL, &found), 0);
  assert_true(found.gl_pathc >= 14);
  for (size_t i = 0; i < found.gl_pathc; i++) check_model(folder, found.gl_pathv[i]);
  globfree(&found);
  test_run(NULL, 0, "rm -rf '%s'", folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
