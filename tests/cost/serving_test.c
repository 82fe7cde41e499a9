/* SPDX-License-Identifier: Apache-2.0
 *
 * Served steps: what products are done as one, sums over chips, prompts and tokens in one step, closed forms that equal
 * single steps bit for bit; tables of end-to-end measurements, refused with their line.
 */
#include <inttypes.h>
#include <math.h>

#include "../config/files.h"
#include "cost/op_curve.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/e2e.h"
#include "tandem/operators.h"

static struct td_graph *graph_of(const char *name) {
  char path[128];
  struct td_model *model;
  struct td_graph *graph;
  snprintf(path, sizeof path, "experiments/models/%s.cfg", name);
  if (td_model_open(test_source(path), &model)) fail_msg("%s", td_error_text());
  if (td_graph_build(model, &graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  return graph;
}

static struct td_device_params *chips(const char *file, int32_t tensor, bool no_graph) {
  struct td_device_params *params;
  const struct td_serving serving = {.tensor = tensor, .expert_tensor = tensor, .no_graph = no_graph, .guesses = true};
  if (td_device_params_open(test_source(file), &params)) fail_msg("%s", td_error_text());
  if (td_device_join(params, &serving)) fail_msg("%s", td_error_text());
  return params;
}
#define H100 "devices/h100_sxm.cfg"
#define FITTED "devices/calibrated/h100_sxm-trtllm.cfg"

static struct td_price price_of(const struct td_device_params *device, const struct td_graph *graph,
                                const struct td_step_stats *stats) {
  const struct td_slice whole = td_slice_whole(graph);
  struct td_price price;
  if (td_price_roofline(device, graph, &whole, TD_BF16, stats, &price)) fail_msg("%s", td_error_text());
  assert_true(price.base_ps > 0 && price.low_ps < (double)price.base_ps && (double)price.base_ps < price.high_ps);
  return price;
}

static struct td_step_stats batch(const struct td_graph *graph, int64_t count, int64_t past, int64_t tokens) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < count; i++) td_step_stats_add(&stats, &graph->shape, past, tokens, 1);
  return stats;
}

/* ---- the graph's marks ---- */

static void products_that_are_one(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("llama-3.1-8b");
  int64_t columns = 0, joins = 0, heads = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->kind != TD_OP_MATMUL || op->layer != 3) continue;
    columns += op->fused_n;
    heads += op->fused_n > 0;
    joins += op->joins;
  }
  assert_int_equal(heads, 4); /* QKV, out, gate and up, down */
  assert_int_equal(joins, 2);
  assert_int_equal(columns, 4096 + 2 * 1024 + 4096 + 2 * 14336 + 4096);
  td_graph_free(graph);
}

/* ---- several chips ---- */

static int64_t curve_ps(const struct td_device_params *device, enum td_operator op, const char *path,
                        struct td_op_shape family, int64_t value) {
  int64_t ps;
  double low, high;
  if (td_op_cache_ps(device->op_cache, device, op, path, &family, &value, 1, &ps, &low, &high)) {
    fail_msg("%s", td_error_text());
  }
  return ps;
}

/* A decode step of Llama 3.1 8B, written down by hand. */
static double by_hand(const struct td_device_params *device, int64_t seqs, int64_t context, int64_t chips_) {
  const char *b = "bfloat16";
  double layer = 0, small = 2e6, rate = device->memory_efficiency.value * device->memory_bandwidth.value / 1e12;
  layer += (double)curve_ps(device, TD_GEMM, b, (struct td_op_shape){{6144 / chips_, 4096}}, seqs);
  layer += (double)curve_ps(device, TD_GEMM, b, (struct td_op_shape){{4096, 4096 / chips_}}, seqs);
  layer += (double)curve_ps(device, TD_GEMM, b, (struct td_op_shape){{28672 / chips_, 4096}}, seqs);
  layer += (double)curve_ps(device, TD_GEMM, b, (struct td_op_shape){{4096, 14336 / chips_}}, seqs);
  layer += (double)curve_ps(device, TD_ATTENTION_GENERATION, "bfloat16/bfloat16",
                            (struct td_op_shape){{32 / chips_, 8 / chips_, 128, 0, seqs}}, context);
  if (chips_ > 1) {
    layer += 2 * (double)curve_ps(device, TD_COLLECTIVE, "all_reduce", (struct td_op_shape){{2, chips_}}, seqs * 8192);
  }
  /* two norms, two sums, an activation, two rotations, the cache: in 16 bits */
  double row = (double)seqs * 2, whole = row * 4096 * (2 * 2 + 2 * 3), parts = row * (14336 * 3);
  layer += 8 * small + (whole + parts / (double)chips_) / rate;
  double head = (double)curve_ps(device, TD_GEMM, b, (struct td_op_shape){{128256 / chips_, 4096}}, seqs);
  return 32 * layer + head + 200e6 + 20e6 * (double)seqs;
}

