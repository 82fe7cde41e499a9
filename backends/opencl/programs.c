/* SPDX-License-Identifier: Apache-2.0
 *
 * Building programs: the embedded sources put together, or the compiled form from the cache.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache.h"
#include "device.h"
#include "opencl_sources.h"
#include "quiet.h"
#include "tandem/base.h"

#define LOG_LINES 3

static const struct {
  const char *name;
  enum opencl_topic topic;
} kernels[OPENCL_KERNEL_COUNT] = {
    [OPENCL_ADD] = {"add", OPENCL_POINTWISE},
    [OPENCL_BIAS] = {"bias", OPENCL_POINTWISE},
    [OPENCL_ACTIVATE] = {"activate", OPENCL_POINTWISE},
    [OPENCL_SELECT] = {"select_rows", OPENCL_POINTWISE},
    [OPENCL_RMS_NORM] = {"rms_norm", OPENCL_POINTWISE},
    [OPENCL_ROPE] = {"rope", OPENCL_POINTWISE},
    [OPENCL_ROUTE] = {"route", OPENCL_POINTWISE},
    [OPENCL_ORDER_PAIRS] = {"order_pairs", OPENCL_POINTWISE},
    [OPENCL_EXPERT_SUM] = {"expert_sum", OPENCL_POINTWISE},
    [OPENCL_APPEND] = {"append", OPENCL_CACHE},
    [OPENCL_ATTENTION] = {"attention", OPENCL_CACHE},
    [OPENCL_EMBED] = {"embed", OPENCL_WEIGHT},
    [OPENCL_MATMUL] = {"matmul", OPENCL_WEIGHT},
    [OPENCL_FEW] = {"few", OPENCL_WEIGHT},
    [OPENCL_LPU_RUN] = {"lpu_run", OPENCL_LPU},
};

const char *opencl_kernel_name(enum opencl_kernel which) {
  return kernels[which].name;
}

/* ---- source ---- */

/* The files of a topic in their order; [form]: 0 GPU, 1 CPU. */
#define MOST_FILES 8
static const char *const files[4][2][MOST_FILES] = {
    [OPENCL_POINTWISE] = {{"portable.h", "positions.h", "form.cl", "pointwise.cl"},
                          {"portable.h", "positions.h", "form.cl", "pointwise.cl"}},
    [OPENCL_CACHE] = {{"portable.h", "positions.h", "form.cl", "cache.cl", "attention_gpu.cl"},
                      {"portable.h", "positions.h", "form.cl", "cache.cl", "attention_cpu.cl"}},
    [OPENCL_WEIGHT] = {{"portable.h", "half.cl", "blocks.h", "positions.h", "form.cl", "weights.cl", "matmul_gpu.cl"},
                       {"portable.h", "half.cl", "blocks.h", "positions.h", "form.cl", "weights.cl", "matmul_cpu.cl"}},
    [OPENCL_LPU] = {{"portable.h", "lpu_math.h", "lpu_code.h", "form.cl", "lpu_vector.cl", "lpu_matrix.cl", "lpu.cl"},
                    {"portable.h", "lpu_math.h", "lpu_code.h", "form.cl", "lpu_vector.cl", "lpu_matrix.cl", "lpu.cl"}},
};

/* Appends a file without the lines by which headers include each other: they are put in front instead. */
static void add_file(struct td_text *source, const struct opencl_sources_file *file) {
  static const char include[] = "#include \"tandem/";
  td_text_printf(source, "#line 1 \"%s\"\n", file->name);
  for (const char *line = file->text, *end; *line; line = end) {
    end = strchr(line, '\n');
    end = end ? end + 1 : line + strlen(line);
    if (strncmp(line, include, sizeof include - 1) == 0) {
      td_text_add(source, "\n", 1);
    } else {
      td_text_add(source, line, (size_t)(end - line));
    }
  }
}

