/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <stdlib.h>

#include "tandem/base.h"

/* What Open MPI, the MPICH family and Slurm put into the environment of a rank. */
static const char *const size_names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};

static int32_t launcher_ranks(void) {
  for (const char *const *name = size_names; *name; name++) {
    const char *text = getenv(*name);
    if (text && *text) return (int32_t)strtol(text, NULL, 10);
  }
  return 1;
}

td_status td_transport_open(struct td_transport **out_transport) {
  if (launcher_ranks() <= 1) return td_transport_open_local(out_transport);
#ifdef TANDEM_HAVE_MPI
  return td_transport_open_mpi(out_transport);
#else
  return td_fail(TD_UNAVAILABLE, "started with %d ranks, but this tandem was built without MPI", launcher_ranks());
#endif
}
