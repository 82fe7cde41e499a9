/* SPDX-License-Identifier: Apache-2.0
 *
 * The keys of an experiment. The help texts here are their documentation: docs/configs.md is made from them.
 */
#include "tandem/experiment.h"

#include "internal.h"
#include "options.h"
#include "tandem/dtype.h"

static const struct td_option engine_options[] = {
    CHOICE(td_cfg_engine, pace, "wall|measured|priced", "wall",
           "whose time counts: wall = real time; measured = virtual time from each step's measured duration; priced = "
           "virtual time from the cost model or counted cycles, the same to the byte every time"),
    TEXT(td_cfg_engine, policy, "colocated",
         "which worker prefills and which decodes: a file of framework/engine/policies"),
    KEY(td_cfg_engine, chunk_tokens, TD_OPT_INT, "tokens", "512", 0, MOST_TOKENS,
        "most prompt tokens of one request in a step (batch_tokens bounds it too); 0 = the whole prompt at once, and "
        "one of "
        "more than batch_tokens goes alone in its step"),
    KEY(td_cfg_engine, batch_tokens, TD_OPT_INT, "tokens", "2048", 1, MOST_TOKENS,
        "most tokens of all requests in a step; only with chunk_tokens = 0 a longer prompt may exceed it, alone"),
    KEY(td_cfg_engine, batch_sequences, TD_OPT_INT, "requests", "64", 1, 65536,
        "most requests in a step, and that a worker has at a time"),
    CHOICE(td_cfg_engine, awake, "auto|yes|no", "auto",
           "pace wall: whether the processors of all ranks are kept from sleeping while the run lasts, through Linux's "
           "/dev/cpu_dma_latency: else the first steps after a pause last longer; auto = where the system permits it, "
           "which the trace tells of rank 0 (run attribute awake)"),
    CHOICE(td_cfg_engine, first, "outputs|prompts", "outputs",
           "what a step is filled with first: outputs = a token of every decoding request, then prompts; prompts = "
           "prompts, then decoding requests: those that batch_tokens has no room for pause for the step"),
    KEY(td_cfg_engine, pauses, TD_OPT_INT, "steps", "4", 1, 1e9,
        "with first = \"prompts\": a decoding request that has paused in so many steps never pauses in two one after "
        "the other: in the step after a pause it comes before the prompts"),
    KEY(td_cfg_engine, block_tokens, TD_OPT_INT, "tokens", "16", 1, 4096, "size of a KV block in positions"),
    CHOICE(td_cfg_engine, kv_dtype, "f32|f16|fp8", "f16", "element type of the KV cache; fp8 only in modelled runs"),
    CHOICE(td_cfg_engine, handoff, "layers|blob", "layers",
           "layers = push KV layer by layer while prefill goes on; blob = everything at once after prefill"),
    KEY(td_cfg_engine, handoff_layers, TD_OPT_INT, "layers", "1", 1, 4096,
        "layers per push when handoff is \"layers\""),
    CHOICE(td_cfg_engine, kv, "reserve|grow", "reserve",
           "when a request gets its KV blocks: reserve = all of prompt and output when it is admitted; grow = the "
           "prompt's, and one more whenever its context fills the last, for which others may have to leave; not where "
           "some "
           "workers execute and others are modelled"),
    CHOICE(td_cfg_engine, preemption, "recompute|swap", "recompute",
           "with kv = \"grow\", what becomes of the decoding request that stands last in line when blocks run out: "
           "recompute = its KV is dropped, and its prompt and what it has put out so far are prefilled anew; swap = "
           "its KV goes to the host's "
           "memory at the device file's host_bandwidth and comes back before it goes on, steps waiting meanwhile; not "
           "where "
           "workers execute"),
    KEY(td_cfg_engine, prefix_cache, TD_OPT_BOOL, NULL, "false", 0, 0,
        "modelled runs: workers keep the KV of prompts, and of answers that the source names, in KV blocks that nobody "
        "needs, and prompts that begin alike (by the source's prefix hashes, in whole blocks of them) do not compute "
        "it "
        "again"),
    KEY(td_cfg_engine, merge, TD_OPT_BOOL, NULL, "true", 0, 0,
        "decode steps of a modelled worker between two changes of its batch are one event; false = step by step, which "
        "gives the same bytes"),
    KEY(td_cfg_engine, context, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "most positions of a request (prompt and output) of a source; 0 = the model's context, and more than that only "
        "in modelled runs"),
    KEY(td_cfg_engine, policy_interval, TD_OPT_REAL, "s", "10", 1e-6, MOST_SECONDS,
        "time of the run between the ticks of policies that have them"),
    BELOW(td_cfg_engine, policy_options, TD_OPT_GROUP, NULL, &td_policy_group,
          "what the policy goes by; a key that it does not read is refused (`tandem policies` lists them)"),
    END};