static td_status add_named(struct td_text *source, const char *name) {
  for (int i = 0; i < opencl_sources_COUNT; i++) {
    if (strcmp(opencl_sources_files[i].name, name) != 0) continue;
    add_file(source, &opencl_sources_files[i]);
    return TD_OK;
  }
  return td_fail(TD_INTERNAL, "no kernel source '%s' in this binary", name);
}

static td_status gather(const struct opencl_device *device, enum opencl_topic topic, struct td_text *source) {
  const char *const *names = files[topic][device->cpu_form];
  for (int i = 0; i < MOST_FILES && names[i]; i++) TD_TRY(add_named(source, names[i]));
  return source->failed ? td_fail(TD_NO_MEMORY, "no memory for a kernel's source") : TD_OK;
}

static td_status options_of(const struct opencl_device *device, const struct opencl_program *program, char *out,
                            size_t size) {
  const struct td_dtype_info *info = td_dtype_info((uint32_t)program->dtype);
  char type[16] = "";
  for (size_t i = 0; info->name[i] && i + 1 < sizeof type; i++) type[i] = (char)toupper(info->name[i]);
#define SIZE(name) " -D" #name "=" SIZE_TEXT(OPENCL_##name)
#define SIZE_TEXT(value) SIZE_TEXT_(value)
#define SIZE_TEXT_(value) #value
  static const char sizes[] = SIZE(GROUP) SIZE(SHARE) SIZE(ROWS) SIZE(TOKENS) SIZE(QUERIES) SIZE(SIDE) SIZE(MINE)
      SIZE(FEW_ROWS) SIZE(LPU_GROUP);
  return td_format(out, size,
                   "-cl-std=CL1.2 -DFORM_CPU=%d -DHAS_FMA=%d -DCACHE_HALF=%d -DWEIGHT=%s -DWEIGHT_BLOCK=%d "
                   "-DWEIGHT_IS_F32=%d%s",
                   device->cpu_form, device->fma, program->dtype == TD_F16, type, (int)info->block_elements,
                   program->dtype == TD_F32, sizes);
}

/* ---- building ---- */

/* The log's first lines on one line. */
static void log_of(const struct opencl_device *device, cl_program program, char *out, size_t size) {
  static char empty[] = "no build log";
  size_t bytes = 0, used = 0;
  int lines = 0;
  OPENCL(GetProgramBuildInfo)(program, device->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &bytes);
  char *log = calloc(1, bytes + 1);
  if (log) OPENCL(GetProgramBuildInfo)(program, device->id, CL_PROGRAM_BUILD_LOG, bytes, log, NULL);
  const char *text = log && *log ? log : empty;
  for (; *text && used + 3 < size && lines < LOG_LINES; text++) {
    if (*text != '\n') {
      out[used++] = *text;
    } else if (used > 0 && ++lines < LOG_LINES) {
      out[used++] = ';';
      out[used++] = ' ';
    }
  }
  out[used] = 0;
  free(log);
}

static td_status refuse(const struct opencl_device *device, const struct opencl_program *program, const char *options,
                        cl_int error) {
  char log[512];
  log_of(device, program->program, log, sizeof log);
  return td_fail(TD_UNAVAILABLE, "OpenCL device '%s' (driver %s) does not build tandem's kernels: %s, options %s: %s",
                 device->found->name, device->found->driver, opencl_error(error), options, log);
}

static td_status build_source(struct opencl_device *device, struct opencl_program *program, const char *source,
                              const char *options) {
  cl_int error = CL_SUCCESS;
  program->program = OPENCL(CreateProgramWithSource)(device->context, 1, &source, NULL, &error);
  if (error)
    return td_fail(TD_UNAVAILABLE, "OpenCL device '%s': clCreateProgramWithSource: found %s", device->found->name,
                   opencl_error(error));
  struct opencl_quiet quiet;
  opencl_quiet_begin(&quiet);
  error = OPENCL(BuildProgram)(program->program, 1, &device->id, options, NULL, NULL);
  opencl_quiet_end(&quiet, error == CL_SUCCESS);
  if (!error) return TD_OK;
  td_status status = refuse(device, program, options, error);
  OPENCL(ReleaseProgram)(program->program);
  return status;
}

