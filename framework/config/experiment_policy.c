/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of engine.policy_options. All of them are optional here: which a policy reads, what it does with them and
 * what it takes when they are not given stands in the policy's own file (`tandem policies`).
 */
#include "options.h"
#include "tandem/experiment.h"

#define INT(field, unit_, low_, high_, help_) \
  KEY(td_cfg_policy, field, TD_OPT_INT, unit_, "none", low_, high_, help_ "; none = the policy's own")
#define REAL(field, unit_, low_, high_, help_) \
  KEY(td_cfg_policy, field, TD_OPT_REAL, unit_, "nan", low_, high_, help_ "; nan = the policy's own")

static const struct td_option tier_options[] = {KEY(td_cfg_tier_slo, slo_ttft, TD_OPT_REAL, "s", NULL, 1e-9,
                                                    MOST_SECONDS, "time to first token that its requests are to see"),
                                                END};
static const struct td_option_group tier_group = {"a tier", sizeof(struct td_cfg_tier_slo), tier_options};

static const struct td_option policy_options[] = {
    INT(threshold_tokens, "tokens", 0, MOST_TOKENS, "length of a prompt, or of a queue of them, that parts two ways"),
    INT(queue_limit, "requests", 0, MOST_TOKENS, "most requests that may wait for a route"),
    REAL(slo_ttft, "s", 1e-9, MOST_SECONDS, "time to first token that requests are to see"),
    {.name = "tiers",
     .type = TD_OPT_LIST,
     .fallback = "()",
     .help = "tiers of service, the most urgent first; () = the policy's own",
     .offset = offsetof(struct td_cfg_policy, tiers),
     .group = &tier_group},
    REAL(prefix_weight, NULL, 0, 1e6, "waiting prompt tokens that one token of a known prefix is worth"),
    REAL(high, NULL, 1e-6, 1e6, "pressure above which a role needs help"),
    REAL(low, NULL, 0, 1e6, "pressure below which a role can give help"),
    INT(minimum_workers, "workers", 1, 100000, "workers that a role keeps"),
    END};
const struct td_option_group td_policy_group = {"policy_options", sizeof(struct td_cfg_policy), policy_options};
