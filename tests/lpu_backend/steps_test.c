/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend's steps: the bits of the program driven by hand, a clock that is the count, the closed form and the price
 * at once, batches and chunks that change nothing.
 */
#include <math.h>

#include "rig.h"

static struct rig rig;
static const int32_t prompt[] = {5, 200, 17, 90, 3, 311, 42, 8, 120, 77};
#define PROMPT ((int64_t)(sizeof prompt / sizeof *prompt))

static void same_logits(const float *got, const float *want, const char *what) {
  for (int32_t i = 0; i < rig.vocab; i++) {
    if (memcmp(&got[i], &want[i], sizeof *got)) {
      fail_msg("%s: logit %d: found %a, expected %a", what, i, (double)got[i], (double)want[i]);
    }
  }
}

static struct td_price price_of(struct world *world, int64_t past, int64_t tokens, int64_t *layers) {
  struct td_step_stats stats = {{0}};
  struct td_price price;
  td_step_stats_add(&stats, &rig.graph->shape, past, tokens, 1);
  assert_ok(td_device_price(world->device, rig.graph, &rig.whole, TD_F16, &stats, layers, &price));
  return price;
}

static int64_t closed_form(const struct hand *hand, int32_t position) {
  static const int32_t blocks[CONTEXT];
  struct td_lpu_row row = {position, blocks, position / BLOCK + 1};
  return td_lpu_program_cycles(hand->program, td_lpu_program_entry(hand->program, 1), &(struct td_lpu_step){&row, 1});
}

/* What the step counted, and what it was going to. */
static void check_counts(const struct hand *hand, int32_t position) {
  static const int32_t blocks[CONTEXT];
  struct td_lpu_row row = {position, blocks, position / BLOCK + 1};
  struct td_lpu_counts want;
  assert_ok(td_lpu_program_counts(hand->program, hand->tallies, td_lpu_program_entry(hand->program, 1),
                                  &(struct td_lpu_step){&row, 1}, &want));
  assert_int_equal(hand->counts.cycles, want.cycles);
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) assert_int_equal(hand->counts.issued[i], want.issued[i]);
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) assert_int_equal(hand->counts.busy[i], want.busy[i]);
  assert_true(hand->counts.energy_j == want.energy_j);
}

static void one_token(struct world *world, struct hand *hand, int32_t id, int32_t position, const int32_t *blocks,
                      float *logits) {
  struct td_price price = price_of(world, position, 1, NULL);
  int64_t before_ps = td_device_now(world->device);
  double before_j = td_device_energy(world->device);
  const float *got = world_step(world, 1, position, &id, 1);
  int64_t lasted_ps = td_device_now(world->device) - before_ps;
  double used_j = td_device_energy(world->device) - before_j;
  hand_step(&rig, hand, id, position, blocks, logits);
  same_logits(got, logits, "by hand");
  check_counts(hand, position);
  double exact = (double)hand->counts.cycles * 1e12 / hand->program->machine.clock_hz;
  assert_true(fabs(exact - (double)lasted_ps) <= 0.5);
  assert_int_equal(closed_form(hand, position), hand->counts.cycles);
  assert_int_equal(price.base_ps, lasted_ps);
  assert_int_equal(price.slope_ps, 0);
  assert_true(fabs(price.energy_j - used_j) <= 1e-9 * used_j);
  assert_true(price.energy_j == hand->counts.energy_j);
}

static void tokens_of(enum td_lpu_weights weights, const char *host) {
  struct world world;
  struct hand hand;
  float *logits = calloc((size_t)rig.vocab, sizeof *logits);
  static const int32_t blocks[2] = {4, 1};
  int32_t id = prompt[0];
  assert_non_null(logits);
  world_open(&rig, weights, host, 1, &world);
  hand_open(&rig, weights, &hand);
  for (int32_t p = 0; p < 12; p++) {
    one_token(&world, &hand, id, p, blocks, logits);
    id = p + 1 < PROMPT ? prompt[p + 1] : likeliest(&rig, logits);
  }
  hand_close(&hand);
  world_close(&world);
  free(logits);
}

static void test_tokens_f16(void **state) {
  (void)state;
  tokens_of(TD_LPU_WEIGHTS_F16, "step");
}

static void test_tokens_i8(void **state) {
  (void)state;
  tokens_of(TD_LPU_WEIGHTS_I8, "step");
}

/* A device that interprets the program: the same bits, the same count. */
static void test_tokens_on_cpu(void **state) {
  (void)state;
  tokens_of(TD_LPU_WEIGHTS_F16, "cpu");
  tokens_of(TD_LPU_WEIGHTS_I8, "cpu");
}

/* A price holds until a sequence begins its next KV block, and then another one does. */
static void test_price_steps(void **state) {
  struct world world;
  struct td_price price;
  (void)state;
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 1, &world);
  price = price_of(&world, 100, 1, NULL);
  assert_int_equal(price.valid_steps, BLOCK - 100);
  struct td_price last = price_of(&world, BLOCK - 1, 1, NULL), next = price_of(&world, BLOCK, 1, NULL);
  assert_int_equal(last.valid_steps, 1);
  assert_int_equal(last.base_ps, price.base_ps);
  assert_true(next.base_ps > last.base_ps);
  assert_int_equal(price_of(&world, 0, 9, NULL).valid_steps, 1);
  world_close(&world);
}

/* Layers are done one after another, the last before the step is. */
static void test_price_layers(void **state) {
  struct world world;
  int64_t layers[16];
  (void)state;
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 2, &world);
  struct td_price price = price_of(&world, 3, 5, layers);
  for (int32_t i = 0; i < rig.graph->shape.layers; i++) {
    assert_true(layers[i] > (i ? layers[i - 1] : 0) && layers[i] < price.base_ps);
  }
  world_close(&world);
}

