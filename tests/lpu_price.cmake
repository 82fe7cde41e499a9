# SPDX-License-Identifier: Apache-2.0
# Prices of LPU programs: the table against the closed forms, and how fast it is asked (by hand).
tandem_test(lpu_price SOURCES lpu/price_test.c lpu/small_model.c model/gguf_builder.c
  LINK tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels tandem_config tandem_base
  LABELS lpu)
add_executable(lpu_price_speed bench/lpu_price_speed.c)
target_include_directories(lpu_price_speed PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(lpu_price_speed PRIVATE tandem_lpu tandem_device tandem_backends tandem_cost tandem_model
  tandem_kernels tandem_config tandem_base tandem_api PkgConfig::CMOCKA)
target_compile_definitions(lpu_price_speed PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
tandem_test(lpu_verify SOURCES lpu/verify_test.c lpu/course.c lpu/decoder.c
  LINK lpu_reference_parts tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base LABELS lpu)
tandem_test(lpu_price_command SOURCES lpu_backend/price_test.c LINK PkgConfig::JANSSON LABELS lpu)
add_dependencies(lpu_price_command tandem)
