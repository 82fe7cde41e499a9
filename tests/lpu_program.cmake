# SPDX-License-Identifier: Apache-2.0
# The LPU program: file, walk, closed form.
foreach(topic program walk)
  tandem_test(lpu_${topic} SOURCES ${CMAKE_CURRENT_LIST_DIR}/lpu/${topic}_test.c ${CMAKE_CURRENT_LIST_DIR}/lpu/assemble.c
    LINK tandem_lpu tandem_cost tandem_config tandem_model tandem_kernels tandem_base LABELS lpu)
endforeach()