static void steps_are_their_parts(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("llama-3.1-8b");
  for (int32_t tensor = 1; tensor <= 8; tensor *= 2) {
    struct td_device_params *device = chips(H100, tensor, false);
    struct td_step_stats stats = batch(graph, 32, 1023, 1);
    double want = by_hand(device, 32, 1024, tensor), found = (double)price_of(device, graph, &stats).base_ps;
    printf("%" PRId32 " chips: %.3f ms, by hand %.3f ms\n", tensor, found * 1e-9, want * 1e-9);
    assert_true(fabs(found / want - 1) < 0.02); /* rotations, the cache's bytes, embedding and last norm apart */
    td_device_params_close(device);
  }
  td_graph_free(graph);
}

static void chips_have_parts(void **state) {
  (void)state;
  const char *const names[] = {"llama-3.1-70b", "gpt-oss-120b", "qwen3-30b-a3b", "deepseek-v3"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    struct td_graph *graph = graph_of(names[i]);
    struct td_step_stats tokens = batch(graph, 64, 4000, 1), prompts = batch(graph, 2, 0, 4096);
    int64_t last[2] = {INT64_MAX, INT64_MAX};
    for (int32_t tensor = 1; tensor <= 8; tensor *= 2) {
      struct td_device_params *device = chips(FITTED, tensor, false), *bare = chips(FITTED, tensor, true);
      struct td_price a = price_of(device, graph, &tokens), b = price_of(device, graph, &prompts);
      assert_true(a.base_ps < last[0] && b.base_ps < last[1]);
      assert_true(a.base_ps > last[0] / 2 || tensor == 1);             /* sums and launches stay */
      assert_true(price_of(bare, graph, &tokens).base_ps > a.base_ps); /* launches show */
      assert_int_equal(price_of(bare, graph, &prompts).base_ps, b.base_ps);
      double watts = a.energy_j / td_seconds(a.base_ps);
      assert_true(watts >= device->power_idle.value && watts <= device->power_busy.high * 1.0001);
      last[0] = a.base_ps, last[1] = b.base_ps;
      td_device_params_close(device);
      td_device_params_close(bare);
    }
    td_graph_free(graph);
  }
}

/* Latent attention has no model: its roofline is a guess, whatever else of the step was fitted. */
static void what_fits_leave_out_is_a_guess(void **state) {
  (void)state;
  struct td_graph *latent = graph_of("deepseek-v3"), *plain = graph_of("llama-3.1-8b");
  struct td_device_params *device = chips(FITTED, 8, false), *data_sheet;
  struct td_step_stats tokens = batch(latent, 64, 200000, 1), others = batch(plain, 64, 4000, 1);
  struct td_price price = price_of(device, latent, &tokens);
  assert_true(price.low_ps < 0.7 * (double)price.base_ps && price.high_ps > 1.6 * (double)price.base_ps);
  assert_int_equal(td_device_params_open(test_source(H100), &data_sheet), TD_OK);
  price = price_of(data_sheet, plain, &others); /* all of it a roofline: the ranges of the file's numbers */
  assert_true(price.high_ps < 1.5 * (double)price.base_ps);
  td_device_params_close(data_sheet);
  td_device_params_close(device);
  td_graph_free(latent);
  td_graph_free(plain);
}

