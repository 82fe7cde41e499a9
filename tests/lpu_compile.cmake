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
tandem_test(lpu_compile_encoder SOURCES lpu/compile_encoder_test.c lpu/course.c lpu/decoder.c ${hosted})
tandem_test(lpu_grouping SOURCES lpu/grouping_test.c lpu/course.c lpu/decoder.c lpu/small_model.c model/gguf_builder.c
  ${compiled})
tandem_test(lpu_tensor SOURCES lpu/tensor_test.c lpu/course.c lpu/decoder.c lpu/hosts.c lpu/small_model.c model/gguf_builder.c
  LINK lpu_reference_parts tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base LABELS lpu)
tandem_test(lpu_product SOURCES lpu/product_test.c
  LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)

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