static const struct td_option_group engine_group = {"engine", sizeof(struct td_cfg_engine), engine_options};

static const struct td_option lpu_options[] = {
    KEY(td_cfg_lpu, chips, TD_OPT_INT, "chips", "0", 0, 65536, "chips of the system; 0 = the fewest that fit"),
    KEY(td_cfg_lpu, tensor, TD_OPT_INT, "chips", "0", 0, 65536,
        "chips that share each layer's heads and rows, a divisor of chips; the others take other layers; 0 = what has "
        "the "
        "fewest cycles"),
    CHOICE(td_cfg_lpu, objective, "all|latency|throughput", "all",
           "what tensor = 0 is chosen for: all = the fewest cycles of a step on all chips; latency = the same, on as "
           "many of them as are best; throughput = the most steps in a time with one in every stage, likewise"),
    KEY(td_cfg_lpu, latency_bound, TD_OPT_REAL, "s", "0", 0, 1e6,
        "with objective = \"throughput\": only groupings whose step, at the end of what the KV cache holds, takes at "
        "most "
        "so long; 0 = any"),
    CHOICE(td_cfg_lpu, weights, "f16|i8|f8", "f16",
           "how weights stand in SRAM: fp16; int8 or FP8 (E4M3) with one scale per output row; f8 wants a device with "
           "FP8"),
    CHOICE(td_cfg_lpu, activations, "f16|i8|i8x2|f8", "f16",
           "what passes through the matrix planes: fp16; int8 in one pass; 15 bits in two int8 passes; FP8 in one pass "
           "with one scale per row; i8 and i8x2 need weights = \"i8\", f8 needs weights = \"f8\""),
    KEY(td_cfg_lpu, rows, TD_OPT_INT, "rows", "1", 1, 512,
        "most tokens of one pass through the program; a step of more takes several passes"),
    KEY(td_cfg_lpu, context, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "most positions of a sequence that the program is compiled for; 0 = as many as the longest request has"),
    KEY(td_cfg_lpu, expert_parts, TD_OPT_INT, "systems", "0", 0, 65536,
        "systems of so many chips that a layer's experts are dealt to; only with tandem lpu; 0 = tandem lpu experts: "
        "the "
        "fewest that fit, else one"),
    KEY(td_cfg_lpu, expert_rows, TD_OPT_INT, "tokens", "0", 0, 512,
        "most tokens of an expert's run; only with tandem lpu; 0 = one"),
    KEY(td_cfg_lpu, expert_routed, TD_OPT_INT, "tokens", "0", 0, 65536,
        "places for routed tokens; only with tandem lpu; 0 = what all rows can route here"),
    TEXT(td_cfg_lpu, emulate_on, "step",
         "what emulates it: \"step\" = instruction by instruction, counting cycles; or a device that interprets the "
         "program as whole vectors, with the same bits and cycles: cpu, opencl:0, cuda:0"),
    END};
static const struct td_option_group lpu_group = {"an LPU", sizeof(struct td_cfg_lpu), lpu_options};

