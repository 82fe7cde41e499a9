/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem lpu reach: how long until a chip has got at so much SRAM of its system. Two numbers: what one vector takes
 * from SRAM to SRAM of a neighbour, compiled, and link_hop for each chip on the way; hops are the wiring's.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_collective.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/devices.h"
#include "tandem/lpu.h"

enum { MOST_SIZES = 64 };

struct reach {
  const struct td_lpu_machine *machine;
  int32_t *chips; /* [most + 1] within so many hops */
  int32_t most;   /* hops */
  double sram, first, hop;
  double sizes[MOST_SIZES], published[MOST_SIZES];
  int32_t size_count, published_count;
};

static td_status read_numbers(const char *flag, const char *text, double *out, int32_t *out_count) {
  for (const char *at = text; at && *at;) {
    char *end = NULL;
    double value = strtod(at, &end);
    if (end == at || (*end && *end != ',') || !(value > 0 && value < 1e18) || *out_count == MOST_SIZES) {
      return td_fail(TD_USAGE, "%s: found \"%.40s\", expected at most %d numbers above 0, with commas between", flag,
                     at, MOST_SIZES);
    }
    out[(*out_count)++] = value;
    at = *end ? end + 1 : end;
  }
  return TD_OK;
}

static td_status count_hops(struct reach *reach) {
  const struct td_lpu_machine *machine = reach->machine;
  struct td_lpu_reached *reached = NULL;
  int32_t all = machine->system_chips;
  TD_TRY(td_alloc((size_t)all, sizeof *reached, (void **)&reached));
  td_status status = td_lpu_reach(machine, all, 0, reached);
  for (int32_t i = 0; !status && i < all; i++) {
    if (reached[i].hops > reach->most) reach->most = reached[i].hops;
  }
  if (!status) status = td_alloc((size_t)reach->most + 1, sizeof *reach->chips, (void **)&reach->chips);
  for (int32_t i = 0; !status && i < all; i++) {
    for (int32_t h = reached[i].hops; h >= 0 && h <= reach->most; h++) reach->chips[h]++;
  }
  free(reached);
  return status;
}

/* One vector of bytes to a neighbour: until its first superlane can be read there. The others follow in their stagger,
 * in which whatever comes next follows too. */
static td_status find_first(struct reach *reach) {
  const struct td_lpu_collective what = {TD_LPU_BROADCAST, TD_LPU_DIRECT, TD_LPU_I8, 2, 1};
  struct td_lpu_counts counts;
  struct td_lpu_rates rates;
  double busy = 0;
  TD_TRY(lpu_collective_length(reach->machine, &what, &counts, &busy));
  td_lpu_machine_rates(reach->machine, &rates);
  reach->sram = (double)rates.sram_bytes;
  reach->first = (double)(counts.cycles - (reach->machine->superlanes - 1)) / reach->machine->clock_hz;
  reach->hop = td_lpu_hop_cycles(reach->machine) / reach->machine->clock_hz;
  return TD_OK;
}

/* The least hops within which there is that much; -1: in all of it there is not. A hair of rounding is no other chip.
 */
static int32_t hops_to(const struct reach *reach, double bytes) {
  for (int32_t h = 1; h <= reach->most; h++) {
    if (reach->chips[h] * reach->sram >= bytes * 0.999) return h;
  }
  return -1;
}

static double seconds_of(const struct reach *reach, int32_t hops) {
  return reach->first + (hops - 1) * reach->hop;
}

static void print_size(const struct reach *reach, int32_t i, int32_t hops) {
  double seconds = seconds_of(reach, hops);
  printf("%12.6g %8d %10.3f", reach->sizes[i], hops, seconds * 1e6);
  if (i < reach->published_count) {
    printf(" %10.3f %+8.2f %%", reach->published[i] * 1e6, 100 * (seconds / reach->published[i] - 1));
  }
  puts("");
}