/* A prompt token by token, in chunks over several passes, and as one of a batch: the same bits. */
static void test_chunks_and_batches(void **state) {
  struct world one, many;
  float *want = calloc((size_t)rig.vocab, sizeof *want);
  const float *got = NULL;
  int64_t count = 0;
  (void)state;
  assert_non_null(want);
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 1, &one);
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 3, &many);
  for (int64_t p = 0; p < PROMPT; p++) memcpy(want, world_step(&one, 1, p, &prompt[p], 1), (size_t)rig.vocab * 4);
  world_step(&many, 1, 0, prompt, 7);
  same_logits(world_step(&many, 1, 7, prompt + 7, PROMPT - 7), want, "in two chunks");
  struct td_step_seq seqs[3] = {{.request = 2, .tokens = 4, .ids = prompt + 2, .logits = true},
                                {.request = 3, .tokens = PROMPT, .ids = prompt, .logits = true},
                                {.request = 4, .tokens = 1, .ids = prompt, .logits = false}};
  assert_ok(td_runner_step(many.runner, seqs, 3, false, NULL, NULL, NULL, NULL, &got, &count));
  assert_int_equal(count, 2);
  same_logits(got + rig.vocab, want, "in a batch");
  world_close(&many);
  world_close(&one);
  free(want);
}

/* A batch is priced as it is counted, when tiles were counted; without them it is refused. */
static void test_price_of_batch(void **state) {
  struct world world;
  struct td_step_stats stats = {{[TD_SYM_TILE] = BLOCK}}, plain = {{0}};
  struct td_step_seq seqs[3] = {{.request = 2, .tokens = 4, .ids = prompt, .logits = true},
                                {.request = 3, .tokens = 9, .ids = prompt, .logits = true},
                                {.request = 4, .tokens = 1, .ids = prompt, .logits = true}};
  struct td_price price;
  const float *logits;
  int64_t count;
  (void)state;
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 4, &world);
  for (int i = 0; i < 3; i++) {
    td_step_stats_add(&stats, &rig.graph->shape, 0, seqs[i].tokens, 1);
    td_step_stats_add(&plain, &rig.graph->shape, 0, seqs[i].tokens, 1);
  }
  assert_ok(td_device_price(world.device, rig.graph, &rig.whole, TD_F16, &stats, NULL, &price));
  int64_t before_ps = td_device_now(world.device);
  assert_ok(td_runner_step(world.runner, seqs, 3, false, NULL, NULL, NULL, NULL, &logits, &count));
  assert_int_equal(price.base_ps, td_device_now(world.device) - before_ps);
  assert_int_equal(td_device_price(world.device, rig.graph, &rig.whole, TD_F16, &plain, NULL, &price), TD_UNSUPPORTED);
  world_close(&world);
}

/* The closed form of the tiles against counting them. */
static void test_tiles(void **state) {
  const struct td_shape plain = {.layers = 1};
  (void)state;
  for (int64_t tile = 1; tile < 9; tile++) {
    for (int64_t past = 0; past < 20; past++) {
      for (int64_t tokens = 1; tokens < 20; tokens++) {
        struct td_step_stats stats = {{[TD_SYM_TILE] = tile}};
        int64_t tiles = 0;
        td_step_stats_add(&stats, &plain, past, tokens, 1);
        for (int64_t p = past; p < past + tokens; p++) tiles += p / tile + 1;
        assert_int_equal(stats.v[TD_SYM_TILES], tiles);
        assert_int_equal(stats.v[TD_SYM_TILE_STEPS], tile - past % tile);
        td_step_stats_add(&stats, &plain, 3 * tile - 1, 1, 1);
        assert_int_equal(stats.v[TD_SYM_TILES], tiles + 3);
        assert_int_equal(stats.v[TD_SYM_TILE_STEPS], 1);
      }
    }
  }
}

/* The tiles of the last pass against counting them, over sequences of any length. */
static void test_pass_tiles(void **state) {
  enum { MOST = 4096 };
  static int64_t of[MOST];
  const struct td_shape plain = {.layers = 1};
  (void)state;
  for (int64_t seed = 0; seed < 200; seed++) {
    int64_t tile = 1 + seed % 7, pass = 1 + seed / 7 % 9, rows = 0;
    struct td_step_stats stats = {{[TD_SYM_TILE] = tile, [TD_SYM_PASS] = pass}};
    for (int64_t i = 0; i < 12; i++) {
      int64_t past = (seed * 31 + i * 17) % 40, tokens = 1 + (seed * 7 + i * i) % (i % 3 ? 3 : 25), tiles = 0;
      td_step_stats_add(&stats, &plain, past, tokens, 1);
      for (int64_t p = past; p < past + tokens; p++) of[rows++] = p / tile + 1;
      for (int64_t r = (rows - 1) / pass * pass; r < rows; r++) tiles += of[r];
      assert_int_equal(stats.v[TD_SYM_PASS_TILES], tiles);
    }
  }
}

static int setup(void **state) {
  (void)state;
  rig_open(&rig);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  rig_close(&rig);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tokens_f16),     cmocka_unit_test(test_tokens_i8),
      cmocka_unit_test(test_tokens_on_cpu),  cmocka_unit_test(test_price_steps),
      cmocka_unit_test(test_price_layers),   cmocka_unit_test(test_chunks_and_batches),
      cmocka_unit_test(test_price_of_batch), cmocka_unit_test(test_tiles),
      cmocka_unit_test(test_pass_tiles),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