static void joining_is_refused(void **state) {
  (void)state;
  const struct td_serving serving = {.tensor = 2, .guesses = true};
  struct td_device_params *device = chips(H100, 2, false), *link, *cpu;
  assert_true(device->memory_bytes.value > 160e9 && device->power_busy.value == 1400);
  assert_int_equal(td_device_join(device, &serving), TD_UNSUPPORTED);
  assert_int_equal(td_device_params_open(test_source("devices/nvlink4.cfg"), &link), TD_OK);
  assert_int_equal(td_device_join(link, &serving), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "found a link"));
  assert_int_equal(td_device_params_open(test_source("devices/cerebras-wse3.cfg"), &cpu), TD_OK);
  assert_int_equal(td_device_join(cpu, &serving), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "expected it in the device file"));
  td_device_params_close(cpu);
  td_device_params_close(link);
  td_device_params_close(device);
}

/* ---- closed forms ---- */

static int64_t drawn(uint64_t *counter, int64_t low, int64_t high) {
  return low + (int64_t)(td_random(11, 12, (*counter)++) % (uint64_t)(high - low + 1));
}

/* Every step of a price's valid_steps, at most `most` of them, priced by itself. */
static void check_growth(const struct td_device_params *device, const struct td_graph *graph, int64_t *pasts,
                         int64_t seqs, int64_t most) {
  struct td_price first = {0};
  for (int64_t i = 0; !i || (i < first.valid_steps && i < most); i++) {
    struct td_step_stats stats = {0};
    for (int64_t s = 0; s < seqs; s++) td_step_stats_add(&stats, &graph->shape, pasts[s] + i, 1, 1);
    struct td_price now = price_of(device, graph, &stats);
    if (!i) first = now;
    assert_int_equal(now.base_ps, first.base_ps + i * first.slope_ps);
    assert_int_equal(now.valid_steps, first.valid_steps - i);
  }
}

static void growth_is_exact(void **state) {
  (void)state;
  const char *const names[] = {"llama-3.1-8b", "gpt-oss-120b", "qwen3-30b-a3b", "mixtral-8x7b"};
  uint64_t counter = 0;
  for (int round = 0; round < 24; round++) {
    struct td_graph *graph = graph_of(names[round % 4]);
    struct td_device_params *device = chips(round % 3 ? FITTED : H100, 1 << drawn(&counter, 0, 3), round % 5 == 0);
    int64_t pasts[24], seqs = drawn(&counter, 1, 24);
    for (int64_t s = 0; s < seqs; s++) pasts[s] = drawn(&counter, 0, 1 << drawn(&counter, 0, 15));
    check_growth(device, graph, pasts, seqs, 80);
    td_device_params_close(device);
    td_graph_free(graph);
  }
}

/* ---- prompts and tokens in one step ---- */

static void mixed_steps(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("llama-3.1-70b");
  struct td_device_params *device = chips(FITTED, 4, false);
  uint64_t counter = 100;
  for (int round = 0; round < 40; round++) {
    int64_t seqs = drawn(&counter, 1, 200), past = drawn(&counter, 1, 8000), chunk = drawn(&counter, 2, 4096);
    int64_t done = round % 2 ? drawn(&counter, 1, 8192) : 0;
    struct td_step_stats tokens = batch(graph, seqs, past, 1), prompt = batch(graph, 1, done, chunk), both = tokens;
    td_step_stats_add(&both, &graph->shape, done, chunk, 1);
    double a = (double)price_of(device, graph, &tokens).base_ps, b = (double)price_of(device, graph, &prompt).base_ps;
    struct td_price price = price_of(device, graph, &both);
    double found = (double)price.base_ps;
    assert_int_equal(price.valid_steps, 1);
    assert_true(found > 0.98 * a && found > 0.98 * b); /* tiles may fit better */
    assert_true(found < 1.02 * (a + b));
  }
  /* the second half of a prompt is what the whole one has beyond the first half, and dearer than the first */
  struct td_step_stats first = batch(graph, 1, 0, 8192), second = batch(graph, 1, 8192, 8192);
  assert_true(price_of(device, graph, &second).base_ps > price_of(device, graph, &first).base_ps);
  td_device_params_close(device);
  td_graph_free(graph);
}