static bool build_binary(struct opencl_device *device, struct opencl_program *program, const char *key,
                         const char *options) {
  unsigned char *binary;
  size_t bytes;
  cl_int error, status = CL_SUCCESS;
  if (!opencl_cache_load(key, &binary, &bytes)) return false;
  const unsigned char *const_binary = binary;
  program->program =
      OPENCL(CreateProgramWithBinary)(device->context, 1, &device->id, &bytes, &const_binary, &status, &error);
  free(binary);
  if (error) return false;
  if (!status && !OPENCL(BuildProgram)(program->program, 1, &device->id, options, NULL, NULL)) return true;
  OPENCL(ReleaseProgram)(program->program); /* the driver changed without saying so */
  return false;
}

static void keep_binary(const struct opencl_program *program, const char *key) {
  size_t bytes = 0;
  if (OPENCL(GetProgramInfo)(program->program, CL_PROGRAM_BINARY_SIZES, sizeof bytes, &bytes, NULL) || !bytes) return;
  unsigned char *binary = malloc(bytes);
  if (!binary) return;
  if (!OPENCL(GetProgramInfo)(program->program, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL)) {
    opencl_cache_store(key, binary, bytes);
  }
  free(binary);
}

static td_status build(struct opencl_device *device, struct opencl_program *program) {
  const struct opencl_found *found = device->found;
  char options[384], key[1280];
  struct td_text source = {0};
  TD_TRY(options_of(device, program, options, sizeof options));
  td_status status = gather(device, program->topic, &source);
  if (!status) {
    snprintf(key, sizeof key, "%s|%s|%s|%s|%016" PRIx64 "|%zu", options, found->name, found->driver, found->platform,
             td_hash(TD_HASH_INIT, source.data, source.bytes), source.bytes);
    if (!build_binary(device, program, key, options)) {
      status = build_source(device, program, source.data, options);
      if (!status) keep_binary(program, key);
    }
  }
  td_text_free(&source);
  return status;
}

/* ---- finding ---- */

static td_status find_program(struct opencl_device *device, enum opencl_topic topic, enum td_dtype dtype,
                              struct opencl_program **out_program) {
  for (int32_t i = 0; i < device->program_count; i++) {
    *out_program = &device->programs[i];
    if ((*out_program)->topic == topic && (*out_program)->dtype == dtype) return TD_OK;
  }
  if (device->program_count == OPENCL_PROGRAMS) return td_fail(TD_INTERNAL, "more programs than element types");
  struct opencl_program *program = &device->programs[device->program_count];
  *program = (struct opencl_program){.topic = topic, .dtype = dtype};
  TD_TRY(build(device, program));
  device->program_count++;
  *out_program = program;
  return TD_OK;
}

td_status opencl_kernel(struct opencl_device *device, enum opencl_kernel which, enum td_dtype dtype,
                        cl_kernel *out_kernel) {
  enum opencl_topic topic = kernels[which].topic;
  struct opencl_program *program = NULL;
  cl_int error = CL_SUCCESS;
  TD_TRY(find_program(device, topic, topic == OPENCL_POINTWISE || topic == OPENCL_LPU ? TD_F32 : dtype, &program));
  if (!program->kernels[which]) {
    program->kernels[which] = OPENCL(CreateKernel)(program->program, kernels[which].name, &error);
    OPENCL_TRY(device, kernels[which].name, error);
  }
  *out_kernel = program->kernels[which];
  return TD_OK;
}

void opencl_drop_programs(struct opencl_device *device) {
  for (int32_t i = 0; i < device->program_count; i++) {
    struct opencl_program *program = &device->programs[i];
    for (int k = 0; k < OPENCL_KERNEL_COUNT; k++) {
      if (program->kernels[k]) OPENCL(ReleaseKernel)(program->kernels[k]);
    }
    OPENCL(ReleaseProgram)(program->program);
  }
}
