# SPDX-License-Identifier: Apache-2.0
# LPU programs on hosts: the lowered code, interpreted by cpu, opencl and cuda, against the instruction-by-instruction mode.
set(lpu_hosts LINK tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels tandem_config
  tandem_base LABELS lpu ENVIRONMENT TANDEM_OPENCL_CACHE=${PROJECT_BINARY_DIR}/opencl-cache)
set(lpu_by_hand lpu/run_program_test.c lpu/sample.c lpu/rig.c lpu/assemble.c)
tandem_test(lpu_run SOURCES lpu/run_test.c lpu/hosts.c ${lpu_hosts})
tandem_test(lpu_run_by_hand SOURCES ${lpu_by_hand} lpu/hosts.c ${lpu_hosts})
# The emulator's own tests once more: every step is done by every host too.
foreach(topic vector matrix program)
  tandem_test(lpu_run_${topic} SOURCES lpu/execute_${topic}_test.c lpu/rig.c lpu/assemble.c lpu/rig_hosts.c lpu/hosts.c
    ${lpu_hosts})
  target_compile_definitions(lpu_run_${topic} PRIVATE td_lpu_execute=rig_hosts_execute)
endforeach()
# Under sanitizers the others are enough.
set_tests_properties(lpu_run lpu_run_vector PROPERTIES LABELS "lpu;plain")
# The same with cuda as the only host, its kernels run by the tests' stand-in for the driver: no result is a GPU's.
include(${CMAKE_CURRENT_LIST_DIR}/cuda/emulator/emulator.cmake)
function(lpu_cuda_emulated name)
  tandem_test(cuda_emulated_lpu_${name} SOURCES ${ARGN} lpu/hosts.c LINK tandem_lpu tandem_device tandem_backends
    tandem_cost tandem_model tandem_kernels tandem_config tandem_base LABELS "lpu;cuda-emulated"
    ENVIRONMENT TANDEM_CUDA_DRIVER=$<TARGET_FILE:tandem_cuda_emulator>)
  target_compile_definitions(cuda_emulated_lpu_${name} PRIVATE LPU_HOSTS_EMULATED)
  add_dependencies(cuda_emulated_lpu_${name} tandem_cuda_emulator)
endfunction()
if(TARGET tandem_cuda_emulator AND TANDEM_CUDA_VERSION)
  lpu_cuda_emulated(run lpu/run_test.c)
  lpu_cuda_emulated(by_hand ${lpu_by_hand})
  foreach(topic vector matrix program)
    lpu_cuda_emulated(${topic} lpu/execute_${topic}_test.c lpu/rig.c lpu/assemble.c lpu/rig_hosts.c)
    target_compile_definitions(cuda_emulated_lpu_${topic} PRIVATE td_lpu_execute=rig_hosts_execute)
  endforeach()
endif()

tandem_test(lpu_run_layout SOURCES lpu/layout_test.c lpu/decoder.c lpu/rig_hosts.c lpu/hosts.c ${lpu_hosts})
target_link_libraries(lpu_run_layout PRIVATE lpu_reference_parts)
target_compile_definitions(lpu_run_layout PRIVATE td_lpu_execute=rig_hosts_execute)

# By hand: how fast.
add_executable(lpu_speed bench/lpu_speed.c)
target_include_directories(lpu_speed PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(lpu_speed PRIVATE tandem_lpu tandem_device tandem_backends tandem_cost tandem_model tandem_kernels
  tandem_config tandem_base tandem_api PkgConfig::CMOCKA)
target_compile_definitions(lpu_speed PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