/* ---- narrow types ---- */

static void narrow_types(void **state) {
  (void)state;
  struct td_device_params *b200, *h100;
  struct td_op_price narrow, wide;
  const struct td_op_shape gemm = {{8192, 8192, 4096}}, experts = {{2880, 2880, 4, 128, 1, 1, 1200, 3, 16}};
  assert_int_equal(td_device_params_open(test_source("devices/b200_sxm.cfg"), &b200), TD_OK);
  assert_int_equal(td_device_params_open(test_source(FITTED), &h100), TD_OK);
  assert_int_equal(td_op_price(b200, TD_GEMM, "nvfp4", &gemm, &narrow), TD_OK);
  assert_int_equal(td_op_price(b200, TD_GEMM, "fp8", &gemm, &wide), TD_OK);
  assert_true(narrow.seconds < wide.seconds && narrow.high > 1.9 * narrow.seconds);
  assert_string_equal(narrow.note, "no fit: the model's guesses");
  assert_int_equal(td_op_price(h100, TD_GEMM, "nvfp4", &gemm, &narrow), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "flops_fp4"));
  /* four-bit weights at the rates of sixteen, and an interval that says so */
  assert_int_equal(td_op_price(h100, TD_MOE, "w4a16_mxfp4", &experts, &narrow), TD_OK);
  assert_int_equal(td_op_price(h100, TD_MOE, "bfloat16", &experts, &wide), TD_OK);
  assert_true(narrow.seconds < 0.7 * wide.seconds && narrow.high / narrow.low > 1.3 * wide.high / wide.low);
  assert_string_equal(narrow.note, "fitted on other element types");
  assert_true(wide.energy_j > 0 && wide.energy_j < 700 * wide.seconds);
  td_device_params_close(h100);
  td_device_params_close(b200);
}

/* ---- tables ---- */

#define HEADER                                                                                                   \
  "backend,model_path,mode,isl,osl,gemm_quant_mode,moe_quant_mode,batch_size,tp_size,pp_size,attention_dp_size," \
  "moe_tp_size,moe_ep_size,silicon_tpot_ms\n"

static td_status read_table(const char *rows, bool measured, struct td_e2e_table *table) {
  char text[4096];
  snprintf(text, sizeof text, "%s%s", HEADER, rows);
  return td_e2e_table_read(scratch_file("e2e.csv", text), measured, table);
}

static void bad_tables(void **state) {
  (void)state;
  static const struct {
    const char *rows, *says;
  } cases[] = {
      {"", "found no rows"},
      {"vllm,x,agg,1,1\n", "e2e.csv:2: found 5 values, expected 14"},
      {"vllm,x,agg,one,1,,,1,1,1,,,,1\n", "e2e.csv:2: isl: found \"one\""},
      {"vllm,x,agg,1,0,,,1,1,1,,,,1\n", "osl: found \"0\""},
      {"vllm,x,agg,1,1,,,99999999,1,1,,,,1\n", "batch_size"},
      {"vllm,x,agg,1,1,,,1,-4,1,,,,1\n", "tp_size: found \"-4\""},
      {"vllm,x,agg,1,1,,,1,1,1,,,,nan\n", "silicon_tpot_ms: found \"nan\""},
      {"vllm,x,agg,1,1,,,1,1,1,,,,\n", "silicon_tpot_ms: found nothing"},
  };
  struct td_e2e_table table;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(read_table(cases[i].rows, true, &table), TD_CONFIG);
    if (!strstr(td_error_text(), cases[i].says)) fail_msg("%s: expected %s", td_error_text(), cases[i].says);
  }
  assert_int_equal(td_e2e_table_read(scratch_file("e2e.csv", "a,b\n1,2\n"), true, &table), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "found no column model_path"));
}

