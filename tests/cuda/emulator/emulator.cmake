# SPDX-License-Identifier: Apache-2.0
# Target tandem_cuda_emulator: a library in the place of libcuda.so.1 that runs the kernels of backends/cuda on the host
# (tests/cuda/emulator). It is C++, which nothing else here is: so the compiler is looked for, not enabled, and without
# it or without the toolkit's cuda.h the target does not exist.
include_guard()
find_program(TANDEM_CXX NAMES g++ c++ clang++ DOC "A C++ compiler for the tests' emulated CUDA device")
find_path(TANDEM_CUDA_INCLUDE cuda.h PATHS ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES include
  DOC "Folder of the CUDA toolkit's headers")
if(NOT TANDEM_CXX OR NOT TANDEM_CUDA_INCLUDE)
  message(STATUS "tandem: no emulated CUDA device in the tests: found no C++ compiler, or no cuda.h")
  return()
endif()

set(emulator_flags -std=c++17 -O2 -g1 -fPIC -fvisibility=hidden -ffp-contract=off -fno-strict-aliasing -Wall -Wextra
  -Wconversion -DCUDA_EMULATED -I ${CMAKE_CURRENT_LIST_DIR} -I ${PROJECT_SOURCE_DIR}/backends/cuda
  -isystem ${PROJECT_SOURCE_DIR}/framework/include -I ${PROJECT_SOURCE_DIR}/framework/kernels/shared
  -isystem ${TANDEM_CUDA_INCLUDE})
if(TANDEM_WERROR)
  list(APPEND emulator_flags -Werror)
endif()
# Stacks are switched by hand: the sanitizer for threads cannot follow. clang's runtimes are linked into the program.
set(emulator_link "")
if(TANDEM_SANITIZE AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT TANDEM_SANITIZE MATCHES "thread")
  set(emulator_link -fsanitize=${TANDEM_SANITIZE})
  list(APPEND emulator_flags -fsanitize=${TANDEM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
endif()

set(emulator_folder ${CMAKE_CURRENT_BINARY_DIR}/cuda_emulator)
file(MAKE_DIRECTORY ${emulator_folder})
file(GLOB emulator_sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/*.cpp ${PROJECT_SOURCE_DIR}/backends/cuda/*.cu)
set(emulator_objects "")
foreach(source ${emulator_sources})
  cmake_path(GET source FILENAME name)
  set(object ${emulator_folder}/${name}.o)
  add_custom_command(OUTPUT ${object} DEPENDS ${source} DEPFILE ${object}.d
    COMMAND ${TANDEM_CXX} ${emulator_flags} -MD -MF ${object}.d -MT ${object} -x c++ -c ${source} -o ${object}
    COMMENT "${name} for the emulated CUDA device" VERBATIM)
  list(APPEND emulator_objects ${object})
endforeach()
set(emulator ${emulator_folder}/libcuda_emulated.so)
add_custom_command(OUTPUT ${emulator} DEPENDS ${emulator_objects}
  COMMAND ${TANDEM_CXX} -shared ${emulator_link} -o ${emulator} ${emulator_objects}
  COMMENT "The emulated CUDA device" VERBATIM)
add_custom_target(tandem_cuda_emulator_files DEPENDS ${emulator})
add_library(tandem_cuda_emulator SHARED IMPORTED)
set_target_properties(tandem_cuda_emulator PROPERTIES IMPORTED_LOCATION ${emulator})
add_dependencies(tandem_cuda_emulator tandem_cuda_emulator_files)
