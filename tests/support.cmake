# SPDX-License-Identifier: Apache-2.0
tandem_test(support_scratch SOURCES ${CMAKE_CURRENT_LIST_DIR}/support/scratch.c)
