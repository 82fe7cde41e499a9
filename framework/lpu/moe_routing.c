/* SPDX-License-Identifier: Apache-2.0
 *
 * How tokens may fall on experts: draws from a stated distribution, and closed forms where all chances are alike.
 */
#include <math.h>
#include <stdlib.h>

#include "tandem/base.h"
#include "tandem/lpu_moe.h"

#define MOST_EXPERTS 65536
#define MOST_ZIPF 8.0
td_status td_moe_routing_check(const struct td_moe_routing *routing) {
  if (routing->experts < 1 || routing->experts > MOST_EXPERTS || routing->used < 1 ||
      routing->used > routing->experts) {
    return td_fail(TD_CONFIG, "routing: found %d of %d experts, expected 1 up to all of 1..%d", routing->used,
                   routing->experts, MOST_EXPERTS);
  }
  if (routing->zipf >= 0.0 && routing->zipf <= MOST_ZIPF) return TD_OK;
  return td_fail(TD_CONFIG, "routing: found a zipf exponent of %g, expected 0..%g", routing->zipf, MOST_ZIPF);
}

/* ---- draws ---- */

struct draw {
  const struct td_moe_routing *routing;
  uint64_t seed;
  double *chance, *time; /* [experts] */
  int32_t *loads;
};

/* Which expert has which rank. */
static void deal_ranks(struct draw *draw) {
  int32_t count = draw->routing->experts;
  for (int32_t e = 0; e < count; e++) draw->chance[e] = pow(e + 1.0, -draw->routing->zipf);
  for (int32_t e = count - 1; e > 0; e--) {
    int32_t other = (int32_t)(td_random(draw->seed, 0, (uint64_t)e) % ((uint64_t)e + 1));
    double chance = draw->chance[e];
    draw->chance[e] = draw->chance[other];
    draw->chance[other] = chance;
  }
}

/* Exponential times at rates as the chances: the first `used` to come are one after another the next among those left.
 */
static void draw_token(struct draw *draw, int32_t token) {
  int32_t count = draw->routing->experts;
  for (int32_t e = 0; e < count; e++) {
    double unit = td_random_unit(draw->seed, 1 + (uint64_t)token, (uint64_t)e);
    draw->time[e] = -log1p(-unit) / draw->chance[e];
  }
  for (int32_t slot = 0; slot < draw->routing->used; slot++) {
    int32_t first = 0;
    for (int32_t e = 1; e < count; e++) {
      if (draw->time[e] < draw->time[first]) first = e;
    }
    draw->time[first] = INFINITY;
    draw->loads[first]++;
  }
}

td_status td_moe_draw(const struct td_moe_routing *routing, int32_t tokens, uint64_t seed, int32_t *loads) {
  struct draw draw = {.routing = routing, .seed = seed, .loads = loads};
  TD_TRY(td_moe_routing_check(routing));
  TD_TRY(td_alloc(2 * (size_t)routing->experts, sizeof *draw.chance, (void **)&draw.chance));
  draw.time = draw.chance + routing->experts;
  for (int32_t e = 0; e < routing->experts; e++) loads[e] = 0;
  deal_ranks(&draw);
  for (int32_t token = 0; token < tokens; token++) draw_token(&draw, token);
  free(draw.chance);
  return TD_OK;
}

/* ---- closed forms ---- */

double td_moe_distinct(int32_t experts, int32_t used, int32_t tokens) {
  if (tokens <= 0) return 0.0;
  return experts * -expm1(tokens * log1p(-(double)used / experts));
}

/* P(load <= most), load binomial: `tokens` trials, used / experts each. */
static double at_most(int32_t experts, int32_t used, int32_t tokens, int32_t most) {
  double p = (double)used / experts, sum = 0.0;
  if (most >= tokens) return 1.0;
  for (int32_t i = 0; i <= most; i++) {
    double ways = lgamma(tokens + 1.0) - lgamma(i + 1.0) - lgamma(tokens - i + 1.0);
    sum += exp(ways + i * log(p) + (tokens - i) * log1p(-p));
  }
  return sum < 1.0 ? sum : 1.0;
}

void td_moe_largest(int32_t experts, int32_t used, int32_t tokens, double *out_low, double *out_high) {
  *out_low = *out_high = 0.0;
  for (int32_t most = 0; most < tokens; most++) {
    double more = used < experts ? 1.0 - at_most(experts, used, tokens, most) : 1.0;
    *out_low += used < experts ? -expm1(experts * log1p(-more)) : 1.0;
    *out_high += fmin(1.0, experts * more);
  }
  *out_low = fmax(*out_low, ceil((double)tokens * used / experts)); /* the mean, which some expert reaches */
}
