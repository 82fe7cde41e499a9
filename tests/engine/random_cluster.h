/* SPDX-License-Identifier: Apache-2.0
 *
 * Random experiments of modelled workers: cluster, engine, model and workload of a number, for a policy.
 */
#ifndef TESTS_ENGINE_RANDOM_CLUSTER_H
#define TESTS_ENGINE_RANDOM_CLUSTER_H

#include <stddef.h>
#include <stdint.h>

/* Writes one file. */
void random_cluster_file(const char *folder, const char *name, const char *text);
/* Writes shapes and device files that the configs name into a folder: dense, windowed and with experts; a small chip, a
 * fast and a slow link. */
void random_cluster_files(const char *folder);

/* The text of a config, in out. `burst_ps`: an instant at which three requests come beside its own; < 0: none do. */
void random_cluster(uint64_t number, const char *policy, const char *folder, int64_t burst_ps, char *out, size_t size);

/* Likewise a cluster with prefix caches and, often, tiers below them, on a source of few, long beginnings or of
 * sessions; its KV caches are small. Where workers fail, some often do so at `instant_ps`; < 0: no instant is special.
 */
void random_cached_cluster(uint64_t number, const char *policy, const char *folder, int64_t instant_ps, char *out,
                           size_t size);

#endif
