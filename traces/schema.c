/* SPDX-License-Identifier: Apache-2.0 */
#include "schema.h"

#include <stddef.h>
#include <string.h>

#define MEMBER(row, member, type, unit, what, before, later)                                                      \
  {                                                                                                               \
#member, TD_FIELD_##type, later, offsetof(struct row, member), sizeof(((struct row *)0)->member), unit, what, \
        before                                                                                                    \
  }
#define FIELD(row, member, type, unit, what) MEMBER(row, member, type, unit, what, NULL, false)
#define RENAMED(row, member, type, unit, what, before) MEMBER(row, member, type, unit, what, before, false)
#define LATER(row, member, type, unit, what) MEMBER(row, member, type, unit, what, NULL, true)

static const struct td_field device_fields[] = {
    FIELD(td_row_device, device, U32, "", "number of the device; row i holds device i"),
    FIELD(td_row_device, name, TEXT, "", "worker, as `prefill.0`"),
    FIELD(td_row_device, pool, TEXT, "", "pool of the config"),
    FIELD(td_row_device, backend, TEXT, "", "backend that runs or prices it"),
    FIELD(td_row_device, file, TEXT, "", "device file, empty if none"),
    FIELD(td_row_device, role, U32, "", "0 both, 1 prefill, 2 decode"),
    FIELD(td_row_device, executes, U32, "", "0 modelled, 1 executed, 2 emulated"),
    FIELD(td_row_device, exact, U32, "", "1 if its bits do not depend on the batch"),
    FIELD(td_row_device, model, U32, "", "0: the run's model"),
    FIELD(td_row_device, layer_begin, I32, "", "first layer that lives there; -1: from the embedding on"),
    FIELD(td_row_device, layer_end, I32, "", "end of them; the number of layers + 1: with the head"),
    FIELD(td_row_device, parts, U32, "", "sum of 1 attention, 2 FFN, 4 embedding and head"),
};

static const struct td_field request_fields[] = {
    FIELD(td_row_request, request, U64, "", "number in config order, from 0"),
    FIELD(td_row_request, name, TEXT, "", "name of the config"),
    FIELD(td_row_request, arrival, I64, "ps", "when it came; times count from the start of the run"),
    FIELD(td_row_request, admitted, I64, "ps", "when the engine took it in; -1 never"),
    FIELD(td_row_request, first_step, I64, "ps", "start of its first step that no failure cut short; -1 never"),
    FIELD(td_row_request, first_token, I64, "ps", "time of its first output token; -1 never"),
    FIELD(td_row_request, finished, I64, "ps", "when it ended; -1 never"),
    FIELD(td_row_request, prompt_tokens, U32, "token", "length of the prompt"),
    FIELD(td_row_request, output_tokens, U32, "token", "length of the output"),
    FIELD(td_row_request, max_tokens, U32, "token", "bound of the output"),
    FIELD(td_row_request, finish, U32, "",
          "0 by length, 1 by an end token, 2 refused: no output, its devices say nothing"),
    FIELD(td_row_request, prefill_device, U32, "", "device that prefilled it"),
    FIELD(td_row_request, decode_device, U32, "", "device that decoded it"),
    FIELD(td_row_request, kv_bytes, U64, "B", "KV handed over for it"),
    LATER(td_row_request, cached_tokens, U32, "token", "not prefilled, as prefix caches had them: of all its prefills"),
    LATER(td_row_request, interruptions, U32, "",
          "times it lost its place on a worker: preempted, or the worker failed"),
};

static const struct td_field step_fields[] = {
    FIELD(td_row_step, step, U64, "", "number in the run"),
    FIELD(td_row_step, index, U64, "", "number on its device"),
    FIELD(td_row_step, device, U32, "", "device"),
    FIELD(td_row_step, kind, U32, "", "0 prefill, 1 decode, 2 mixed"),
    FIELD(td_row_step, start, I64, "ps", "start of the first of `count` steps"),
    FIELD(td_row_step, duration, I64, "ps", "length of the first step"),
    FIELD(td_row_step, slope, I64, "ps", "each further step is longer by this"),
    FIELD(td_row_step, count, U64, "", "steps this row stands for; 1 if executed"),
    FIELD(td_row_step, batch, U32, "", "sequences in one step"),
    FIELD(td_row_step, tokens, U32, "token", "new tokens computed in one step"),
    FIELD(td_row_step, time_kind, U32, "", "0 executed, 1 emulated, 2 modelled"),
    RENAMED(td_row_step, interval, U32, "", "modelled: low + 65536 * high, thousandths of its length; 0 not known",
            "reserved"),
    FIELD(td_row_step, energy, F64, "J", "energy of the first step; NaN if not known"),
};

