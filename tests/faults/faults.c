/* SPDX-License-Identifier: Apache-2.0
 *
 * Bad input, seen from outside: one line on stderr that names the thing, the exit code of docs/errors.md, within 10 s.
 */
#include "faults.h"

#include <sys/mount.h>
#include <sys/stat.h>

#include "../scratch_files.h"
#include "harness.h"

/* Runs "tandem ARGUMENTS"; exactly one line on stderr, beginning "tandem: " and holding every one of the
 * comma-separated `words`; the exit code as told. */
static void refuses(int expected, const char *words, const char *arguments) {
  char err[8192];
  int code = test_run(err, sizeof err, "timeout 10 %s %s 2>&1 >/dev/null", TANDEM_PROGRAM, arguments);
  size_t lines = 0;
  for (const char *c = err; *c; c++) lines += *c == '\n';
  if (code != expected || lines != 1 || strncmp(err, "tandem: ", 8)) {
    fail_msg("tandem %s: exit %d, expected %d; stderr:\n%s", arguments, code, expected, err);
  }
  char list[256];
  snprintf(list, sizeof list, "%s", words);
  for (char *word = strtok(list, ","); word; word = strtok(NULL, ",")) {
    if (!strstr(err, word)) fail_msg("tandem %s: expected \"%s\" in:\n%s", arguments, word, err);
  }
}

static void refuses_setup(int expected, const char *words, const struct setup *setup) {
  char arguments[4400];
  const char *config = harness_config("fault", setup);
  snprintf(arguments, sizeof arguments, "run %s -o %s/fault.h5", config, harness_scratch());
  refuses(expected, words, arguments);
}

static const struct setup good = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};

static void faults_usage(void **state) {
  (void)state;
  refuses(2, "rnu,did you mean,run", "rnu x.cfg");
  refuses(2, "run,config", "run");
  refuses(2, "--ste,--set", "run x.cfg --ste a=1");
  refuses(2, "--set,value", "run x.cfg --set");
  refuses(2, "unexpected,b.cfg", "run a.cfg b.cfg");
  refuses(2, "no-such.cfg", "run no-such.cfg");
  refuses(2, "no-such.cfg", "check no-such.cfg");
  refuses(1, "no-such.h5", "show no-such.h5");
  refuses(2, "nonsense", "conform nonsense");
  refuses(2, "nonsense", "devices nonsense");
  refuses(2, "", "diff only-one.h5");
}

static void faults_config(void **state) {
  (void)state;
  struct {
    const char *text, *words;
  } const bad[] = {
      {"name = \"x\"; model = \"m.gguf\"; engine = {", "bad.cfg:"},
      {"name = \"x\"; sed = 4;", "bad.cfg:1,sed,seed"},
      {"name = 7;\nmodel = \"m\";", "bad.cfg:1,name"},
      {"name = \"x\";\nmodel = \"m\";\nengine = {\n chunk_tokens = -4;\n};", "bad.cfg:4,chunk_tokens,-4"},
      {"name = \"x\";\nmodel = \"m\";\nengine = {\n pace = \"fast\";\n};", "bad.cfg:4,pace,fast"},
      {"\x7f"
       "ELF\x01\x02",
       "bad.cfg"},
      {"", "bad.cfg"},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    char arguments[4400];
    snprintf(arguments, sizeof arguments, "run %s", scratch_file("bad.cfg", bad[i].text));
    refuses(2, bad[i].words, arguments);
  }
  char arguments[4400];
  snprintf(arguments, sizeof arguments, "run %s", harness_scratch());
  refuses(2, harness_scratch(), arguments);
  snprintf(arguments, sizeof arguments, "run %s --set engine.chunk_tokns=4", harness_config("ok", &good));
  refuses(2, "chunk_tokns,chunk_tokens", arguments);
}

/* Things that are not files must not be waited for. */
static void faults_not_files(void **state) {
  (void)state;
  char arguments[8600], pipe[4200];
  const char *model = test_source("tests/data/tiny/llama.gguf");
  snprintf(pipe, sizeof pipe, "%s/silent", harness_scratch());
  assert_int_equal(mkfifo(pipe, 0600), 0);
  snprintf(arguments, sizeof arguments, "check %s", pipe);
  refuses(2, "silent,nothing to read", arguments);
  snprintf(arguments, sizeof arguments, "eval %s --ids %s", model, pipe);
  refuses(1, "silent", arguments);
  snprintf(arguments, sizeof arguments, "eval %s --ids /dev/zero", model);
  refuses(1, "/dev/zero,a device", arguments);
  refuses(2, "/dev/random,a device", "check /dev/random");
  snprintf(arguments, sizeof arguments, "devices %s/silent.cfg/..", harness_scratch());
  refuses(2, "silent.cfg", arguments);
}

