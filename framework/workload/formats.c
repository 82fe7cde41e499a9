/* SPDX-License-Identifier: Apache-2.0
 *
 * The columns of each trace format. Names are matched exactly, in any order.
 */
#include "trace.h"

#define END \
  { NULL, COLUMN_IGNORED, false }

static const struct column azure[] = {{"TIMESTAMP", COLUMN_TIME, true},
                                      {"ContextTokens", COLUMN_PROMPT, true},
                                      {"GeneratedTokens", COLUMN_OUTPUT, true},
                                      END};

static const struct column burstgpt[] = {{"Timestamp", COLUMN_TIME, true},
                                         {"Request tokens", COLUMN_PROMPT, true},
                                         {"Response tokens", COLUMN_OUTPUT, true},
                                         {"Session ID", COLUMN_IGNORED, false},
                                         {"Elapsed time", COLUMN_IGNORED, false},
                                         {"Model", COLUMN_IGNORED, false},
                                         {"Total tokens", COLUMN_IGNORED, false},
                                         {"Log Type", COLUMN_IGNORED, false},
                                         END};

static const struct column vidur[] = {{"arrived_at", COLUMN_TIME, false},
                                      {"num_prefill_tokens", COLUMN_PROMPT, true},
                                      {"num_decode_tokens", COLUMN_OUTPUT, true},
                                      {"num_total_tokens", COLUMN_IGNORED, false},
                                      {"pd_ratio", COLUMN_IGNORED, false},
                                      {"request_id", COLUMN_IGNORED, false},
                                      END};

static const struct column splitwise[] = {
    {"arrival_timestamp", COLUMN_TIME, true}, {"prompt_size", COLUMN_PROMPT, true},
    {"token_size", COLUMN_OUTPUT, true},      {"request_id", COLUMN_IGNORED, false},
    {"request_type", COLUMN_IGNORED, false},  {"application_id", COLUMN_IGNORED, false},
    {"batch_size", COLUMN_IGNORED, false},    END};

/* JSON: keys instead of columns. */
static const struct column mooncake[] = {{"timestamp", COLUMN_TIME, true},
                                         {"input_length", COLUMN_PROMPT, true},
                                         {"output_length", COLUMN_OUTPUT, true},
                                         {"hash_ids", COLUMN_PREFIX, true},
                                         END};

static const struct column blis[] = {
    {"arrival_time_us", COLUMN_TIME, true},  {"input_tokens", COLUMN_PROMPT, true},
    {"output_tokens", COLUMN_OUTPUT, true},  {"server_input_tokens", COLUMN_SERVER, false},
    {"slo_class", COLUMN_CLASS, false},      {"prefix_group", COLUMN_GROUP, false},
    {"prefix_length", COLUMN_PREFIX, false}, END};

static const struct column sharegpt[] = {{"arrival_time_ns", COLUMN_TIME, true},
                                         {"input_tokens", COLUMN_PROMPT, true},
                                         {"output_tokens", COLUMN_OUTPUT, true},
                                         END};

static const struct column apex[] = {{"start_offset_ns", COLUMN_TIME, true},
                                     {"context_tokens", COLUMN_PROMPT, true},
                                     {"generated_tokens", COLUMN_OUTPUT, true},
                                     END};

static const struct column sessions[] = {
    {"session_id", COLUMN_SESSION, true},      {"arrival_time", COLUMN_TIME, false},
    {"round_idx", COLUMN_TURN, true},          {"prefix_len", COLUMN_PREFIX, true},
    {"input_len", COLUMN_PROMPT, true},        {"output_len", COLUMN_OUTPUT, true},
    {"tool_wait_after_ms", COLUMN_WAIT, true}, END};

static const struct column lengths[] = {
    {"prompt_tokens", COLUMN_PROMPT, true}, {"output_tokens", COLUMN_OUTPUT, true}, END};

const struct format trace_formats[TD_SOURCE_FORMATS] = {
    [TD_SOURCE_AZURE] = {.name = "azure", .columns = azure, .stamps = true, .from_first = true},
    [TD_SOURCE_BURSTGPT] = {.name = "burstgpt", .columns = burstgpt, .power = 12, .from_first = true, .failures = true},
    [TD_SOURCE_VIDUR] = {.name = "vidur", .columns = vidur, .power = 12},
    [TD_SOURCE_SPLITWISE] = {.name = "splitwise", .columns = splitwise, .power = 12},
    [TD_SOURCE_MOONCAKE] = {.name = "mooncake", .columns = mooncake, .power = 9},
    [TD_SOURCE_BLIS] = {.name = "blis", .columns = blis, .power = 6, .open = true, .failures = true},
    [TD_SOURCE_SHAREGPT] = {.name = "sharegpt", .columns = sharegpt, .power = 3},
    [TD_SOURCE_APEX] = {.name = "apex", .columns = apex, .power = 3},
    [TD_SOURCE_SESSIONS] = {.name = "sessions", .columns = sessions, .power = 9},
    [TD_SOURCE_LENGTHS] = {.name = "lengths", .columns = lengths, .bare = true},
};
