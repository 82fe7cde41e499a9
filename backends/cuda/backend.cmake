# SPDX-License-Identifier: Apache-2.0
file(GLOB cuda_kernels CONFIGURE_DEPENDS ${folder}/*.cu)
tandem_cuda_images(tandem_backend_cuda ${cuda_kernels})
target_link_libraries(tandem_backend_cuda PRIVATE ${CMAKE_DL_LIBS})
