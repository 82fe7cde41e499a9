# SPDX-License-Identifier: Apache-2.0
# dlopen, where it is not in the C library.
target_link_libraries(tandem_backend_cpu PRIVATE ${CMAKE_DL_LIBS})
