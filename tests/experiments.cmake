# SPDX-License-Identifier: Apache-2.0
# The claims table: its rule, its files, its command over made folders. The same in every build.
if(TANDEM_SANITIZE)
  return()
endif()
add_test(NAME experiments_claims COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/experiments/claims_test.py)
set_tests_properties(experiments_claims PROPERTIES TIMEOUT 120)
add_test(NAME experiments_paper COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/experiments/paper_test.py)
set_tests_properties(experiments_paper PROPERTIES TIMEOUT 120)
add_test(NAME experiments_validation COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/experiments/validation_test.py $<TARGET_FILE:tandem>)
set_tests_properties(experiments_validation PROPERTIES TIMEOUT 120)
add_test(NAME experiments_profile COMMAND python3 ${CMAKE_CURRENT_LIST_DIR}/experiments/profile_test.py)
set_tests_properties(experiments_profile PROPERTIES TIMEOUT 120)