static void faults_model(void **state) {
  (void)state;
  struct setup setup = good;
  setup.model = "/nowhere/model.gguf";
  refuses_setup(2, "fault.cfg:,model,/nowhere/model.gguf", &setup);
  setup.model = harness_scratch();
  refuses_setup(2, "model", &setup);

  char whole[1 << 20];
  FILE *file = fopen(test_source("tests/data/tiny/llama.gguf"), "rb");
  assert_non_null(file);
  size_t bytes = fread(whole, 1, sizeof whole, file);
  fclose(file);
  static const size_t cuts[] = {0, 3, 4, 20, 100, 5000, 20000, 300000};
  char path[4200];
  for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
    snprintf(path, sizeof path, "%s", scratch_bytes("cut.gguf", whole, cuts[i]));
    setup.model = path;
    refuses_setup(1, "cut.gguf", &setup);
  }
  snprintf(path, sizeof path, "%s", scratch_bytes("cut.gguf", whole, bytes - 1));
  refuses_setup(1, "cut.gguf", &setup);
  setup.model = test_source("experiments/models/llama-3.1-8b.cfg");
  refuses_setup(2, "fault.cfg:,backend,shape", &setup);
}

static void faults_cluster(void **state) {
  (void)state;
  struct setup setup = good;
  setup.workload = "requests = ({name=\"big\"; prompt_tokens=100000;});";
  refuses_setup(2, "fault.cfg:,100000,context", &setup);
  setup.workload = "requests = ({prompt_tokens=20; max_tokens=1000000;});";
  refuses_setup(2, "fault.cfg:,max_tokens,context", &setup);
  setup.workload = "requests = ({prompt=\"text\";});";
  refuses_setup(2, "fault.cfg:,prompt", &setup);
  setup.workload = "requests = ();";
  refuses_setup(2, "workload.requests", &setup);
  setup.workload = "requests = ({name=\"x\"; prompt_tokens=2;},{name=\"x\"; prompt_tokens=3;});";
  refuses_setup(2, "\"x\"", &setup);
  setup = good;
  setup.policy = "colocate";
  refuses_setup(2, "fault.cfg:,colocate,colocated", &setup);
  setup.policy = "disaggregated";
  refuses_setup(2, "fault.cfg:,prefill", &setup);
  setup = good;
  setup.pools = "{name=\"a\"; backend=\"cpuu\";}";
  refuses_setup(2, "fault.cfg:,cpuu,cpu", &setup);
  setup.pools = "{name=\"a\"; backend=\"cpu:99\";}";
  refuses_setup(2, "fault.cfg:,cpu:99", &setup);
  setup.pools = "{name=\"a\"; backend=\"modelled\";}";
  refuses_setup(2, "fault.cfg:,device", &setup);
  setup.pools = "{name=\"a\"; backend=\"modelled\"; device=\"h100_sxn\";}";
  refuses_setup(2, "h100_sxn,h100_sxm", &setup);
  setup.pools = "{name=\"a\"; backend=\"cpu\"; kv_tokens=16;}";
  refuses_setup(2, "fault.cfg:,kv_tokens", &setup);
  setup = good;
  setup.pace = "priced";
  setup.pools = "{name=\"a\"; backend=\"cpu\";}";
  refuses_setup(2, "fault.cfg:,device", &setup);
  struct setup split = {.pace = "priced", .policy = "disaggregated", .pools = POOLS_PD("cpu", "cpu", "1", "1")};
  refuses_setup(2, "fault.cfg:,link", &split);
  split.pools =
      "{name=\"p\"; role=\"prefill\"; backend=\"modelled\"; device=\"h100_sxm\";},"
      "{name=\"d\"; role=\"decode\"; backend=\"cpu\"; device=\"xeon-2vcpu\";}";
  split.links = LINK_PD;
  refuses_setup(2, "fault.cfg:,modelled", &split);
  struct setup large = {.model = test_source("experiments/models/llama-3.1-70b.cfg"),
                        .pace = "priced",
                        .policy = "colocated",
                        .pools = "{name=\"a\"; backend=\"modelled\"; device=\"h100_sxm\";}"};
  refuses_setup(2, "fault.cfg:,h100_sxm,GB", &large);
}

static void faults_output(void **state) {
  (void)state;
  char arguments[8600];
  const char *config = harness_config("ok", &good);
  snprintf(arguments, sizeof arguments, "run %s -o /nowhere/x.h5", config);
  refuses(1, "/nowhere/x.h5", arguments);
  snprintf(arguments, sizeof arguments, "run %s -o %s", config, harness_scratch());
  refuses(1, harness_scratch(), arguments);
  /* a rename over a device would replace it: found by a judge who lost /dev/zero */
  snprintf(arguments, sizeof arguments, "run %s -o %s/pipe", config, harness_scratch());
  char pipe[4200], words[4400];
  snprintf(pipe, sizeof pipe, "%s/pipe", harness_scratch());
  assert_int_equal(mkfifo(pipe, 0600), 0);
  snprintf(words, sizeof words, "%s,pipe", pipe);
  refuses(1, words, arguments);
  snprintf(arguments, sizeof arguments, "eval %s --ids %s --out %s", test_source("tests/data/tiny/llama.gguf"),
           scratch_file("ids", "1 2 3"), pipe);
  refuses(1, words, arguments);
  /* nor may it replace what it reads */
  snprintf(arguments, sizeof arguments, "run %s -o %s", config, config);
  refuses(2, "the config", arguments);
  snprintf(arguments, sizeof arguments, "run %s -o %s", config, test_source("tests/data/tiny/llama.gguf"));
  refuses(2, "the model", arguments);
}