static const struct td_option tier_options[] = {
    TEXT(td_cfg_tier_below, name, NULL, "what the summary calls it; tiers of one name are counted together"),
    KEY(td_cfg_tier_below, tokens, TD_OPT_INT, "tokens", NULL, 1, 1e15, "what it holds for each replica, in positions"),
    KEY(td_cfg_tier_below, bandwidth, TD_OPT_REAL, "GB/s", "nan", 1e-6, 1e9,
        "rate of loads from it, of all chips of a worker; nan = the device file's host_bandwidth"),
    KEY(td_cfg_tier_below, survives, TD_OPT_BOOL, NULL, "false", 0, 0,
        "what it holds is still there when its worker has failed and is repaired; false: lost with it"),
    END};
static const struct td_option_group tier_group = {"a tier below", sizeof(struct td_cfg_tier_below), tier_options};

static const struct td_option pool_options[] = {
    TEXT(td_cfg_pool, name, NULL, "the pool's name; its workers are NAME.0, NAME.1, ..."),
    CHOICE(td_cfg_pool, role, "both|prefill|decode", "both", "what the policy may ask of the pool"),
    TEXT(td_cfg_pool, backend, NULL, "backend, with the device number if there are several: cpu, template:0, modelled"),
    TEXT(td_cfg_pool, device, "", "device file: a name of devices/ or a path; \"\" = none"),
    KEY(td_cfg_pool, count, TD_OPT_INT, "workers", "1", 1, 100000,
        "replicas; on a backend of numbered chips (cuda) each takes the next one, from the pool's device on, counted "
        "per "
        "rank; pools that name the same device share it, as replicas do where devices are the host's processors"),
    KEY(td_cfg_pool, tensor, TD_OPT_INT, "chips", "1", 1, 1024,
        "backend modelled: so many of the device act as one worker, which share heads, FFNs and experts and sum over "
        "them; every operator is then priced by its model. A divisor of the model's heads that divides its key and "
        "value "
        "heads or is a multiple of them"),
    KEY(td_cfg_pool, pipeline, TD_OPT_INT, "stages", "1", 1, 64,
        "modelled runs on chips: pipeline parallelism, a replica being so many times tensor chips (or expert, if "
        "more). "
        "Layers are dealt out evenly, those left over one each to the stages before the last, the last of these first; "
        "embedding is with the first, head with the last. As many batches are in flight, each a worker NAME.REPLICA."
        "BATCH with requests, step limits and an equal part of the KV blocks (the fullest stage's) of its own"),
    TEXT(td_cfg_pool, pipeline_link, "",
         "with pipeline > 1: device file of kind link from each stage to the next, for activations in 16 bits, and "
         "from "
         "the last to the first, for ids of 4 bytes"),
    KEY(td_cfg_pool, expert, TD_OPT_INT, "chips", "1", 1, 1024,
        "modelled runs of models with experts: expert parallelism, each expert whole on one of so many chips; 1 = "
        "split "
        "over tensor as all else. A multiple of tensor: with more than that, a stage is so many chips, and its "
        "attention "
        "data-parallel over groups of tensor, which deal out a step's sequences and have its limits each"),
    TEXT(td_cfg_pool, expert_link, "",
         "with expert > tensor: device file of kind link, each chip's port for tokens on their way to experts and "
         "back; "
         "\"\" = the device's own model of an all-to-all"),
    TEXT(td_cfg_pool, framework, "",
         "backend modelled: whose scale (fit of e2e in the device file) prices served steps; \"\" = the only one's"),
    KEY(td_cfg_pool, graphs, TD_OPT_BOOL, NULL, "true", 0, 0,
        "backend modelled, in served steps (tensor or expert > 1, or a framework): those without prompts are launched "
        "as one "
        "graph"),
    KEY(td_cfg_pool, exact, TD_OPT_BOOL, NULL, "true", 0, 0,
        "false: devices may take their fastest paths (vendor BLAS, tensor cores), whose "
        "bits depend on the batch"),
    KEY(td_cfg_pool, threads, TD_OPT_INT, "threads", "1", 1, 1024, "host threads of each worker"),
    KEY(td_cfg_pool, kv_tokens, TD_OPT_INT, "tokens", "0", 0, 1000000000,
        "KV capacity of each replica, in whole blocks; 0 = on modelled devices what the device file's memory leaves "
        "beside the "
        "weights, on executing ones and LPUs room for the longest request of a list in every place of a step"),
    BELOW(td_cfg_pool, tiers, TD_OPT_LIST, "()", &tier_group,
          "with engine.prefix_cache: where kept prompts go that the KV cache has no room for, the next tier first; at "
          "most 7. A prompt that finds its beginning there waits, and the worker's step with it, until it is loaded"),
    BELOW(td_cfg_pool, lpu, TD_OPT_GROUP, "", &lpu_group,
          "for backend lpu, and modelled LPUs: the program and what emulates it"),
    BELOW(
        td_cfg_pool, failures, TD_OPT_GROUP, "", &td_cfg_failures_group,
        "modelled runs: workers fail by chance; one that does loses its step and all KV, and its requests start over"),
    BELOW(td_cfg_pool, outages, TD_OPT_LIST, "()", &td_cfg_outage_group,
          "modelled runs: failures at given times, beside those by chance; of several at a time the longest counts"),
    KEY(td_cfg_pool, power_cap, TD_OPT_REAL, "W", "0", 0, 1e12,
        "modelled runs: most power of each worker; a step that takes more (its energy over its time) lasts so much "
        "longer, with the same energy; 0 = no cap"),
    END};