static const struct td_field token_fields[] = {
    FIELD(td_row_token, request, U64, "", "request"),
    FIELD(td_row_token, index, U32, "", "0 is the first output token"),
    FIELD(td_row_token, id, I32, "", "token id of the model's vocabulary"),
    FIELD(td_row_token, text_offset, U64, "B", "where its bytes begin in `text`"),
    FIELD(td_row_token, text_bytes, U32, "B", "how many bytes they are"),
    FIELD(td_row_token, device, U32, "", "device of the step that yielded it"),
    FIELD(td_row_token, time, I64, "ps", "when it was there"),
    FIELD(td_row_token, step, U64, "", "number of that step in the run"),
    FIELD(td_row_token, logprob, F64, "nat", "natural logarithm of the model's probability of `id`"),
    FIELD(td_row_token, gap, F64, "", "logit of the most likely id minus that of the second"),
};

static const struct td_field residency_fields[] = {
    FIELD(td_row_residency, request, U64, "", "request"),
    FIELD(td_row_residency, device, U32, "", "device"),
    FIELD(td_row_residency, tokens_per_step, U32, "token", "output tokens each of these steps yields; 0 in prefill"),
    FIELD(td_row_residency, first_index, U64, "", "`index` of the first of these steps on `device`"),
    FIELD(td_row_residency, count, U64, "", "how many steps"),
    FIELD(td_row_residency, first_token, U64, "", "index of the first output token they yield"),
};

static const struct td_field transfer_fields[] = {
    FIELD(td_row_transfer, request, U64, "", "request"),
    FIELD(td_row_transfer, from, U32, "", "device"),
    FIELD(td_row_transfer, to, U32, "", "device"),
    FIELD(td_row_transfer, layer_begin, U32, "", "first layer"),
    FIELD(td_row_transfer, layer_end, U32, "", "one past the last layer"),
    FIELD(td_row_transfer, token_begin, U64, "", "first position"),
    FIELD(td_row_transfer, token_end, U64, "", "one past the last position"),
    FIELD(td_row_transfer, bytes, U64, "B", "KV bytes moved"),
    FIELD(td_row_transfer, start, I64, "ps", "start"),
    FIELD(td_row_transfer, duration, I64, "ps", "length"),
    FIELD(td_row_transfer, time_kind, U32, "", "0 executed, 1 emulated, 2 modelled"),
    FIELD(td_row_transfer, payload, U32, "", "0 KV, 1 live values between slices"),
};

static const struct td_field change_fields[] = {
    FIELD(td_row_change, time, I64, "ps", "when"),
    FIELD(td_row_change, device, U32, "", "device"),
    FIELD(td_row_change, change, U32, "",
          "its role from now on: 0 both, 1 prefill, 2 decode; 3 it fails, 4 is repaired"),
};

static const struct td_field orchestrator_fields[] = {
    FIELD(td_row_orchestrator, orchestrator, U32, "", "number of the machine; row i holds machine i"),
    FIELD(td_row_orchestrator, cores, U32, "", "cores that run calls"),
    FIELD(td_row_orchestrator, name, TEXT, "", "machine, as `cpu.0`"),
    FIELD(td_row_orchestrator, pool, TEXT, "", "pool of the config"),
    FIELD(td_row_orchestrator, file, TEXT, "", "device file, empty if none"),
    FIELD(td_row_orchestrator, speed, F64, "", "of a core, over the machine of the workload's tool times"),
    FIELD(td_row_orchestrator, power_busy, F64, "W", "of a core at a call; NaN if not known"),
    FIELD(td_row_orchestrator, power_idle, F64, "W", "of a core without one; NaN if not known"),
};