/* Files over the limit of their size are told, and the signal that comes with it does not end the program. */
static void faults_file_limit(void **state) {
  (void)state;
  static const char *const outputs[] = {"run %s -o %s/limit.h5", "eval %s --ids %s --out %s/limit.h5"};
  char err[8192], command[2][8600], ids[4200];
  snprintf(ids, sizeof ids, "%s", scratch_file("ids", "1 2 3"));
  snprintf(command[0], sizeof command[0], outputs[0], harness_config("ok", &good), harness_scratch());
  snprintf(command[1], sizeof command[1], outputs[1], test_source("tests/data/tiny/llama.gguf"), ids,
           harness_scratch());
  for (size_t i = 0; i < 2; i++) {
    int code = test_run(err, sizeof err, "(ulimit -f 1; exec %s %s) 2>&1 >/dev/null", TANDEM_PROGRAM, command[i]);
    if (code != 1 || !strstr(err, "File too large")) fail_msg("tandem %s: exit %d\n%s", command[i], code, err);
  }
}

/* The run must end when the disk is full, not when the slow step under way is. */
static void faults_full_disk_in_a_step(void **state) {
  (void)state;
  char disk[4200], arguments[8600];
#ifdef TANDEM_SANITIZED
  test_skip_all("one operator of the slow backend takes too long under sanitizers");
#endif
  if (!test_model_path()) test_skip_all("the SmolLM2 model is not in the cache (scripts/fetch-model)");
  /* the prompt of the slow worker takes minutes; the other one fills the disk meanwhile */
  struct setup slow = {.model = test_model_path(),
                       .policy = "colocated",
                       .pools = POOL_BOTH("template", "1") "," "{name=\"fast\"; role=\"both\"; backend=\"cpu\";}",
                       .workload = "stop_at_end = false; requests = ({prompt_tokens=1500; max_tokens=2;},"
                                   "{prompt_tokens=4; max_tokens=200;});"};
  snprintf(disk, sizeof disk, "%s/small", harness_scratch());
  assert_int_equal(mkdir(disk, 0755), 0);
  if (mount("tandem-test", disk, "tmpfs", 0, "size=48k")) test_skip_all("cannot mount a small tmpfs here");
  snprintf(arguments, sizeof arguments, "run %s -o %s/full.h5", harness_config("slow", &slow), disk);
  refuses(1, "full.h5", arguments);
  umount(disk);
}

static void faults_full_disk(void **state) {
  (void)state;
  char disk[4200], arguments[8600], path[4300];
  snprintf(disk, sizeof disk, "%s/disk", harness_scratch());
  assert_int_equal(mkdir(disk, 0755), 0);
  if (mount("tandem-test", disk, "tmpfs", 0, "size=16k")) test_skip_all("cannot mount a small tmpfs here");
  snprintf(arguments, sizeof arguments, "run %s -o %s/full.h5", harness_config("ok", &good), disk);
  refuses(1, "full.h5", arguments);
  snprintf(path, sizeof path, "%s/full.h5", disk);
  int there = access(path, F_OK);
  umount(disk);
  assert_int_not_equal(there, 0);
}

/* A mistake every rank sees is told once. */
static void faults_under_mpi(void **state) {
  (void)state;
#ifndef TANDEM_HAVE_MPI
  test_skip_all("built without MPI");
#endif
  char out[16384];
  struct setup setup = good;
  setup.policy = "colocate";
  setup.ranks = 2;
  int code = harness_try("mpi", &setup, out, sizeof out);
  assert_int_equal(code, 2);
  const char *first = strstr(out, "tandem: ");
  assert_non_null(first);
  assert_null(strstr(first + 1, "tandem: "));
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(faults_usage),      cmocka_unit_test(faults_config),
    cmocka_unit_test(faults_not_files),  cmocka_unit_test(faults_model),
    cmocka_unit_test(faults_cluster),    cmocka_unit_test(faults_output),
    cmocka_unit_test(faults_full_disk),  cmocka_unit_test(faults_full_disk_in_a_step),
    cmocka_unit_test(faults_file_limit), cmocka_unit_test(faults_under_mpi),
    cmocka_unit_test(live_run_sigkill),  cmocka_unit_test(mpi_killed_rank),
};

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (argc == 2 && !strcmp(cases[i].name, argv[1])) return _cmocka_run_group_tests(argv[1], &cases[i], 1, NULL, NULL);
  }
  fprintf(stderr, "usage: faults CASE\n");
  return 2;
}