static const struct td_option_group pool_group = {"a pool", sizeof(struct td_cfg_pool), pool_options};

static const struct td_option link_options[] = {
    TEXT(td_cfg_link, from, NULL, "pool that sends"), TEXT(td_cfg_link, to, NULL, "pool that receives"),
    TEXT(td_cfg_link, device, NULL, "device file of kind link: a name of devices/ or a path"), END};
static const struct td_option_group link_group = {"a link", sizeof(struct td_cfg_link), link_options};

static const struct td_option cluster_options[] = {
    BELOW(td_cfg_cluster, pools, TD_OPT_LIST, NULL, &pool_group, "the devices, in pools of equal workers"),
    BELOW(td_cfg_cluster, links, TD_OPT_LIST, "()", &link_group,
          "what joins two pools; needed where the time of a hand-off is modelled: in paces measured and priced, and "
          "when either "
          "end is modelled"),
    BELOW(td_cfg_cluster, orchestrators, TD_OPT_GROUP, "", &td_cfg_orchestrators_group,
          "modelled runs: machines whose cores run the tool calls of sessions, which wait when all are taken; absent = "
          "a tool's time is a delay"),
    KEY(td_cfg_cluster, power_cap, TD_OPT_REAL, "W", "0", 0, 1e12,
        "modelled runs: most power of all workers and orchestrators, at steps and calls power_busy (of its chips "
        "together; a call's cores' share), else power_idle; a step or call that would exceed it waits until others "
        "end, "
        "first come first, equals by the worker's number; 0 = no cap"),
    END};
static const struct td_option_group cluster_group = {"cluster", sizeof(struct td_cfg_cluster), cluster_options};

static const struct td_option sampling_options[] = {
    KEY(td_cfg_sampling, temperature, TD_OPT_REAL, NULL, "0", 0, 100, "0 = greedy; else softmax temperature"),
    KEY(td_cfg_sampling, top_k, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS, "keep the k likeliest tokens; 0 = all"),
    KEY(td_cfg_sampling, top_p, TD_OPT_REAL, NULL, "1", 1e-6, 1,
        "keep the likeliest tokens that reach this probability; 1 = all"),
    END};
static const struct td_option_group sampling_group = {"sampling", sizeof(struct td_cfg_sampling), sampling_options};

