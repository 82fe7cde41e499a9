/* SPDX-License-Identifier: Apache-2.0
 *
 * What the replay remembers: of every chip its moving slots, words written, planes, ALUs and links.
 */
#include <stdlib.h>

#include "check.h"

static bool fill(void *array, size_t count, size_t size) {
  void **at = array;
  *at = calloc(count ? count : 1, size);
  return *at != NULL;
}

static bool open_plane(const struct check *check, struct check_plane *plane) {
  const struct td_lpu_machine *machine = check->machine;
  int32_t most = machine->plane_k > machine->lanes ? machine->plane_k : machine->lanes;
  int32_t steps = check_positive_divide(most, machine->load_vectors);
  if (!fill(&plane->steps, (size_t)steps, sizeof *plane->steps)) return false;
  if (!fill(&plane->rows, (size_t)check->wheel, sizeof *plane->rows)) return false;
  if (!fill(&plane->totals, 2 * (size_t)machine->accumulator_depth, sizeof *plane->totals)) return false;
  for (int32_t i = 0; i < steps; i++) plane->steps[i].call = -1;
  for (int32_t i = 0; i < check->wheel; i++) plane->rows[i].maker.call = -1;
  for (int32_t i = 0; i < 2 * machine->accumulator_depth; i++) plane->totals[i].maker.call = -1;
  plane->array.maker.call = -1;
  return true;
}

static bool open_chip(const struct check *check, struct check_chip *chip) {
  const struct td_lpu_machine *machine = check->machine;
  size_t slots = 2 * (size_t)machine->streams * (size_t)check->ring;
  bool made = fill(&chip->slots, slots, sizeof *chip->slots) &&
              fill(&chip->slices, (size_t)machine->mem_slices, sizeof *chip->slices) &&
              fill(&chip->planes, (size_t)machine->planes, sizeof *chip->planes) &&
              fill(&chip->alus, (size_t)machine->alus, sizeof *chip->alus) &&
              fill(&chip->links, (size_t)machine->links, sizeof *chip->links);
  if (!made) return false;
  for (size_t i = 0; i < slots; i++) chip->slots[i].maker.call = -1;
  for (int32_t i = 0; i < machine->alus; i++) chip->alus[i].maker.call = -1;
  for (int32_t i = 0; i < machine->planes; i++) made = made && open_plane(check, &chip->planes[i]);
  for (int32_t i = 0; i < machine->links; i++) {
    made = made && fill(&chip->links[i].sent, (size_t)check->most_sent, sizeof *chip->links[i].sent);
  }
  return made;
}

td_status check_state_open(struct check *check) {
  size_t wheel = (size_t)check->wheel;
  bool made = fill(&check->chips, (size_t)check->program->chips, sizeof *check->chips) &&
              fill(&check->segments, (size_t)check->program->segment_count, sizeof *check->segments) &&
              fill(&check->buckets, CHECK_PHASES * wheel, sizeof *check->buckets) &&
              fill(&check->waiting, wheel, sizeof *check->waiting);
  for (size_t i = 0; made && i < wheel; i++) check->waiting[i] = -1;
  for (int32_t i = 0; made && i < check->program->chips; i++) made = open_chip(check, &check->chips[i]);
  return made ? TD_OK : td_fail(TD_NO_MEMORY, "checker: no memory for %d chips", check->program->chips);
}

static void close_chip(const struct check *check, struct check_chip *chip) {
  const struct td_lpu_machine *machine = check->machine;
  for (int32_t i = 0; chip->slices && i < machine->mem_slices; i++) free(chip->slices[i]);
  for (int32_t i = 0; chip->planes && i < machine->planes; i++) {
    free(chip->planes[i].steps);
    free(chip->planes[i].rows);
    free(chip->planes[i].totals);
  }
  for (int32_t i = 0; chip->links && i < machine->links; i++) free(chip->links[i].sent);
  free(chip->slots);
  free(chip->slices);
  free(chip->planes);
  free(chip->alus);
  free(chip->links);
}

void check_state_close(struct check *check) {
  for (int32_t i = 0; check->chips && i < check->program->chips; i++) close_chip(check, &check->chips[i]);
  for (int32_t i = 0; check->segments && i < check->program->segment_count; i++) {
    check_segment_close(&check->segments[i]);
  }
  for (int32_t i = 0; check->buckets && i < CHECK_PHASES * check->wheel; i++) free(check->buckets[i].events);
  free(check->chips);
  free(check->segments);
  free(check->buckets);
  free(check->waiting);
  free(check->cursors);
  free(check->places);
}
