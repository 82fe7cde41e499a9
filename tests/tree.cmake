# SPDX-License-Identifier: Apache-2.0
# Checks of the tree itself. They say the same in every build, so builds with sanitizers leave them out.
if(TANDEM_SANITIZE)
  return()
endif()

# tandem_tree_test(NAME COMMAND...): a script that exits 0, 1 or 77 (skipped).
function(tandem_tree_test name)
  add_test(NAME ${name} COMMAND ${ARGN} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS lint)
endfunction()

tandem_tree_test(format scripts/format)
tandem_tree_test(shellcheck tests/tree/shellcheck)
tandem_tree_test(pyflakes tests/tree/pyflakes)
tandem_tree_test(clang_tidy scripts/tidy ${PROJECT_BINARY_DIR})
set_tests_properties(clang_tidy PROPERTIES TIMEOUT 1200 PROCESSORS 2)
tandem_tree_test(layering tests/tree/layering ${PROJECT_BINARY_DIR})
tandem_tree_test(spdx tests/tree/spdx)
tandem_tree_test(install_packages tests/tree/install_packages)
tandem_tree_test(fetch_model tests/tree/fetch_model)
tandem_tree_test(paper_numbers tests/tree/paper_numbers)
tandem_tree_test(measures_nothing tests/tree/measures_nothing)

# The whole demo without a network, on the tiny model that stands in.
add_test(NAME demo_offline COMMAND ${CMAKE_CURRENT_LIST_DIR}/tree/demo_offline $<TARGET_FILE:tandem>)
set_tests_properties(demo_offline PROPERTIES TIMEOUT 120 LABELS demo)

tandem_tree_test(seeded_faults_list scripts/seeded-faults --verify --build ${PROJECT_BINARY_DIR})
