/* SPDX-License-Identifier: Apache-2.0
 *
 * The cases of engine_runs.
 */
#ifndef TESTS_ENGINE_RUNS_H
#define TESTS_ENGINE_RUNS_H

#define RUNS_CASES(X)              \
  X(parity_one_process)            \
  X(parity_2_ranks)                \
  X(parity_4_ranks)                \
  X(parity_smollm2)                \
  X(measured_paces)                \
  X(paces_agree_under_mpi)         \
  X(priced_ranks_identical)        \
  X(transfer_bytes)                \
  X(handoff_blob)                  \
  X(modelled_cluster)              \
  X(mixed_cluster)                 \
  X(quickstart_modelled_and_mixed) \
  X(sampling_seeded)               \
  X(arrivals_do_not_matter)        \
  X(long_prefill_counts)           \
  X(stops_at_length)               \
  X(kept_awake)                    \
  X(end_tokens)                    \
  X(source_live)                   \
  X(one_token_requests)            \
  X(kv_pressure)                   \
  X(kv_grows_live)                 \
  X(live_without_a_trace)          \
  X(policies_live)                 \
  X(refused_live)                  \
  X(refusals_are_shown)            \
  X(goodput_of_live_runs)

#define RUNS_DECLARE(name) void name(void **state);
RUNS_CASES(RUNS_DECLARE)

#endif
