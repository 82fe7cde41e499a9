/* SPDX-License-Identifier: Apache-2.0
 *
 * Corrupts every field of the layout record and of the chunk header in turn, and the payload: each is refused with the
 * field named, and the store is the same to the byte. Wrong bytes are never decoded.
 */
#include "kv_fixture.h"

#define TOKENS 10
#define BLOCK 4
#define BLOCKS 8
#define PAYLOAD (2 * 2 * BLOCK * WIDTH * 4)

/* A sender with a prompt, a receiver that expects it, and a good chunk: layers [1, 3), positions [4, 8). */
struct pair {
  struct td_device *device;
  struct td_kv_store *from, *to;
  int32_t ids[TOKENS];
  struct td_kv_expect expect;
  struct td_kv_chunk chunk;
  char payload[PAYLOAD];
};

static uint64_t prefix_hash(const int32_t *ids, uint64_t tokens) {
  return td_hash(TD_HASH_INIT, ids, tokens * sizeof *ids);
}

static int setup(void **state) {
  struct pair *pair = calloc(1, sizeof *pair);
  assert_non_null(pair);
  pair->device = open_template();
  pair->from = open_store(pair->device, TD_F32, BLOCK, BLOCKS);
  pair->to = open_store(pair->device, TD_F32, BLOCK, BLOCKS);
  fill(pair->device, pair->from, 7, TOKENS, 1);
  for (int i = 0; i < TOKENS; i++) pair->ids[i] = 11 * i;
  pair->expect = (struct td_kv_expect){
      .request = 7, .generation = 3, .tokens = TOKENS, .ids = pair->ids, .layout = *td_kv_store_layout(pair->from)};
  assert_ok(td_kv_import_begin(pair->to, &pair->expect));
  assert_ok(td_kv_export(pair->from, 7, 1, 3, 4, 8, pair->payload, PAYLOAD, &pair->chunk));
  pair->chunk.generation = 3;
  pair->chunk.prefix_hash = prefix_hash(pair->ids, 8);
  *state = pair;
  return 0;
}

static int teardown(void **state) {
  struct pair *pair = *state;
  td_kv_store_close(pair->from);
  td_kv_store_close(pair->to);
  td_device_close(pair->device);
  free(pair);
  return 0;
}

/* Import must fail naming `field` and change nothing, and the good chunk must still be welcome afterwards. */
static void refuse(struct pair *pair, const struct td_kv_chunk *chunk, const void *payload, td_status code,
                   const char *field) {
  uint64_t before = pools_hash(pair->device, pair->to, BLOCKS);
  int32_t free_before = td_kv_store_free_blocks(pair->to);
  bool complete = false;
  char name[64];
  snprintf(name, sizeof name, "%s", field);
  assert_refused(td_kv_import(pair->to, chunk, payload, &complete), code, name);
  assert_false(complete);
  assert_int_equal(td_kv_length(pair->to, 7), 0);
  assert_int_equal(td_kv_store_free_blocks(pair->to), free_before);
  assert_true(pools_hash(pair->device, pair->to, BLOCKS) == before);
}

/* ---- the layout record ---- */

