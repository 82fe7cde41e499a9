# SPDX-License-Identifier: Apache-2.0
# dlopen, where it is not in the C library.
target_link_libraries(tandem_backend_cpu PRIVATE ${CMAKE_DL_LIBS})
# Comparisons that may be speculated: lets loops over lanes vectorise, changes no result.
set_source_files_properties(${folder}/lpu_forms.c PROPERTIES COMPILE_OPTIONS -fno-trapping-math)