static td_status print_sizes(const struct reach *reach) {
  printf("\n%12s %8s %10s%s\n", "GB of SRAM", "hops", "us", reach->published_count ? "  published      off" : "");
  for (int32_t i = 0; i < reach->size_count; i++) {
    int32_t hops = hops_to(reach, reach->sizes[i] * 1e9);
    if (hops < 0) {
      return td_fail(TD_CONFIG, "--gigabytes: found %g, expected at most the %.4g of %s", reach->sizes[i],
                     reach->machine->system_chips * reach->sram / 1e9, reach->machine->name);
    }
    print_size(reach, i, hops);
  }
  return TD_OK;
}

static td_status print_text(const struct reach *reach) {
  printf("%s: first %.4f us, compiled: a vector from SRAM to SRAM of a neighbour; then link_hop, %.4f us a chip\n",
         reach->machine->name, reach->first * 1e6, reach->hop * 1e6);
  printf("%8s %8s %12s %10s\n", "hops", "chips", "GB", "us");
  for (int32_t h = 1; h <= reach->most; h++) {
    printf("%8d %8d %12.4f %10.3f\n", h, reach->chips[h], reach->chips[h] * reach->sram / 1e9,
           seconds_of(reach, h) * 1e6);
  }
  return reach->size_count ? print_sizes(reach) : TD_OK;
}

static void print_json(const struct reach *reach) {
  printf("{\"device\": \"%s\", \"first_s\": %.9g, \"hop_s\": %.9g, \"hops\": [", reach->machine->name, reach->first,
         reach->hop);
  for (int32_t h = 1; h <= reach->most; h++) {
    printf("%s{\"hops\": %d, \"chips\": %d, \"bytes\": %.17g, \"seconds\": %.9g}", h > 1 ? ", " : "", h,
           reach->chips[h], reach->chips[h] * reach->sram, seconds_of(reach, h));
  }
  printf("], \"sizes\": [");
  for (int32_t i = 0; i < reach->size_count; i++) {
    int32_t hops = hops_to(reach, reach->sizes[i] * 1e9);
    printf("%s{\"bytes\": %.17g, \"hops\": ", i ? ", " : "", reach->sizes[i] * 1e9);
    if (hops < 0) {
      printf("null, \"seconds\": null}");
    } else {
      printf("%d, \"seconds\": %.9g}", hops, seconds_of(reach, hops));
    }
  }
  puts("]}");
}

static td_status run(const struct td_device_params *params, bool json, struct reach *reach) {
  reach->machine = td_lpu_machine_of(params);
  if (!reach->machine || reach->machine->levels == 0) {
    return td_fail(TD_CONFIG, "--device: found %s, a %s, expected a system of LPUs", params->name,
                   td_device_kind_name(params->kind));
  }
  TD_TRY(count_hops(reach));
  TD_TRY(find_first(reach));
  if (!json) return print_text(reach);
  print_json(reach);
  return TD_OK;
}

td_status lpu_reach_command(int argc, char **argv) {
  const char *positionals[1], *device = NULL, *sizes = NULL, *against = NULL;
  bool json = false;
  int32_t count;
  struct reach reach = {.machine = NULL};
  struct td_device_params *params = NULL;
  const struct td_flag flags[] = {{.name = "--device", .value = &device},
                                  {.name = "--gigabytes", .value = &sizes},
                                  {.name = "--against", .value = &against},
                                  {.name = "--json", .given = &json},
                                  {.name = NULL}};
  TD_TRY(td_flags_parse(argc, argv, flags, positionals, 1, &count));
  if (!device) return td_fail(TD_USAGE, "lpu reach: expected --device SYSTEM");
  TD_TRY(read_numbers("--gigabytes", sizes, reach.sizes, &reach.size_count));
  TD_TRY(read_numbers("--against", against, reach.published, &reach.published_count));
  if (reach.published_count > reach.size_count) {
    return td_fail(TD_USAGE, "--against: found %d times, expected at most one for each of %d --gigabytes",
                   reach.published_count, reach.size_count);
  }
  TD_TRY(td_device_params_open(device, &params));
  td_status status = run(params, json, &reach);
  free(reach.chips);
  td_device_params_close(params);
  return status;
}
