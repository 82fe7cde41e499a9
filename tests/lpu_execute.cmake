# SPDX-License-Identifier: Apache-2.0
# The LPU emulator, instruction by instruction, on programs written by hand.
set(lpu_tests ${CMAKE_CURRENT_LIST_DIR}/lpu)
foreach(topic vector matrix program refused)
  tandem_test(lpu_execute_${topic}
    SOURCES ${lpu_tests}/execute_${topic}_test.c ${lpu_tests}/rig.c ${lpu_tests}/assemble.c
    LINK tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base)
endforeach()
