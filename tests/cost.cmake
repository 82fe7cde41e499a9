# SPDX-License-Identifier: Apache-2.0
foreach(topic device_file device_numbers device_spec experts price pricer steps step_parts operators tables gemm attention moe serving)
  tandem_test(cost_${topic} SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/${topic}_test.c
    LINK tandem_cost tandem_config tandem_model tandem_kernels tandem_base)
endforeach()
foreach(topic operators gemm attention moe serving)
  target_include_directories(cost_${topic} PRIVATE ${PROJECT_SOURCE_DIR}/framework/cost)
endforeach()
tandem_test(cost_modelled SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/modelled_test.c
  LINK tandem_device tandem_backends tandem_cost tandem_config tandem_model tandem_kernels tandem_base)
tandem_test(cost_run_models SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/run_models_test.c
  LINK tandem_model tandem_config tandem_kernels tandem_base)
add_dependencies(cost_run_models tandem)
tandem_test(cost_measured SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/measured_test.c LINK PkgConfig::JANSSON)
add_dependencies(cost_measured tandem)
# By hand: how fast prices are.
foreach(speed price pricer)
  add_executable(${speed}_speed bench/${speed}_speed.c)
  target_include_directories(${speed}_speed PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${speed}_speed PRIVATE tandem_cost tandem_config tandem_model tandem_kernels tandem_base
    tandem_api PkgConfig::CMOCKA)
  target_compile_definitions(${speed}_speed PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
endforeach()
tandem_test(cost_machine SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/machine_test.c
  LINK tandem_cost tandem_config tandem_model tandem_kernels tandem_base PkgConfig::JANSSON)
target_include_directories(cost_machine PRIVATE ${PROJECT_SOURCE_DIR}/framework/cost)
add_dependencies(cost_machine tandem)
tandem_test(cost_link SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/link_test.c
  LINK tandem_traces tandem_cost tandem_config tandem_model tandem_kernels tandem_base tandem_hdf5)
add_dependencies(cost_link tandem)
