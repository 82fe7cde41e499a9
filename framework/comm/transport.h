/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMM_TRANSPORT_H
#define COMM_TRANSPORT_H

#include "tandem/comm.h"

td_status td_transport_open_local(struct td_transport **out_transport);
#ifdef TANDEM_HAVE_MPI
td_status td_transport_open_mpi(struct td_transport **out_transport);
#endif

#endif
