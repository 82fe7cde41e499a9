# SPDX-License-Identifier: Apache-2.0
# LPU programs on hosts: the lowered code, interpreted by cpu and opencl, against the instruction-by-instruction mode.
set(lpu_hosts LINK tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels tandem_config
  tandem_base LABELS lpu ENVIRONMENT TANDEM_OPENCL_CACHE=${PROJECT_BINARY_DIR}/opencl-cache)
tandem_test(lpu_run SOURCES lpu/run_test.c lpu/hosts.c ${lpu_hosts})
# The emulator's own tests once more: every step is done by every host too.
foreach(topic vector matrix program)
  tandem_test(lpu_run_${topic} SOURCES lpu/execute_${topic}_test.c lpu/rig.c lpu/assemble.c lpu/rig_hosts.c lpu/hosts.c
    ${lpu_hosts})
  target_compile_definitions(lpu_run_${topic} PRIVATE td_lpu_execute=rig_hosts_execute)
endforeach()

tandem_test(lpu_run_layout SOURCES lpu/layout_test.c lpu/decoder.c lpu/rig_hosts.c lpu/hosts.c ${lpu_hosts})
target_link_libraries(lpu_run_layout PRIVATE lpu_reference_parts)
target_compile_definitions(lpu_run_layout PRIVATE td_lpu_execute=rig_hosts_execute)

# By hand: how fast.
add_executable(lpu_speed bench/lpu_speed.c)
target_include_directories(lpu_speed PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(lpu_speed PRIVATE tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base tandem_api PkgConfig::CMOCKA)
target_compile_definitions(lpu_speed PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