#define LAYOUT_FIELD(name) \
  { #name, offsetof(struct td_kv_layout, name), sizeof(((struct td_kv_layout *)0)->name) }
static const struct {
  const char *name;
  size_t offset, bytes;
} layout_fields[] = {
    LAYOUT_FIELD(version),        LAYOUT_FIELD(dtype),         LAYOUT_FIELD(scale_granularity),
    LAYOUT_FIELD(k_order),        LAYOUT_FIELD(v_order),       LAYOUT_FIELD(block_tokens),
    LAYOUT_FIELD(head_begin),     LAYOUT_FIELD(head_end),      LAYOUT_FIELD(layer_begin),
    LAYOUT_FIELD(layer_end),      LAYOUT_FIELD(head_dim),      LAYOUT_FIELD(position_encoding),
    LAYOUT_FIELD(k_token_stride), LAYOUT_FIELD(k_head_stride), LAYOUT_FIELD(v_token_stride),
    LAYOUT_FIELD(v_head_stride),
};
#define LAYOUT_FIELDS (sizeof layout_fields / sizeof *layout_fields)

/* Every byte of the record is covered by the list above. */
static void test_fields_cover_the_record(void **state) {
  (void)state;
  size_t bytes = 0;
  for (size_t i = 0; i < LAYOUT_FIELDS; i++) {
    assert_int_equal(layout_fields[i].offset, bytes);
    bytes += layout_fields[i].bytes;
  }
  assert_int_equal(bytes, sizeof(struct td_kv_layout));
}

/* Every bit of every field, on the wire. */
static void test_layout_on_the_wire(void **state) {
  struct pair *pair = *state;
  for (size_t i = 0; i < LAYOUT_FIELDS; i++) {
    for (size_t bit = 0; bit < 8 * layout_fields[i].bytes; bit++) {
      struct td_kv_chunk chunk = pair->chunk;
      ((unsigned char *)&chunk.layout)[layout_fields[i].offset + bit / 8] ^= (unsigned char)(1u << bit % 8);
      refuse(pair, &chunk, pair->payload, TD_CORRUPT, layout_fields[i].name);
    }
  }
}

/* Plausible lies: a sender that declares, on both roads, a layout that cannot be converted. */
static void test_layout_not_convertible(void **state) {
  struct pair *pair = *state;
  const struct {
    const char *name;
    uint64_t value;
  } lies[] = {{"version", 2},           {"dtype", TD_Q8_0},    {"dtype", TD_BF16},     {"scale_granularity", 32},
              {"k_order", 0},           {"v_order", 4},        {"block_tokens", 0},    {"head_begin", 1},
              {"head_end", 1},          {"layer_begin", 1},    {"layer_end", 2},       {"head_dim", 8},
              {"position_encoding", 1}, {"k_token_stride", 0}, {"k_head_stride", 999}, {"v_token_stride", 64},
              {"v_head_stride", 0}};
  for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
    struct td_kv_expect expect = pair->expect;
    expect.request = 8;
    for (size_t j = 0; j < LAYOUT_FIELDS; j++) {
      if (strcmp(layout_fields[j].name, lies[i].name)) continue;
      memcpy((char *)&expect.layout + layout_fields[j].offset, &lies[i].value, layout_fields[j].bytes);
    }
    assert_refused(td_kv_layout_convertible(&expect.layout, td_kv_store_layout(pair->to)), TD_UNSUPPORTED,
                   lies[i].name);
    int32_t free_before = td_kv_store_free_blocks(pair->to);
    assert_refused(td_kv_import_begin(pair->to, &expect), TD_UNSUPPORTED, lies[i].name);
    assert_int_equal(td_kv_store_free_blocks(pair->to), free_before);
  }
}

/* ---- the chunk header ---- */

