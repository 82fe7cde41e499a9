/* SPDX-License-Identifier: Apache-2.0
 *
 * Mutants of a valid program: families of changes that must each break one rule, and break it first. A site is a
 * family, an instruction and a variant; sites where a change does not make sense are passed over.
 *
 *   for (int64_t site = 0; site < mutant_sites(program, rule); site++) {
 *     struct mutant *mutant = mutant_make(program, called, rule, site);
 *     if (mutant) ... td_lpu_check(&mutant->program, ...) must name the rule ...
 *     mutant_free(mutant);
 *   }
 */
#ifndef TESTS_LPU_MUTANTS_H
#define TESTS_LPU_MUTANTS_H

#include "tandem/lpu.h"

struct mutant {
  const struct td_lpu_program *from;
  struct td_lpu_program program; /* shares what was not changed */
  int32_t segment;               /* whose arrays are its own; -1: none */
  const char *idle;              /* random: why it may change nothing; NULL: it may not */
  char text[200];                /* family and place */
};

/* Segments that a step runs, [segment_count] to free; the first one run is *out_first. NULL: the walk failed. */
bool *mutant_called(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                    int32_t *out_first);

int64_t mutant_sites(const struct td_lpu_program *program, enum td_lpu_rule rule);
/* The mutant of a site, or NULL where the family has nothing to change. `first`: the segment that runs first. */
struct mutant *mutant_make(const struct td_lpu_program *program, const bool *called, int32_t first,
                           enum td_lpu_rule rule, int64_t site);
/* Sets one field of the program to another value, seeded; text says which. Immediates and data stay: nothing else
 * says what they should be. So do operations that the side table does not mean. */
struct mutant *mutant_random(const struct td_lpu_program *program, const bool *called, uint32_t seed);
void mutant_free(struct mutant *mutant);

/* ---- for the families ---- */

struct mutant_site {
  struct mutant *mutant;
  const struct td_lpu_segment *segment; /* as it was */
  const struct td_lpu_instruction *at;
  int32_t first; /* the segment that runs first */
  int32_t s, i, variant;
};
struct mutant_family {
  enum td_lpu_rule rule;
  const char *name;
  int32_t variants;
  bool (*make)(const struct mutant_site *site);
};
extern const struct mutant_family *const mutant_families[]; /* lists that end with a NULL name; a NULL list */
extern const struct mutant_family mutant_issue_families[], mutant_memory_families[], mutant_stream_families[],
    mutant_unit_families[], mutant_step_families[];

struct mutant *mutant_start(const struct td_lpu_program *program);
void *mutant_copy(const void *from, size_t count, size_t size);
/* The segment, from now on with arrays of its own. */
struct td_lpu_segment *mutant_segment(const struct mutant_site *site);
struct td_lpu_instruction *mutant_edit(const struct mutant_site *site);
/* A copy of all images. */
struct td_lpu_image *mutant_images(const struct mutant_site *site);
/* A new instruction where it belongs; false if the queue is busy in its cycles. Its meanings are those of the
 * instruction that it was copied from. */
bool mutant_insert(const struct mutant_site *site, struct td_lpu_instruction made);
/* The same for one iteration of an instruction like this one, with meanings of its own. */
bool mutant_insert_iteration(const struct mutant_site *site, struct td_lpu_instruction made, int32_t iteration);
/* Takes the instruction out; nobody may mean it. */
void mutant_remove(const struct mutant_site *site);
/* Moves the instruction by `cycles`; false if the queue is busy there, or it leaves the segment. */
bool mutant_move(const struct mutant_site *site, int32_t cycles);
/* The meaning of an operand in iteration 0, for editing; NULL: none. */
struct td_lpu_meaning *mutant_meaning(const struct mutant_site *site, int32_t operand);
bool mutant_has_meaning(const struct mutant_site *site, int32_t operand);
int32_t mutant_last_cycle(const struct td_lpu_instruction *at);

#endif
