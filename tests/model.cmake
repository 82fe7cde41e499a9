# SPDX-License-Identifier: Apache-2.0
function(tandem_model_test name)
  tandem_test(model_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/model/test_${name}.c
    ${CMAKE_CURRENT_LIST_DIR}/model/gguf_builder.c LINK tandem_model PkgConfig::JANSSON Threads::Threads)
endfunction()

tandem_model_test(gguf)
tandem_model_test(gguf_broken)
tandem_model_test(gguf_cut)
