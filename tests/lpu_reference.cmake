# SPDX-License-Identifier: Apache-2.0
# The LPU's numerics in plain C, walking the graph: its accuracy against the models' references. Other topics link the
# library lpu_reference_parts to compare programs with it.
add_library(lpu_reference_parts STATIC EXCLUDE_FROM_ALL lpu/reference.c lpu/reference_weights.c lpu/reference_product.c
  lpu/reference_rows.c lpu/reference_attention.c lpu/reference_math.c)
target_include_directories(lpu_reference_parts PUBLIC ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(lpu_reference_parts PUBLIC tandem_api tandem_model tandem_kernels tandem_base)

set(index 0)
foreach(mode f16 f16_i8 i8 i8x2 f16_f8 f8)
  tandem_test(lpu_reference_smollm2_${mode} SOURCES lpu/reference_smollm2_test.c accuracy/reference.c
    LINK lpu_reference_parts tandem_hdf5 LABELS "lpu;plain")
  target_compile_definitions(lpu_reference_smollm2_${mode} PRIVATE LPU_MODE=${index})
  math(EXPR index "${index} + 1")
endforeach()
foreach(topic math order)
  tandem_test(lpu_reference_${topic} SOURCES lpu/reference_${topic}_test.c LINK lpu_reference_parts LABELS lpu)
endforeach()
tandem_test(lpu_reference_tiny SOURCES lpu/reference_tiny_test.c accuracy/reference.c
  LINK lpu_reference_parts tandem_hdf5 LABELS lpu)

# Greedy tokens and values of the graph in these numerics, by hand: tests/lpu/reference_tool.c
add_executable(lpu_reference lpu/reference_tool.c)
target_link_libraries(lpu_reference PRIVATE lpu_reference_parts)
add_test(NAME lpu_reference_tool
  COMMAND lpu_reference ${PROJECT_SOURCE_DIR}/tests/data/tiny/llama.gguf i8 3 1 2 3)
set_tests_properties(lpu_reference_tool PROPERTIES PASS_REGULAR_EXPRESSION "^192\n258\n194\n$" LABELS lpu)
