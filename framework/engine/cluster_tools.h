/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_CLUSTER_TOOLS_H
#define ENGINE_CLUSTER_TOOLS_H

#include "cluster.h"

/* Fills cluster->orchestrators from the config and its device files; none if the config has none. */
td_status cluster_open_orchestrators(struct cluster *cluster);
void cluster_close_orchestrators(struct cluster *cluster);

#endif
