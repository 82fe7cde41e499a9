/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/mutants_try.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN 5 /* mutants of a rule that were not named */

/* ---- families ---- */

/* Spread over all sites: consecutive ones differ in their instruction only. */
static int64_t site_of(int64_t k, int64_t sites) {
  return (int64_t)((uint64_t)k * 2654435761u % (uint64_t)sites);
}

static void try_mutant(struct mutant *mutant, const struct td_lpu_step *step, enum td_lpu_rule rule,
                       struct mutant_tally *tally) {
  struct td_lpu_violation found = {.found = false};
  td_status status = td_lpu_check(&mutant->program, 0, step, &found);
  tally->made++;
  if (status == TD_OK && found.found && found.rule == rule) {
    tally->named++;
    return;
  }
  if (tally->made - tally->named > SHOWN) return;
  printf("  %s: expected %s, found %s\n", mutant->text, td_lpu_rule_name(rule),
         status        ? td_error_text()
         : found.found ? found.text
                       : "nothing");
}

struct mutant_tally mutant_try_rule(const struct td_lpu_program *program, const struct td_lpu_step *step,
                                    enum td_lpu_rule rule, int32_t most) {
  struct mutant_tally tally = {0, 0};
  int32_t first;
  bool *called = mutant_called(program, 0, step, &first);
  int64_t sites = called ? mutant_sites(program, rule) : 0;
  for (int64_t k = 0; k < sites && tally.made < most; k++) {
    struct mutant *mutant = mutant_make(program, called, first, rule, site_of(k, sites));
    if (mutant) try_mutant(mutant, step, rule, &tally);
    mutant_free(mutant);
  }
  free(called);
  return tally;
}

/* ---- random changes ---- */

