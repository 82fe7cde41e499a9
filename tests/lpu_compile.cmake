# SPDX-License-Identifier: Apache-2.0
# Compiled programs against the rules (lpu_check) and, bit for bit, against the reference (lpu_reference).
tandem_test(lpu_compile SOURCES lpu/compile_test.c lpu/decoder.c
  LINK lpu_reference_parts tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)
tandem_test(lpu_layout SOURCES lpu/layout_test.c lpu/decoder.c
  LINK lpu_reference_parts tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS lpu)
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
