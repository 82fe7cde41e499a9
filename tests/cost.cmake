# SPDX-License-Identifier: Apache-2.0
foreach(topic device_file device_numbers price)
  tandem_test(cost_${topic} SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/${topic}_test.c
    LINK tandem_cost tandem_config tandem_model tandem_kernels tandem_base)
endforeach()
tandem_test(cost_modelled SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/modelled_test.c
  LINK tandem_device tandem_backends tandem_cost tandem_config tandem_model tandem_kernels tandem_base)
tandem_test(cost_run_models SOURCES ${CMAKE_CURRENT_LIST_DIR}/cost/run_models_test.c
  LINK tandem_model tandem_config tandem_kernels tandem_base)
add_dependencies(cost_run_models tandem)
