/* SPDX-License-Identifier: Apache-2.0
 *
 * A prefix cache beside a plain model of it: lists that are searched from end to end; and who has what of several.
 */
#include "engine/prefix_cache.h"

#include "../support.h"
#include "tandem/base.h"

enum { KEYS = 60, TIERS = 3 };
static const int64_t room[TIERS] = {0, 3, 5};

struct plain {
  int uses[KEYS];
  int tier[KEYS];      /* of an idle one; -1: nowhere */
  int64_t since[KEYS]; /* when it came to its tier */
  int64_t now, left[TIERS];
};

static int count_in(const struct plain *plain, int tier, int *out_oldest) {
  int count = 0;
  for (int key = 0; key < KEYS; key++) {
    if (plain->uses[key] || plain->tier[key] != tier) continue;
    if (!count++ || plain->since[key] < plain->since[*out_oldest]) *out_oldest = key;
  }
  return count;
}

static void trim(struct plain *plain, int64_t most) {
  int oldest = 0;
  for (int tier = 0; tier < TIERS; tier++) {
    while (count_in(plain, tier, &oldest) > (tier ? room[tier] : most)) {
      plain->tier[oldest] = tier + 1 < TIERS ? tier + 1 : -1;
      plain->since[oldest] = plain->now++;
      plain->left[tier]++;
    }
  }
}

static void same(const struct plain *plain, const struct prefix_cache *cache) {
  int64_t in_use = 0;
  for (int key = 0; key < KEYS; key++) {
    in_use += plain->uses[key] > 0;
    assert_int_equal(prefix_cache_tier(cache, (uint64_t)key * 64), plain->uses[key] ? 0 : plain->tier[key]);
  }
  assert_int_equal(cache->in_use, in_use);
  for (int tier = 0; tier < TIERS; tier++) assert_int_equal(cache->tiers[tier].left, plain->left[tier]);
}

/* What is in use or idle in a tier that is not kept is gone. */
static void lose(struct plain *plain, struct prefix_cache *cache, uint32_t kept) {
  int64_t idle = 0;
  for (int key = 0; key < KEYS; key++) {
    if (!plain->uses[key] && (plain->tier[key] < 0 || kept & 1u << plain->tier[key])) continue;
    idle += !plain->uses[key];
    plain->uses[key] = 0;
    plain->tier[key] = -1;
  }
  assert_int_equal(prefix_cache_lose(cache, kept), idle);
}

/* Keys that are multiples of 64 fall on few slots. */
static void behaves_as_a_plain_one(void **state) {
  struct plain plain = {.now = 0};
  struct prefix_cache cache;
  (void)state;
  prefix_cache_open(&cache, TIERS);
  for (int tier = 1; tier < TIERS; tier++) cache.tiers[tier].most = room[tier];
  for (int key = 0; key < KEYS; key++) plain.tier[key] = -1;
  for (uint64_t i = 0; i < 20000; i++) {
    int key = (int)(td_random(1, 0, i) % KEYS), what = (int)(td_random(1, 1, i) % 8);
    if (what < 2) {
      plain.uses[key]++;
      assert_int_equal(prefix_cache_use(&cache, (uint64_t)key * 64), TD_OK);
    } else if (what < 7 && plain.uses[key]) {
      if (!--plain.uses[key]) {
        plain.tier[key] = 0;
        plain.since[key] = plain.now++;
      }
      prefix_cache_release(&cache, (uint64_t)key * 64);
    } else {
      trim(&plain, (int64_t)(td_random(1, 2, i) % 6));
      prefix_cache_trim(&cache, (int64_t)(td_random(1, 2, i) % 6));
    }
    if (i % 500 == 0) lose(&plain, &cache, i % 1000 ? 4 : 2);
    if (i % 16 == 0) same(&plain, &cache);
  }
  assert_true(plain.left[2] > 100);
  prefix_cache_close(&cache);
}

/* ---- several caches ---- */

enum { CACHES = 70 };

static void same_holders(const struct prefix_cache *caches, const struct holders *holders) {
  size_t kept = 0;
  for (uint64_t key = 0; key < KEYS; key++) {
    const int32_t *workers = NULL;
    int32_t count = holders_of(holders, key * 64, &workers), at = 0;
    for (int32_t i = 0; i < CACHES; i++) {
      if (prefix_cache_tier(&caches[i], key * 64) < 0) continue;
      assert_true(at < count);
      assert_int_equal(workers[at++], i);
    }
    assert_int_equal(at, count);
    kept += count > 0;
  }
  assert_int_equal(holders->used, kept);
}

static void change(struct prefix_cache *cache, int uses[KEYS], uint64_t turn) {
  int key = (int)(td_random(2, 1, turn) % KEYS), what = (int)(td_random(2, 2, turn) % 8);
  if (what < 3) {
    uses[key]++;
    assert_int_equal(prefix_cache_use(cache, (uint64_t)key * 64), TD_OK);
  } else if (what < 7 && uses[key]) {
    uses[key]--;
    prefix_cache_release(cache, (uint64_t)key * 64);
  } else if (what == 7 && turn % 5 == 0) {
    prefix_cache_lose(cache, 4);
    memset(uses, 0, KEYS * sizeof *uses);
  } else {
    prefix_cache_trim(cache, (int64_t)(td_random(2, 3, turn) % 6));
  }
}

/* Keys are with few and with many, and with nobody again. */
static void holders_are_who_has_it(void **state) {
  static int uses[CACHES][KEYS];
  struct prefix_cache caches[CACHES];
  struct holders holders = {.used = 0};
  (void)state;
  for (int32_t i = 0; i < CACHES; i++) {
    prefix_cache_open(&caches[i], TIERS);
    for (int tier = 1; tier < TIERS; tier++) caches[i].tiers[tier].most = room[tier];
    caches[i].worker = i;
    caches[i].holders = &holders;
  }
  for (uint64_t turn = 0; turn < 40000; turn++) {
    uint64_t cache = td_random(2, 0, turn) % (turn / 5000 % 2 ? CACHES : 3);
    change(&caches[cache], uses[cache], turn);
    if (turn % 64 == 0) same_holders(caches, &holders);
  }
  for (int32_t i = 0; i < CACHES; i++) prefix_cache_lose(&caches[i], 0);
  same_holders(caches, &holders);
  assert_int_equal(holders.used, 0);
  for (int32_t i = 0; i < CACHES; i++) prefix_cache_close(&caches[i]);
  holders_close(&holders);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(behaves_as_a_plain_one),
                                     cmocka_unit_test(holders_are_who_has_it)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
