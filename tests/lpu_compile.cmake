# SPDX-License-Identifier: Apache-2.0
# Compiled programs against the rules (lpu_check) and, bit for bit, against the reference (lpu_reference).
set(compiled LINK lpu_reference_parts tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base
  LABELS lpu)
set(hosted LINK lpu_reference_parts tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base LABELS lpu)
tandem_test(lpu_compile SOURCES lpu/compile_test.c lpu/course.c lpu/decoder.c ${compiled})
tandem_test(lpu_layout SOURCES lpu/layout_test.c lpu/decoder.c ${compiled})
tandem_test(lpu_compile_models SOURCES lpu/compile_models_test.c lpu/course.c lpu/decoder.c ${compiled})
tandem_test(lpu_compile_ffn SOURCES lpu/compile_ffn_test.c lpu/course.c lpu/decoder.c ${hosted})
tandem_test(lpu_compile_moe SOURCES lpu/compile_moe_test.c lpu/course.c lpu/decoder.c ${hosted})
tandem_test(lpu_moe_routing SOURCES lpu/moe_routing_test.c
  LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)
tandem_test(lpu_compile_encoder SOURCES lpu/compile_encoder_test.c lpu/course.c lpu/decoder.c ${hosted})
tandem_test(lpu_grouping SOURCES lpu/grouping_test.c lpu/course.c lpu/decoder.c lpu/small_model.c model/gguf_builder.c
  ${compiled})
tandem_test(lpu_tensor SOURCES lpu/tensor_test.c lpu/course.c lpu/decoder.c lpu/hosts.c lpu/small_model.c model/gguf_builder.c
  LINK lpu_reference_parts tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base LABELS lpu)
tandem_test(lpu_timing SOURCES lpu/timing_test.c lpu/decoder.c lpu/small_model.c model/gguf_builder.c ${compiled})
tandem_test(lpu_product SOURCES lpu/product_test.c
  LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)

# Label `plain`: not under sanitizers, where lpu_compile_models runs the same code on less.
set_tests_properties(lpu_compile PROPERTIES LABELS "lpu;plain")

# Experts beside attention elsewhere, by command: counted and priced, nothing drawn that moves with the C library.
set(experts ${PROJECT_SOURCE_DIR}/experiments/lpx-afd/lpx-afd.cfg --set cluster.pools.[1].lpu.rows=4
  --set cluster.pools.[1].lpu.expert_rows=4 --set cluster.pools.[1].lpu.expert_routed=8
  --set cluster.pools.[1].lpu.expert_parts=128)
add_test(NAME lpu_experts_command COMMAND tandem lpu experts ${experts} --most 8 --attention attention --context 400000)
set_tests_properties(lpu_experts_command PROPERTIES LABELS lpu PASS_REGULAR_EXPRESSION
  "parts       128 of 1 chip, up to 4 experts each.*8            2 .*experts: 128 LPUs a layer, 8704 in all.*attention")
foreach(case "context;--context 5;found one of --attention and --context" "zipf;--zipf 9;--zipf: found .9., expected"
  "pool;--attention nobody --context 1;found no pool .nobody." "rows;--rows 2;found --rows")
  list(GET case 0 name)
  list(GET case 1 flags)
  list(GET case 2 words)
  separate_arguments(flags)
  add_test(NAME lpu_experts_refused_${name} COMMAND tandem lpu experts ${experts} ${flags})
  set_tests_properties(lpu_experts_refused_${name} PROPERTIES LABELS lpu PASS_REGULAR_EXPRESSION "${words}")
endforeach()

# By hand: the published range of one product (tests/bench).
add_executable(lpu_products EXCLUDE_FROM_ALL bench/lpu_products.c)
target_link_libraries(lpu_products PRIVATE tandem_api tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config
  tandem_base)

# What is refused, through the API and the command line.
tandem_test(lpu_refused SOURCES lpu/refused_test.c
  LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)
add_dependencies(lpu_refused tandem)

# Exchanges by themselves.
tandem_test(lpu_collective SOURCES lpu/collective_test.c
  LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)
tandem_test(lpu_wired_commands SOURCES lpu/wired_commands_test.c LINK tandem_base LABELS lpu)
add_dependencies(lpu_wired_commands tandem)
