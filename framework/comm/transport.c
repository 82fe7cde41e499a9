/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <stdlib.h>

#include "tandem/base.h"

/* What Open MPI, PMIx/Slurm and the MPICH family put into the environment of a rank. */
static const char *const size_names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};
static const char *const rank_names[] = {"OMPI_COMM_WORLD_RANK", "PMI_RANK", "SLURM_PROCID", NULL};

static int32_t first_number(const char *const *names, int32_t fallback) {
  for (; *names; names++) {
    const char *text = getenv(*names);
    if (text && *text) return (int32_t)strtol(text, NULL, 10);
  }
  return fallback;
}

int32_t td_launcher_ranks(void) {
  return first_number(size_names, 1);
}
int32_t td_launcher_rank(void) {
  return td_launcher_ranks() > 1 ? first_number(rank_names, 0) : 0;
}

td_status td_transport_open(struct td_transport **out_transport) {
  if (td_launcher_ranks() <= 1) return td_transport_open_local(out_transport);
#ifdef TANDEM_HAVE_MPI
  return td_transport_open_mpi(out_transport);
#else
  return td_fail(TD_UNAVAILABLE, "started with %d ranks, but this tandem was built without MPI", td_launcher_ranks());
#endif
}
