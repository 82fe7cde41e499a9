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
/* Writes shapes and device files that the configs name into a folder: dense, windowed and with experts; a small chip,
 * one with faster memories, a fast and a slow link. */
void random_cluster_files(const char *folder);

/* Plain ones have requests of the config's own or a generated source. Cached ones have prefix caches and, often, tiers
 * below them, on a source of few, long beginnings or of sessions; their KV caches are small. Tooled ones have
 * orchestrators, some of which fail, on sessions; some have prefix caches. */
enum random_kind { RANDOM_PLAIN, RANDOM_CACHED, RANDOM_TOOLED, RANDOM_KINDS };
struct random_which {
  enum random_kind kind;
  uint64_t number;
  const char *policy;
  /* An instant at which three requests come beside the config's own, and where workers fail some often do; < 0: none is
   * special. */
  int64_t instant_ps;
};
/* The text of a config, in out. */
void random_cluster(const struct random_which *which, const char *folder, char *out, size_t size);

#endif
