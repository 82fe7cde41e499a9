/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention elsewhere: a layer's attention on devices of another pool, its experts on LPUs, a link both ways.
 */
#ifndef TD_CLI_LPU_AFD_H
#define TD_CLI_LPU_AFD_H

#include "lpu_experts.h"
#include "tandem/cost.h"

struct lpu_afd_question {
  const struct td_lpu_machine *machine;
  const struct td_graph *graph;
  const struct td_device_params *attention, *link; /* one of `devices` that share the sequences; one port's share */
  int32_t devices;
  int64_t context; /* cached positions of each sequence */
  enum td_dtype kv_dtype;
};

/* Of one layer, seconds. */
struct lpu_afd_batch {
  double attention; /* the device with most sequences: the mean of all layers */
  double in, out;   /* the link: a residual row of float32 a token, each LPU takes and gives its share of the rows */
  double fabric;    /* rows to all LPUs of the layer, and the parts' sums together: a bound, no schedule */
  double route;     /* ROUTE, and the link twice: logits to the host, lists back */
  double experts;   /* drawn mean */
};
enum lpu_afd_bound { AFD_ATTENTION, AFD_LINK, AFD_EXPERTS };
struct lpu_afd {
  struct lpu_afd_batch batches[LPU_EXPERTS_BATCHES];
  int32_t chips, devices; /* LPUs of a layer */
  int64_t context;
};
td_status lpu_afd_make(const struct lpu_afd_question *question, const struct lpu_experts *experts, struct lpu_afd *out);
void lpu_afd_print(const struct lpu_afd *afd, const struct lpu_experts *experts, FILE *out);
void lpu_afd_json(const struct lpu_afd *afd, const struct lpu_experts *experts, FILE *out);

#endif
