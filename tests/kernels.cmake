# SPDX-License-Identifier: Apache-2.0
tandem_test(kernels_dequant SOURCES ${CMAKE_CURRENT_LIST_DIR}/kernels/dequant_test.c LINK tandem_kernels tandem_base
  tandem_hdf5)
tandem_test(kernels_half SOURCES ${CMAKE_CURRENT_LIST_DIR}/kernels/half_test.c LINK tandem_kernels tandem_base)
tandem_test(kernels_gcc_trap SOURCES ${CMAKE_CURRENT_LIST_DIR}/kernels/gcc_trap_test.c LINK tandem_base)
# The trap needs an optimiser, whatever the build type.
target_compile_options(kernels_gcc_trap PRIVATE -O2)
