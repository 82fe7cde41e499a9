# SPDX-License-Identifier: Apache-2.0
# The checker: a smallest failing program and a valid sibling per rule; mutants of a program that uses everything, and
# of a compiled one.
set(mutants lpu/mutants.c lpu/mutants_issue.c lpu/mutants_memory.c lpu/mutants_stream.c lpu/mutants_unit.c
  lpu/mutants_step.c lpu/mutants_random.c lpu/mutants_try.c)
set(libraries tandem_lpu tandem_cost tandem_config tandem_model tandem_kernels tandem_base)
tandem_test(lpu_check SOURCES lpu/check_test.c lpu/sample.c lpu/smallest.c lpu/assemble.c ${mutants}
  LINK ${libraries} LABELS lpu)
tandem_test(lpu_check_compiled SOURCES lpu/check_compiled_test.c lpu/decoder.c ${mutants}
  LINK ${libraries} LABELS lpu)
# By hand: ten thousand random changes of compiled programs, a minute or two.
add_custom_target(lpu_random_changes COMMAND lpu_check_compiled 10000 USES_TERMINAL)
tandem_test(lpu_check_whole SOURCES lpu/check_whole_test.c lpu/assemble.c LINK ${libraries} LABELS lpu)
tandem_test(lpu_check_chain SOURCES lpu/check_chain_test.c lpu/assemble.c LINK ${libraries} LABELS lpu)
