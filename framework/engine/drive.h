/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_DRIVE_H
#define ENGINE_DRIVE_H

#include "cluster.h"
#include "node.h"
#include "tandem/engine.h"
#include "tandem/trace.h"

/* Runs the event loop of rank 0 until every request is done. */
td_status engine_drive(const struct cluster *cluster, struct node *node, struct td_trace_writer *trace,
                       const struct td_run_options *options);

#endif
