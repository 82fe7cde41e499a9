/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_FAULTS_H
#define TESTS_FAULTS_H

void live_run_sigkill(void **state);
void mpi_killed_rank(void **state);

#endif
