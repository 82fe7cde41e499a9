# SPDX-License-Identifier: Apache-2.0
# Every ordered pair of executing backends against one cpu device, per model.
add_executable(hybrid_pairs ${CMAKE_CURRENT_LIST_DIR}/hybrid/pairs.c ${CMAKE_CURRENT_LIST_DIR}/engine/harness.c)
target_link_libraries(hybrid_pairs PRIVATE tandem_backends tandem_traces tandem_model tandem_config tandem_cost
  tandem_kernels tandem_base tandem_api PkgConfig::CMOCKA)
target_compile_definitions(hybrid_pairs PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  TANDEM_PROGRAM="${PROJECT_BINARY_DIR}/tandem")
add_dependencies(hybrid_pairs tandem)

function(hybrid_test name model)
  add_test(NAME hybrid_${name} COMMAND hybrid_pairs ${model})
  set_tests_properties(hybrid_${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS hybrid)
endfunction()
hybrid_test(llama ${PROJECT_SOURCE_DIR}/tests/data/tiny/llama.gguf)
foreach(model mixtral qwen2 qwen3 qwen3moe gemma3)
  hybrid_test(${model} ${PROJECT_SOURCE_DIR}/../shared/reference/tiny/${model}.gguf)
endforeach()
