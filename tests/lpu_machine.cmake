# SPDX-License-Identifier: Apache-2.0
# The description of an LPU: device files, geometry, queues, rates.
tandem_test(lpu_machine SOURCES ${CMAKE_CURRENT_LIST_DIR}/lpu/machine_test.c
  LINK tandem_lpu tandem_cost tandem_config tandem_model tandem_kernels tandem_base LABELS lpu)
tandem_test(lpu_wiring SOURCES ${CMAKE_CURRENT_LIST_DIR}/lpu/wiring_test.c
  LINK tandem_lpu tandem_cost tandem_config tandem_model tandem_kernels tandem_base LABELS lpu)
