# SPDX-License-Identifier: Apache-2.0
function(tandem_model_test name)
  tandem_test(model_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/model/test_${name}.c
    ${CMAKE_CURRENT_LIST_DIR}/model/gguf_builder.c LINK tandem_model PkgConfig::JANSSON Threads::Threads ${ARGN})
endfunction()

foreach(name gguf gguf_broken gguf_cut pretokenizer chat shapes graph slice)
  tandem_model_test(${name})
endforeach()
tandem_model_test(tokenizer LABELS threads)
foreach(name arch graph_archs)
  tandem_model_test(${name})
endforeach()
tandem_model_test(spm)