static uint64_t hash_bytes(uint64_t hash, const uint8_t *bytes, int32_t count) {
  for (int32_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
  return hash;
}
static uint64_t hash_image(uint64_t hash, const struct td_lpu_system *system, const struct td_lpu_machine *machine,
                           const struct td_lpu_image *image) {
  uint64_t slices = (uint64_t)machine->mem_slices, lanes = (uint64_t)machine->lanes;
  uint64_t slice = (uint64_t)(image->hemisphere * machine->mem_slices / 2 + image->slice);
  for (int32_t w = 0; w < image->words; w++) {
    uint64_t word = (uint64_t)image->chip * (uint64_t)machine->mem_words + (uint64_t)(image->word + w);
    hash = hash_bytes(hash, system->sram + (word * slices + slice) * lanes, image->slices * machine->lanes);
  }
  return hash;
}
/* What the step starts from: all that a step may read and another one wrote. */
static void copy_images(const struct td_lpu_system *system, const struct td_lpu_program *images, const uint8_t *sram) {
  uint64_t slices = (uint64_t)images->machine.mem_slices, lanes = (uint64_t)images->machine.lanes;
  for (int32_t i = 0; i < images->image_count; i++) {
    const struct td_lpu_image *image = &images->images[i];
    if (image->kind == TD_IMAGE_WEIGHT || image->kind == TD_IMAGE_CONSTANT) continue;
    uint64_t slice = (uint64_t)(image->hemisphere * images->machine.mem_slices / 2 + image->slice);
    for (int32_t w = 0; w < image->words; w++) {
      uint64_t word = (uint64_t)image->chip * (uint64_t)images->machine.mem_words + (uint64_t)(image->word + w);
      uint64_t at = (word * slices + slice) * lanes;
      memcpy(system->sram + at, sram + at, (size_t)image->slices * lanes);
    }
  }
}
/* Runs a program, then hashes the images of another one, that it was made from. */
static td_status run_outputs(const struct td_lpu_program *program, const struct td_lpu_program *images,
                             const struct td_lpu_step *step, const uint8_t *sram, uint64_t *out_hash) {
  struct td_lpu_system *system;
  TD_TRY(td_lpu_system_open(program, &system));
  if (sram) copy_images(system, images, sram);
  td_status status = td_lpu_execute(system, 0, step, NULL);
  *out_hash = 0xcbf29ce484222325u;
  for (int32_t i = 0; i < images->image_count; i++) {
    int32_t kind = images->images[i].kind;
    if (kind != TD_IMAGE_OUTPUT && kind != TD_IMAGE_KV) continue;
    *out_hash = hash_image(*out_hash, system, &images->machine, &images->images[i]);
  }
  td_lpu_system_close(system);
  return status;
}

/* Fields whose changes changed nothing, how often and why. */
struct quiet {
  char name[64];
  const char *why;
  int32_t count;
};
#define QUIETS 256
static void note_quiet(struct quiet *quiet, const struct mutant *mutant) {
  const char *end = strrchr(mutant->text, ':'), *dot = strrchr(mutant->text, '.');
  char name[sizeof quiet->name];
  int length = end && dot && end > dot ? (int)(end - dot - 1) : 0;
  snprintf(name, sizeof name, "%.*s", length, length ? dot + 1 : "");
  struct quiet *last = quiet + QUIETS - 1;
  while (quiet < last && quiet->why && (strcmp(quiet->name, name) != 0 || quiet->why != mutant->idle)) quiet++;
  memcpy(quiet->name, name, sizeof name);
  quiet->why = mutant->idle;
  quiet->count++;
}
static int by_reason(const void *a, const void *b) {
  const struct quiet *x = a, *y = b;
  int order = strcmp(x->why, y->why);
  return order ? order : strcmp(x->name, y->name);
}
static void print_quiet(struct quiet *quiet) {
  size_t count = 0;
  while (count < QUIETS && quiet[count].why) count++;
  qsort(quiet, count, sizeof *quiet, by_reason);
  for (size_t i = 0; i < count; i++) {
    if (i == 0 || strcmp(quiet[i].why, quiet[i - 1].why) != 0) printf("%s  %s:", i ? "\n" : "", quiet[i].why);
    printf(" %s %d", quiet[i].name, quiet[i].count);
  }
  printf("\n");
}

struct random_run {
  const struct td_lpu_program *program;
  const struct td_lpu_step *step;
  const uint8_t *sram;
  uint64_t expected;
  struct quiet quiet[QUIETS];
  int32_t rejected, same, neither;
};
static void try_random(struct random_run *run, const struct mutant *mutant, uint32_t seed) {
  struct td_lpu_violation found = {.found = false};
  uint64_t got = 0;
  if (td_lpu_check(&mutant->program, 0, run->step, &found) || found.found) {
    run->rejected++;
    return;
  }
  td_status status = run_outputs(&mutant->program, run->program, run->step, run->sram, &got);
  if (status == TD_OK && got == run->expected && mutant->idle) {
    run->same++;
    note_quiet(run->quiet, mutant);
    return;
  }
  run->neither++;
  printf("  seed %u: %s: passed the checker, then %s\n", seed, mutant->text,
         status                 ? td_error_text()
         : got == run->expected ? "the same outputs, with no reason why"
                                : "other outputs");
}
int32_t mutant_try_random(const struct td_lpu_program *program, const struct td_lpu_step *step, const uint8_t *sram,
                          uint32_t first_seed, int32_t cases) {
  struct random_run *run = calloc(1, sizeof *run);
  int32_t first;
  bool *called = mutant_called(program, 0, step, &first);
  if (!run || !called) abort();
  *run = (struct random_run){.program = program, .step = step, .sram = sram};
  if (run_outputs(program, program, step, sram, &run->expected)) abort();
  for (int32_t i = 0; i < cases; i++) {
    uint32_t seed = first_seed + (uint32_t)i;
    struct mutant *mutant = mutant_random(program, called, seed);
    try_random(run, mutant, seed);
    mutant_free(mutant);
  }
  printf("%d random changes: %d rejected, %d change nothing, %d neither\n", cases, run->rejected, run->same,
         run->neither);
  print_quiet(run->quiet);
  int32_t neither = run->neither;
  free(called);
  free(run);
  return neither;
}