static const struct td_option request_options[] = {
    TEXT(td_cfg_request, name, "", "name in tables and traces; \"\" = r and the request's number"),
    TEXT(td_cfg_request, prompt, "", "the user's message; raw text with chat = false; \"\" with prompt_tokens"),
    TEXT(td_cfg_request, system, "", "system message; \"\" = the model's default"),
    KEY(td_cfg_request, chat, TD_OPT_BOOL, NULL, "true", 0, 0, "render the prompt in the model's chat format"),
    KEY(td_cfg_request, prompt_tokens, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "length of a prompt without text; executing workers take random ids from the seed"),
    KEY(td_cfg_request, max_tokens, TD_OPT_INT, "tokens", "0", 0, MOST_TOKENS,
        "most output tokens; 0 = workload.max_tokens"),
    KEY(td_cfg_request, arrival, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS,
        "when the request comes, from the run's start"),
    END};
static const struct td_option_group request_group = {"a request", sizeof(struct td_cfg_request), request_options};

static const struct td_option workload_options[] = {
    BELOW(td_cfg_workload, requests, TD_OPT_LIST, "()", &request_group, "what is asked, one by one"),
    BELOW(td_cfg_workload, source, TD_OPT_GROUP, "", &td_source_group,
          "what is asked, from a trace or a generator; instead of requests"),
    KEY(td_cfg_workload, max_tokens, TD_OPT_INT, "tokens", "64", 1, MOST_TOKENS,
        "most output tokens of a request of the list; a source brings its own lengths"),
    KEY(td_cfg_workload, stop_at_end, TD_OPT_BOOL, NULL, "true", 0, 0,
        "stop at the model's end-of-text token; modelled steps know no tokens and run to max_tokens"),
    END};
static const struct td_option_group workload_group = {"workload", sizeof(struct td_cfg_workload), workload_options};

static const struct td_option slo_options[] = {
    KEY(td_cfg_slo, ttft, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS, "time to first token; 0 = any"),
    KEY(td_cfg_slo, tpot, TD_OPT_REAL, "s", "0", 0, MOST_SECONDS, "time per output token; 0 = any"), END};
static const struct td_option_group slo_group = {"slo", sizeof(struct td_cfg_slo), slo_options};

static const struct td_option experiment_options[] = {
    TEXT(td_experiment, name, NULL, "what the experiment is called"),
    TEXT(td_experiment, description, "", "one line on the question it answers"),
    KEY(td_experiment, seed, TD_OPT_INT, NULL, "0", 0, 9.2233720368547758e18,
        "of sampling, of prompts without text, and of a source's draws"),
    KEY(td_experiment, model, TD_OPT_PATH, NULL, NULL, 0, 0,
        "GGUF file, or shape file (.cfg) for modelled runs; ${TANDEM_CACHE} = that variable, else "
        "$XDG_CACHE_HOME/tandem or "
        "~/.cache/tandem"),
    BELOW(td_experiment, engine, TD_OPT_GROUP, NULL, &engine_group, "batching, KV cache and time"),
    BELOW(td_experiment, cluster, TD_OPT_GROUP, NULL, &cluster_group, "who computes"),
    BELOW(td_experiment, sampling, TD_OPT_GROUP, NULL, &sampling_group, "how tokens are picked"),
    BELOW(td_experiment, workload, TD_OPT_GROUP, NULL, &workload_group, "the requests"),
    BELOW(td_experiment, slo, TD_OPT_GROUP, NULL, &slo_group,
          "what a request must see to count as goodput in the summary"),
    END};
const struct td_option_group td_experiment_group = {"an experiment", sizeof(struct td_experiment), experiment_options};

enum td_dtype td_experiment_kv_dtype(const struct td_experiment *experiment) {
  static const enum td_dtype dtypes[] = {TD_F32, TD_F16, TD_FP8};
  return dtypes[experiment->engine.kv_dtype];
}
