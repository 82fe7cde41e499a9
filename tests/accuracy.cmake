# SPDX-License-Identifier: Apache-2.0
# Logits, KL and greedy tokens against the reference outputs; through the same pass as `tandem eval`. Tests with the
# label `plain` do not run under sanitizers: others run the same code on less.
set(accuracy_sources accuracy/reference.c ${PROJECT_SOURCE_DIR}/framework/cli/eval_pass.c)
foreach(kv f32 f16)
  tandem_test(accuracy_smollm2_${kv} SOURCES accuracy/smollm2.c ${accuracy_sources}
    LINK tandem_device tandem_backends tandem_hdf5 LABELS "accuracy;plain")
  target_compile_definitions(accuracy_smollm2_${kv} PRIVATE ACCURACY_KV="${kv}")
  set_tests_properties(accuracy_smollm2_${kv} PROPERTIES TIMEOUT 900)
endforeach()
foreach(topic tiny made)
  tandem_test(accuracy_${topic} SOURCES accuracy/${topic}.c ${accuracy_sources}
    LINK tandem_device tandem_backends tandem_hdf5 LABELS "accuracy;plain")
endforeach()
tandem_test(eval_command SOURCES accuracy/eval_command.c accuracy/reference.c LINK tandem_base tandem_hdf5
  LABELS accuracy)
add_dependencies(eval_command tandem)