static void rows_and_their_prices(void **state) {
  (void)state;
  static const char rows[] =
      "vllm,meta-llama/Llama-3.1-8B-Instruct,agg,1024,128,,,16,1,1,,1,1,9\r\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,agg,1024,128,fp8,fp8,16,2,1,,1,1,9\n"
      "sglang,Qwen/Qwen3-32B,agg,8192,1024,,,64,1,1,,1,1,9\n"             /* the cache holds few */
      "vllm,meta-llama/Meta-Llama-3.1-405B,agg,1024,128,,,1,1,1,,1,1,9\n" /* does not fit */
      "vllm,none/Such-Model,agg,1024,128,,,1,1,1,,1,1,9\n"
      "vllm,Qwen/Qwen3-32B,agg,1024,128,int3,,1,1,1,,1,1,9\n"
      "vllm,Qwen/Qwen3-32B,disagg,,,,,,,,,,,\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,agg,1024,128,,,16,1,4,,1,1,9\n"
      "vllm,meta-llama/Llama-3.1-8B-Instruct,agg,1024,128,,,16,3,1,,1,1,9\n" /* 32 heads */
      "vllm,meta-llama/Llama-3.1-8B-Instruct,agg,1024,128,,,16,1,33,,1,1,9\n";
  static const char *const says[] = {NULL,
                                     NULL,
                                     NULL,
                                     "weights of",
                                     "Such-Model",
                                     "int3",
                                     "expected agg",
                                     NULL,
                                     "tp_size: found 3, expected a divisor of the 32 heads",
                                     "pp_size: found 33, expected at most the 32 layers"};
  struct td_device_params *h100;
  struct td_e2e_table table;
  struct td_e2e *e2e;
  struct td_e2e_price prices[10];
  assert_int_equal(td_device_params_open(test_source(FITTED), &h100), TD_OK);
  if (read_table(rows, false, &table)) fail_msg("%s", td_error_text());
  assert_int_equal(table.row_count, 10);
  if (td_e2e_open(h100, test_source("experiments/models"), &e2e)) fail_msg("%s", td_error_text());
  for (int i = 0; i < 10; i++) {
    td_status status = td_e2e_price(e2e, &table.rows[i], &prices[i]);
    assert_int_equal(!status, !says[i]);
    if (says[i] && !strstr(td_error_text(), says[i])) fail_msg("%s: expected %s", td_error_text(), says[i]);
    if (says[i]) continue;
    const struct td_op_price *tpot = &prices[i].tpot;
    assert_true(tpot->low < tpot->seconds && tpot->seconds < tpot->high && tpot->note);
    assert_true(fabs(prices[i].decode + prices[i].prompts - tpot->seconds) < 1e-12);
    assert_true(prices[i].least > 0 && prices[i].least < tpot->seconds);
  }
  assert_true(prices[1].tpot.seconds < prices[0].tpot.seconds);
  assert_true(prices[0].running == 16 && prices[2].running < 16);
  assert_true(prices[7].decode < prices[0].decode); /* stages with a part of the batch each */
  td_e2e_close(e2e);
  td_e2e_table_free(&table);
  td_device_params_close(h100);
}

/* What a device file could not hold: a scale, or a row's distance from it. And the error of a scale of no rows. */
static void scales_have_bounds(void **state) {
  (void)state;
  static const char *const cases[][2] = {{"9000", "vllm: found a scale of "},
                                         {"1e-9", "line 2: silicon_tpot_ms: found 1e-09, expected it within a factor"},
                                         {"9", "found all 6 rows of \"vllm\" held back, expected some to fit to"}};
  struct td_device_params *h100;
  assert_int_equal(td_device_params_open(test_source(FITTED), &h100), TD_OK);
  for (int i = 0; i < 3; i++) {
    const struct td_calibration how = {.op = TD_E2E, .held_back = i < 2 ? 0.5 : 0.99999, .seed = 1, .device = h100};
    struct td_e2e_table table;
    struct td_e2e *e2e;
    struct td_op_fit fit;
    struct td_op_error before;
    int64_t left;
    char text[1024] = "";
    for (int batch = 1; batch < 7; batch++) {
      size_t used = strlen(text);
      snprintf(text + used, sizeof text - used, "vllm,Llama-3.1-8B,agg,1024,128,,,%d,1,1,,1,1,%s\n", batch,
               cases[i][0]);
    }
    if (read_table(text, true, &table)) fail_msg("%s", td_error_text());
    if (td_e2e_open(h100, test_source("experiments/models"), &e2e)) fail_msg("%s", td_error_text());
    assert_int_equal(td_e2e_calibrate(e2e, &how, &table, "vllm", &fit, &before, &left), TD_CONFIG);
    if (!strstr(td_error_text(), cases[i][1])) fail_msg("%s: expected %s", td_error_text(), cases[i][1]);
    td_e2e_close(e2e);
    td_e2e_table_free(&table);
  }
  td_device_params_close(h100);
}