#define WRONG(field, value, code) \
  { #field, offsetof(struct td_kv_chunk, field), sizeof(((struct td_kv_chunk *)0)->field), value, code }

/* The good chunk is layers [1, 3), positions [4, 8) of 10, in blocks of 4, request 7, generation 3. */
static void test_header(void **state) {
  static const struct {
    const char *field;
    size_t offset, bytes;
    uint64_t value;
    td_status code;
  } wrong[] = {
      WRONG(request, 8, TD_PRECONDITION),       WRONG(generation, 2, TD_PRECONDITION),
      WRONG(generation, 4, TD_PRECONDITION),    WRONG(layer_begin, 3, TD_CORRUPT),
      WRONG(layer_begin, 2, TD_CORRUPT),        WRONG(layer_begin, UINT32_MAX, TD_CORRUPT),
      WRONG(layer_end, 1, TD_CORRUPT),          WRONG(layer_end, 2, TD_CORRUPT),
      WRONG(layer_end, 4, TD_CORRUPT),          WRONG(token_begin, 3, TD_CORRUPT),
      WRONG(token_begin, 5, TD_CORRUPT),        WRONG(token_begin, 0, TD_CORRUPT),
      WRONG(token_begin, 12, TD_CORRUPT),       WRONG(token_begin, UINT64_MAX, TD_CORRUPT),
      WRONG(token_end, 7, TD_CORRUPT),          WRONG(token_end, 9, TD_CORRUPT),
      WRONG(token_end, 4, TD_CORRUPT),          WRONG(token_end, 12, TD_CORRUPT),
      WRONG(token_end, UINT64_MAX, TD_CORRUPT), WRONG(prefix_hash, 1, TD_CORRUPT),
      WRONG(payload_bytes, 0, TD_CORRUPT),      WRONG(payload_bytes, PAYLOAD - 4, TD_CORRUPT),
      WRONG(payload_hash, 1, TD_CORRUPT),
  };
  struct pair *pair = *state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    struct td_kv_chunk chunk = pair->chunk;
    memcpy((char *)&chunk + wrong[i].offset, &wrong[i].value, wrong[i].bytes);
    /* A range that is wrong but well-formed only shows in the sizes that follow from it: that line names the range. */
    refuse(pair, &chunk, pair->payload, wrong[i].code, wrong[i].field);
  }
}

/* Every bit of every field behind the layout. */
static void test_header_on_the_wire(void **state) {
  static const struct {
    const char *field;
    size_t offset, bytes;
  } fields[] = {
#define HEADER_FIELD(field) {#field, offsetof(struct td_kv_chunk, field), sizeof(((struct td_kv_chunk *)0)->field)}
      HEADER_FIELD(request),     HEADER_FIELD(generation),    HEADER_FIELD(layer_begin),
      HEADER_FIELD(layer_end),   HEADER_FIELD(token_begin),   HEADER_FIELD(token_end),
      HEADER_FIELD(prefix_hash), HEADER_FIELD(payload_bytes), HEADER_FIELD(payload_hash),
  };
  struct pair *pair = *state;
  size_t covered = sizeof(struct td_kv_layout);
  for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
    assert_int_equal(fields[i].offset, covered);
    covered += fields[i].bytes;
    for (size_t bit = 0; bit < 8 * fields[i].bytes; bit++) {
      struct td_kv_chunk chunk = pair->chunk;
      ((unsigned char *)&chunk)[fields[i].offset + bit / 8] ^= (unsigned char)(1u << bit % 8);
      refuse(pair, &chunk, pair->payload, i < 2 ? TD_PRECONDITION : TD_CORRUPT, fields[i].field);
    }
  }
  assert_int_equal(covered, sizeof(struct td_kv_chunk));
}

/* Both ends of the range off by one, so that every size still agrees. */
static void test_off_by_one_position(void **state) {
  struct pair *pair = *state;
  struct td_kv_chunk chunk = pair->chunk;
  chunk.token_begin++;
  chunk.token_end++;
  chunk.prefix_hash = prefix_hash(pair->ids, chunk.token_end);
  refuse(pair, &chunk, pair->payload, TD_CORRUPT, "token_begin");
  chunk.token_begin -= 2;
  chunk.token_end -= 2;
  chunk.prefix_hash = prefix_hash(pair->ids, chunk.token_end);
  refuse(pair, &chunk, pair->payload, TD_CORRUPT, "token_begin");
}

/* A whole block off: only the prefix hash can tell. */
static void test_block_of_other_positions(void **state) {
  struct pair *pair = *state;
  struct td_kv_chunk chunk = pair->chunk;
  chunk.token_begin -= BLOCK;
  chunk.token_end -= BLOCK;
  refuse(pair, &chunk, pair->payload, TD_CORRUPT, "prefix_hash");
}

/* ---- stale, missing, twice, damaged ---- */

static void test_block_of_another_prompt(void **state) {
  struct pair *pair = *state;
  struct td_kv_chunk chunk = pair->chunk;
  int32_t other[TOKENS];
  memcpy(other, pair->ids, sizeof other);
  other[2]++; /* before the chunk's own positions, and yet it changes what they hold */
  chunk.prefix_hash = prefix_hash(other, 8);
  refuse(pair, &chunk, pair->payload, TD_CORRUPT, "prefix_hash");
}

