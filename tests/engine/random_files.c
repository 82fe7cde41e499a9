/* SPDX-License-Identifier: Apache-2.0 */
#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"

void random_cluster_file(const char *folder, const char *name, const char *text) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
}

#define SHAPE                                                                                              \
  "layers = 4; hidden = 256; heads = 4; kv_heads = 2; vocab = 1000; context = 8192; rope_theta = 10000.0;" \
  "norm_epsilon = 1e-5; tied_output = false; weights = \"bf16\";"
#define NUMBER(name, value, unit)                                                    \
  name " = { value = " value "; unit = \"" unit "\"; low = " value "; high = " value \
       "; evidence = \"assumed\"; source = \"a test\"; };\n"

#define CHIP(host, stream, rate)                                                                                      \
  "title = \"a test's chip\"; kind = \"chip\"; power_basis = \"chip\";\n" NUMBER("memory_bytes", "4", "GB") NUMBER(   \
      "memory_bandwidth", stream, "GB/s") NUMBER("flops_f32", "0.2", "TFLOP/s") NUMBER("flops_bf16", rate, "TFLOP/s") \
      NUMBER("memory_efficiency", "0.8", "1") NUMBER("compute_efficiency", "0.7", "1")                                \
          NUMBER("op_overhead", "3", "us") NUMBER("host_bandwidth", host, "GB/s") NUMBER("power_idle", "50", "W")     \
              NUMBER("power_busy", "300", "W") NUMBER("multiprocessors", "16", "1") NUMBER("l2_bytes", "4", "MiB")
/* Every session's beginning is the same text; it has up to 390 positions in the end. */
static void write_sessions(const char *folder) {
  struct td_text text = {0};
  td_text_printf(&text, "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n");
  for (int session = 0; session < 24; session++) {
    int held = 8 * (session % 5);
    for (int turn = 0; turn < 1 + session % 6; turn++) {
      int input = 1 + (session * 7 + turn * 13) % 30, output = 1 + (session * 5 + turn * 11) % 30;
      td_text_printf(&text, "%d,%d,%d,%d,%d,%d\n", session, turn, held, input, output, turn % 3);
      held += input + output;
    }
  }
  random_cluster_file(folder, "sessions.csv", text.data);
  td_text_free(&text);
}

void random_cluster_files(const char *folder) {
  write_sessions(folder);
  random_cluster_file(
      folder, "dense.cfg",
      "name = \"dense\"; architecture = \"llama\"; head_dim = 64; rope_dim = 64; ffn = 700; rope_factors = "
      "false;" SHAPE);
  random_cluster_file(
      folder, "window.cfg",
      "name = \"window\"; architecture = \"gpt-oss\"; head_dim = 64; rope_dim = 64; experts = 8; experts_used = 2;"
      "expert_ffn = 320; window = 24; window_period = 2; expert_weights = \"mxfp4\";" SHAPE);
  random_cluster_file(
      folder, "experts.cfg",
      "name = \"experts\"; architecture = \"llama\"; head_dim = 64; rope_dim = 64; ffn = 300; experts = 8;"
      "experts_used = 2; rope_factors = false;" SHAPE);
  random_cluster_file(folder, "chip.cfg", CHIP("1", "20", "0.4"));
  random_cluster_file(folder, "other.cfg", CHIP("3", "170", "0.3"));
  random_cluster_file(folder, "days.cfg", CHIP("0.000000001", "20", "0.4"));
  random_cluster_file(folder, "fast.cfg",
                      "title = \"a test's link\"; kind = \"link\";\n" NUMBER("link_bandwidth", "5", "GB/s")
                          NUMBER("link_latency", "2", "us"));
  random_cluster_file(folder, "slow.cfg",
                      "title = \"a test's link\"; kind = \"link\";\n" NUMBER("link_bandwidth", "0.02", "GB/s")
                          NUMBER("link_latency", "40", "us"));
}