/* How many requests run is the server's say, where the table has it; a sweep that lost it is priced at its middle. */
static void servers_have_limits(void **state) {
  (void)state;
  static const char *const rows[] = {"vllm,512,",    "vllm,512,4", "vllm,512,16", "vllm,512,64",
                                     "vllm,512,512", "vllm,16,64", "vllm,128,",   "trtllm,512,"};
  static const int64_t running[] = {16, 4, 16, 64, 512, 16, 128, 512};
  struct td_device_params *h100;
  struct td_e2e_table table;
  struct td_e2e *e2e;
  struct td_e2e_price prices[8];
  char text[2048] =
      "backend,batch_size,max_num_seqs,model_path,mode,isl,osl,gemm_quant_mode,moe_quant_mode,tp_size,"
      "pp_size,attention_dp_size,moe_tp_size,moe_ep_size\n";
  for (int i = 0; i < 8; i++) {
    size_t used = strlen(text);
    snprintf(text + used, sizeof text - used, "%s,openai/gpt-oss-120b,agg,1024,1024,nvfp4,nvfp4,8,1,1,8,1\n", rows[i]);
  }
  assert_int_equal(td_device_params_open(test_source(FITTED), &h100), TD_OK);
  if (td_e2e_table_read(scratch_file("e2e.csv", text), false, &table)) fail_msg("%s", td_error_text());
  if (td_e2e_open(h100, test_source("experiments/models"), &e2e)) fail_msg("%s", td_error_text());
  for (int i = 0; i < 8; i++) {
    if (td_e2e_price(e2e, &table.rows[i], &prices[i])) fail_msg("%s", td_error_text());
    assert_int_equal(prices[i].running, running[i]);
  }
  assert_true(prices[0].tpot.seconds == prices[2].tpot.seconds);
  assert_true(prices[0].tpot.low == prices[1].tpot.low && prices[0].tpot.high == prices[3].tpot.high);
  assert_true(prices[0].least == prices[1].least && strstr(prices[0].tpot.note, "max_num_seqs"));
  assert_true(!strstr(prices[2].tpot.note, "max_num_seqs"));
  td_e2e_close(e2e);
  td_e2e_table_free(&table);
  text[strlen(text) - 1] = 0;
  memcpy(strstr(text, "512,4,"), "512,x,", 6);
  assert_int_equal(td_e2e_table_read(scratch_file("e2e.csv", text), false, &table), TD_CONFIG);
  assert_non_null(strstr(td_error_text(), "e2e.csv:3: max_num_seqs: found \"x\""));
  td_device_params_close(h100);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_that_are_one),
      cmocka_unit_test(steps_are_their_parts),
      cmocka_unit_test(chips_have_parts),
      cmocka_unit_test(what_fits_leave_out_is_a_guess),
      cmocka_unit_test(joining_is_refused),
      cmocka_unit_test(growth_is_exact),
      cmocka_unit_test(mixed_steps),
      cmocka_unit_test(narrow_types),
      cmocka_unit_test(bad_tables),
      cmocka_unit_test(scales_have_bounds),
      cmocka_unit_test(rows_and_their_prices),
      cmocka_unit_test(servers_have_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