static void test_every_payload_byte(void **state) {
  struct pair *pair = *state;
  for (size_t i = 0; i < PAYLOAD; i += 7) {
    pair->payload[i] = (char)(pair->payload[i] ^ 1);
    refuse(pair, &pair->chunk, pair->payload, TD_CORRUPT, "payload_hash");
    pair->payload[i] = (char)(pair->payload[i] ^ 1);
  }
}

static void test_twice(void **state) {
  struct pair *pair = *state;
  bool complete = false;
  assert_ok(td_kv_import(pair->to, &pair->chunk, pair->payload, &complete));
  refuse(pair, &pair->chunk, pair->payload, TD_CORRUPT, "arrive twice");
  struct td_kv_chunk part; /* layer 2 alone, inside what arrived */
  assert_ok(td_kv_export(pair->from, 7, 2, 3, 4, 8, pair->payload, PAYLOAD / 2, &part));
  part.generation = 3;
  part.prefix_hash = pair->chunk.prefix_hash;
  refuse(pair, &part, pair->payload, TD_CORRUPT, "layer 2, positions from 4 arrive twice");
}

static void send(struct pair *pair, int32_t layer, int64_t begin, int64_t end, bool *complete) {
  static char payload[PAYLOAD];
  struct td_kv_chunk chunk;
  uint64_t bytes = td_kv_bytes(&kv_shape, TD_F32, 1, end - begin);
  assert_ok(td_kv_export(pair->from, 7, layer, layer + 1, begin, end, payload, bytes, &chunk));
  chunk.generation = 3;
  chunk.prefix_hash = prefix_hash(pair->ids, (uint64_t)end);
  assert_ok(td_kv_import(pair->to, &chunk, payload, complete));
}

static void test_missing_block(void **state) {
  struct pair *pair = *state;
  bool complete = false;
  const int32_t *blocks = NULL;
  int32_t count = 0;
  for (int32_t layer = 0; layer < LAYERS; layer++) {
    if (layer != 1) send(pair, layer, 0, 8, &complete);
    if (layer == 1) send(pair, layer, 0, 4, &complete);
    send(pair, layer, 8, 10, &complete);
  }
  assert_false(complete);
  assert_refused(td_kv_import_commit(pair->to, 7), TD_PRECONDITION, "layer 1, positions [4, 8) are missing");
  assert_refused(td_kv_blocks(pair->to, 7, &blocks, &count), TD_PRECONDITION, "not committed");
  send(pair, 1, 4, 8, &complete);
  assert_true(complete);
  assert_ok(td_kv_import_commit(pair->to, 7));
  assert_true(holds(pair->device, pair->to, 7, TOKENS, 1));
}

/* After the commit, and for a request that was given up, late chunks are refused. */
static void test_late(void **state) {
  struct pair *pair = *state;
  bool complete = false;
  td_kv_release(pair->to, 7);
  refuse(pair, &pair->chunk, pair->payload, TD_PRECONDITION, "request");
  pair->expect.generation = 4;
  assert_ok(td_kv_import_begin(pair->to, &pair->expect));
  refuse(pair, &pair->chunk, pair->payload, TD_PRECONDITION, "stale");
  pair->chunk.generation = 4;
  assert_ok(td_kv_import(pair->to, &pair->chunk, pair->payload, &complete));
}

int main(void) {
#define FAULT(test) cmocka_unit_test_setup_teardown(test, setup, teardown)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fields_cover_the_record),
      FAULT(test_layout_on_the_wire),
      FAULT(test_layout_not_convertible),
      FAULT(test_header),
      FAULT(test_header_on_the_wire),
      FAULT(test_off_by_one_position),
      FAULT(test_block_of_other_positions),
      FAULT(test_block_of_another_prompt),
      FAULT(test_every_payload_byte),
      FAULT(test_twice),
      FAULT(test_missing_block),
      FAULT(test_late),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