static const struct td_field tool_call_fields[] = {
    FIELD(td_row_tool_call, request, U64, "", "request whose answer called the tool, or whose text it is"),
    FIELD(td_row_tool_call, session, U64, "", "its session, from 1; 0 none"),
    FIELD(td_row_tool_call, orchestrator, U32, "", "machine"),
    FIELD(td_row_tool_call, kind, U32, "", "0 tool, 1 tokens of a prompt from text, 2 text of an output's tokens"),
    FIELD(td_row_tool_call, cores, U32, "", "cores it had"),
    FIELD(td_row_tool_call, lost, U32, "", "1: the machine failed, and the call began again"),
    FIELD(td_row_tool_call, enqueued, I64, "ps", "when it was asked for"),
    FIELD(td_row_tool_call, start, I64, "ps", "when it had its cores"),
    FIELD(td_row_tool_call, end, I64, "ps", "when it ended, or was lost"),
    FIELD(td_row_tool_call, energy, F64, "J", "of its cores; NaN if not known"),
};

static const struct td_field pace_fields[] = {
    FIELD(td_row_pace, step, U64, "",
          "number in the run of the first step that lasts so; not the first of its row of `steps`"),
    FIELD(td_row_pace, duration, I64, "ps", "length of that step"),
    FIELD(td_row_pace, slope, I64, "ps", "each further step is longer by this, to the row's end or its next pace"),
};

/* Rows have no padding: what HDF5 stores is the struct itself, so equal runs give equal bytes. */
_Static_assert(sizeof(struct td_row_device) == 160, "padding in td_row_device");
_Static_assert(sizeof(struct td_row_request) == 120, "padding in td_row_request");
_Static_assert(sizeof(struct td_row_step) == 80, "padding in td_row_step");
_Static_assert(sizeof(struct td_row_token) == 64, "padding in td_row_token");
_Static_assert(sizeof(struct td_row_residency) == 40, "padding in td_row_residency");
_Static_assert(sizeof(struct td_row_transfer) == 72, "padding in td_row_transfer");
_Static_assert(sizeof(struct td_row_change) == 16, "padding in td_row_change");
_Static_assert(sizeof(struct td_row_orchestrator) == 144, "padding in td_row_orchestrator");
_Static_assert(sizeof(struct td_row_tool_call) == 64, "padding in td_row_tool_call");
_Static_assert(sizeof(struct td_row_pace) == 24, "padding in td_row_pace");

#define TABLE(name, row, chunk, fields, what) THERE(name, row, chunk, fields, TD_IN_EACH, what)
#define LATER_TABLE(name, row, chunk, fields, what) THERE(name, row, chunk, fields, TD_NOT_IN_OLDER, what)
#define TOOLS_TABLE(name, row, chunk, fields, what) THERE(name, row, chunk, fields, TD_WITH_TOOLS, what)
#define PACES_TABLE(name, row, chunk, fields, what) THERE(name, row, chunk, fields, TD_WITH_PACES, what)
#define THERE(name, row, chunk, fields, presence, what)                        \
  {                                                                            \
#name, offsetof(struct td_trace, name), sizeof(struct row), chunk, fields, \
        (int32_t)(sizeof fields / sizeof *fields), presence, what              \
  }

const struct td_table_schema td_schema[TD_TABLE_COUNT] = {
    [TD_TABLE_DEVICES] = TABLE(devices, td_row_device, 64, device_fields, "one row per worker"),
    [TD_TABLE_REQUESTS] =
        TABLE(requests, td_row_request, 4096, request_fields, "one row per finished or refused request"),
    [TD_TABLE_STEPS] =
        TABLE(steps, td_row_step, 4096, step_fields, "one row per executed step or run of modelled ones"),
    [TD_TABLE_TOKENS] = TABLE(tokens, td_row_token, 4096, token_fields, "one row per token of an executed step"),
    [TD_TABLE_RESIDENCY] =
        TABLE(residency, td_row_residency, 4096, residency_fields, "which requests took part in which modelled steps"),
    [TD_TABLE_TRANSFERS] = TABLE(transfers, td_row_transfer, 4096, transfer_fields,
                                 "one row per KV transfer: those of one step, or one push where a clock timed it"),
    [TD_TABLE_CHANGES] =
        LATER_TABLE(changes, td_row_change, 64, change_fields, "workers that take another role, fail, are repaired"),
    [TD_TABLE_ORCHESTRATORS] = TOOLS_TABLE(orchestrators, td_row_orchestrator, 64, orchestrator_fields,
                                           "one row per machine that runs calls; only where there are some"),
    [TD_TABLE_TOOL_CALLS] = TOOLS_TABLE(tool_calls, td_row_tool_call, 4096, tool_call_fields,
                                        "one row per call that ended or was lost; only with orchestrators"),
    [TD_TABLE_PACES] =
        PACES_TABLE(paces, td_row_pace, 4096, pace_fields,
                    "where within a row of `steps` they begin to last otherwise; only with pipeline stages"),
};

