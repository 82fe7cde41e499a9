# SPDX-License-Identifier: Apache-2.0
# Libraries. Required: libconfig, HDF5, jansson, PCRE2, zlib, uthash (header only), threads. Optional: MPI, OpenCL, CUDA, NLopt:
# found or reported missing, never needed to build the rest. scripts/install-packages brings all Debian ones.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
pkg_check_modules(CONFIG REQUIRED IMPORTED_TARGET libconfig)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson)
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)
find_package(ZLIB REQUIRED) # libhdf5-dev brings it
# NLopt: fits of tandem calibrate; without it that command says what is missing.
pkg_check_modules(NLOPT IMPORTED_TARGET nlopt)
pkg_check_modules(CMOCKA IMPORTED_TARGET cmocka)

set(HDF5_PREFER_PARALLEL OFF)
find_package(HDF5 REQUIRED COMPONENTS C)
add_library(tandem_hdf5 INTERFACE)
target_include_directories(tandem_hdf5 SYSTEM INTERFACE ${HDF5_C_INCLUDE_DIRS})
target_link_libraries(tandem_hdf5 INTERFACE ${HDF5_C_LIBRARIES})

find_package(MPI COMPONENTS C QUIET)
if(MPI_C_FOUND)
  set(TANDEM_MPI "${MPI_C_VERSION} (${MPIEXEC_EXECUTABLE})")
else()
  set(TANDEM_MPI "not found")
endif()
# OpenCL: the headers only; libOpenCL.so.1 is opened at run time. -D TANDEM_OPENCL_INCLUDE=OFF builds without.
find_path(TANDEM_OPENCL_INCLUDE CL/cl.h DOC "Folder of CL/cl.h")
set(TANDEM_OPENCL "headers not found")
if(TANDEM_OPENCL_INCLUDE)
  set(TANDEM_OPENCL "headers in ${TANDEM_OPENCL_INCLUDE}")
endif()
# CUDA: nvcc for the kernels only; the driver, cuBLASLt and NVML are opened at run time.
include(TandemCuda)
message(STATUS "tandem: MPI ${TANDEM_MPI}; OpenCL ${TANDEM_OPENCL}; CUDA ${TANDEM_CUDA}")
