# SPDX-License-Identifier: Apache-2.0
# The backend lpu: in a program, through `tandem run` on one and two ranks, and `tandem lpu`.
foreach(topic steps kv)
  tandem_test(lpu_backend_${topic} SOURCES lpu_backend/${topic}_test.c lpu_backend/rig.c
    LINK tandem_device tandem_backends tandem_lpu tandem_cost tandem_model tandem_kernels tandem_config tandem_base
    LABELS lpu)
endforeach()
tandem_test(lpu_backend_runs SOURCES lpu_backend/runs_test.c engine/harness.c
  LINK tandem_traces tandem_model tandem_config tandem_cost tandem_kernels tandem_base PkgConfig::JANSSON
  LABELS "lpu;mpi")
target_include_directories(lpu_backend_runs PRIVATE engine)
target_compile_definitions(lpu_backend_runs PRIVATE $<$<BOOL:${MPI_C_FOUND}>:TANDEM_HAVE_MPI=1>)
add_dependencies(lpu_backend_runs tandem)
tandem_test(lpu_backend_modelled SOURCES lpu_backend/modelled_test.c engine/harness.c
  LINK tandem_traces tandem_model tandem_config tandem_cost tandem_kernels tandem_base PkgConfig::JANSSON
  LABELS lpu)
target_include_directories(lpu_backend_modelled PRIVATE engine)
add_dependencies(lpu_backend_modelled tandem)
tandem_test(lpu_backend_explain SOURCES lpu_backend/explain_test.c engine/harness.c
  LINK tandem_traces tandem_model tandem_config tandem_cost tandem_kernels tandem_base PkgConfig::JANSSON
  LABELS lpu)
target_include_directories(lpu_backend_explain PRIVATE engine)
add_dependencies(lpu_backend_explain tandem)