void **td_schema_rows(const struct td_trace *trace, enum td_table table) {
  return (void **)((uintptr_t)trace + td_schema[table].place);
}

hid_t td_schema_text_type(size_t bytes) {
  hid_t type = H5Tcopy(H5T_C_S1);
  if (type < 0) return type;
  if (H5Tset_size(type, bytes) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
      H5Tset_strpad(type, H5T_STR_NULLPAD) < 0) {
    H5Tclose(type);
    return -1;
  }
  return type;
}

static hid_t file_scalar(enum td_field_type type) {
  switch (type) {
    case TD_FIELD_U32:
      return H5T_STD_U32LE;
    case TD_FIELD_I32:
      return H5T_STD_I32LE;
    case TD_FIELD_U64:
      return H5T_STD_U64LE;
    case TD_FIELD_I64:
      return H5T_STD_I64LE;
    case TD_FIELD_F64:
      return H5T_IEEE_F64LE;
    case TD_FIELD_TEXT:
      break;
  }
  return -1;
}

static hid_t memory_scalar(enum td_field_type type) {
  switch (type) {
    case TD_FIELD_U32:
      return H5T_NATIVE_UINT32;
    case TD_FIELD_I32:
      return H5T_NATIVE_INT32;
    case TD_FIELD_U64:
      return H5T_NATIVE_UINT64;
    case TD_FIELD_I64:
      return H5T_NATIVE_INT64;
    case TD_FIELD_F64:
      return H5T_NATIVE_DOUBLE;
    case TD_FIELD_TEXT:
      break;
  }
  return -1;
}

const char *td_schema_name_in(const struct td_field *field, hid_t file) {
  bool older = file >= 0 && field->before && H5Tget_member_index(file, field->name) < 0 &&
               H5Tget_member_index(file, field->before) >= 0;
  return older ? field->before : field->name;
}

static hid_t row_type(const struct td_table_schema *table, hid_t (*scalar)(enum td_field_type), hid_t file) {
  hid_t type = H5Tcreate(H5T_COMPOUND, table->row_bytes);
  for (int32_t i = 0; i < table->field_count && type >= 0; i++) {
    const struct td_field *field = &table->fields[i];
    if (file >= 0 && field->later && H5Tget_member_index(file, field->name) < 0) continue;
    hid_t text = field->type == TD_FIELD_TEXT ? td_schema_text_type(field->bytes) : -1;
    herr_t done =
        H5Tinsert(type, td_schema_name_in(field, file), field->offset, text >= 0 ? text : scalar(field->type));
    if (text >= 0) H5Tclose(text);
    if (done < 0) {
      H5Tclose(type);
      return -1;
    }
  }
  return type;
}

hid_t td_schema_file_type(const struct td_table_schema *table) {
  return row_type(table, file_scalar, -1);
}
hid_t td_schema_memory_type(const struct td_table_schema *table, hid_t file) {
  return row_type(table, memory_scalar, file);
}

void td_schema_type_name(const struct td_field *field, char *out, size_t size) {
  static const char *const names[] = {"uint32", "int32", "uint64", "int64", "float64"};
  if (field->type == TD_FIELD_TEXT) {
    snprintf(out, size, "text[%zu]", field->bytes);
  } else {
    snprintf(out, size, "%s", names[field->type]);
  }
}

void td_schema_markdown(FILE *out) {
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    const struct td_table_schema *table = &td_schema[t];
    fprintf(out, "### `%s`: %s\n\n| field | type | unit | meaning |\n| --- | --- | --- | --- |\n", table->name,
            table->what);
    for (int32_t i = 0; i < table->field_count; i++) {
      const struct td_field *field = &table->fields[i];
      char type[32];
      td_schema_type_name(field, type, sizeof type);
      fprintf(out, "| `%s` | %s | %s | %s |\n", field->name, type, field->unit, field->what);
    }
    fprintf(out, "\n");
  }
}
