/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: what an operator's model is made of.
 */
#ifndef TANDEM_COST_OP_MODEL_H
#define TANDEM_COST_OP_MODEL_H

#include "tandem/config.h"
#include "tandem/operators.h"

/* Positions that attention has a basis for. */
#define TD_CONTEXT_MOST (1 << 30)

/* What the models take from a datasheet and a path. */
struct td_op_chip {
  double units;     /* multiprocessors */
  double peak;      /* FLOP/s of the path's products */
  double bandwidth; /* B/s */
  double cache;     /* bytes of the last cache */
  double bytes;     /* of an element of weights and activations */
  double kv_bytes;  /* of an element of the cache */
  bool cold;        /* a model's layers, not a benchmark's: weights are never in the cache from the call before */
  double start;     /* seconds that a product's start lasts at most; 0: as long as it takes by itself */
  bool reduces;     /* collective: all_reduce, which moves everything twice */
};

/* A named parameter: fitted in its logarithm, between low and high, starting from the guess, which is what a device
 * without a fit is priced with. */
struct td_op_parameter {
  const char *name, *unit;
  double guess, low, high;
  const char *help;
};

/* A field of the shape: its name, and how many octaves of it (`linear`: how much of it) are as far as one octave of m,
 * which among residuals a model with `local` says there. */
struct td_op_field {
  const char *name;
  double octaves;
  bool linear;
  bool may_lack; /* 0: the shape has none */
  int64_t most;
};

struct td_op_model {
  const char *name;
  const struct td_op_parameter *parameters;
  int32_t parameter_count;
  const struct td_op_field *fields;
  int32_t field_count;
  int32_t family_fields; /* so many leading fields are held back together; 0: single rows */
  /* Rows that differ in this field only are held back together, single ones too. 0: none. */
  int32_t drawn_field;
  /* log(measured / modelled) from which a row is of another kernel than the model is about: such rows tell nothing of
   * other groups (shapes that differ in more than the last field), and pull the fit no further. 0: there are none, and
   * groups are nothing by themselves. */
  double other_kernel;
  int64_t class_bounds[2]; /* of the last field: small up to the first, medium up to the second */
  const char *class_names[TD_OP_CLASSES];
  /* Why the model has no basis for a shape; NULL: it has. All fields are in their ranges. */
  const char *(*refuses)(const int64_t *v);
  double (*seconds)(const struct td_op_chip *chip, const double *parameters, const int64_t *v);
  /* The same as if nothing came in whole tiles and waves: how far the two are apart says which shapes are alike in what
   * tiles do to them, which their sizes alone do not. NULL: the model has no tiles. */
  double (*plain)(const struct td_op_chip *chip, const double *parameters, const int64_t *v);
  /* Where a shape lies among residuals, a coordinate for each field; the last is that of the last field. NULL: octaves
   * of the fields, each by its scale. */
  void (*local)(const int64_t *v, double *out);
  /* FLOPs and bytes that a shape is about, without what tiles add, for its energy. NULL: neither is known. */
  void (*work)(const struct td_op_chip *chip, const int64_t *v, double *out_flops, double *out_bytes);
};
extern const struct td_op_model td_op_gemm, td_op_attention_context, td_op_attention_generation, td_op_moe,
    td_op_collective, td_op_e2e;
enum { TD_E2E_SCALE, TD_E2E_SMALL, TD_E2E_LAUNCH, TD_E2E_STEP, TD_E2E_SEQUENCE, TD_E2E_PARAMETERS };
/* In the parameter's unit; fit NULL: the guess. */
double td_e2e_parameter(const struct td_op_fit *fit, int32_t parameter);
const struct td_op_model *td_op_model(enum td_operator op);

/* (a^p + b^p)^(1/p): near the larger of the two, and smooth where they meet. Of three: the same as of two of them and
 * the third. */
double td_op_smooth_max(double a, double b, double sharpness);
double td_op_smooth_max_of_three(double a, double b, double c, double sharpness);

td_status td_op_chip_of(const struct td_device_params *device, enum td_operator op, const char *path,
                        struct td_op_chip *out_chip);
/* Whether td_op_shape_check has nothing to say. */
bool td_op_shape_is(enum td_operator op, const struct td_op_shape *shape);
td_status td_op_shape_check(enum td_operator op, const struct td_op_shape *shape);
int32_t td_op_class_of(const struct td_op_model *model, const struct td_op_shape *shape);

/* Allocates fit->places; freed with the fit. */
td_status td_op_residual_prepare(const struct td_op_chip *chip, struct td_op_fit *fit);
/* The residual at a shape that the model alone gives `seconds`: log(measured / modelled), by simple kriging over the
 * nearest points; 0 far from all. */
double td_op_residual_at(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape,
                         double seconds);

/* Octaves beyond one to the nearest residual, whatever the last field: kernels there may be others than any that was
 * measured. 0 where the model has no `local`, or the fit no residuals. */
double td_op_residual_gap(const struct td_op_fit *fit, const struct td_op_shape *shape);

/* A fit with the thousand residuals nearest to a family (its last field is >= 1), for many prices of it; freed with
 * td_op_fit_free. */
td_status td_op_residual_family(const struct td_op_chip *chip, const struct td_op_fit *fit,
                                const struct td_op_shape *family, struct td_op_fit *out_near);

/* Model and residual together, seconds. */
double td_op_seconds(const struct td_op_chip *chip, const struct td_op_fit *fit, const struct td_op_shape *shape);

/* The fit of a device that has none: the guesses. What they are worth: the parameters of one generation of devices miss
 * the next one's by up to a third on average (docs/calibration.md). */
#define TD_GUESS_LOW 0.5
#define TD_GUESS_HIGH 2.0
void td_op_guesses(enum td_operator op, struct td_op_fit *out_fit);
/* What a path is priced with: its own fit; else the parameters of one of akin element types; else the guesses. */
struct td_op_basis {
  const struct td_op_fit *fit; /* the device's, or `own`: not to be copied */
  struct td_op_fit own;        /* borrows the device's residuals */
  bool guessed;
  double wider; /* than the fit's error: intervals, on both sides */
  double gap;   /* td_op_residual_gap of the shape */
  const char *note;
};
void td_op_basis_of(const struct td_device_params *device, enum td_operator op, const char *path,
                    struct td_op_basis *out_basis);
/* Sets low, high and note from seconds, of which exp(residual) is the residuals'. */
void td_op_interval(const struct td_op_basis *basis, const struct td_op_shape *shape, double residual,
                    struct td_op_price *price);

/* The option table of a device file's `fits`, and its reading: see op_file.c. */
struct td_op_fits {
  struct td_op_fit *fits;
  int32_t count;
};
extern const struct td_option_group td_op_fit_group;
td_status td_op_fits_take(const struct td_config *config, const struct td_list *list,
                          const struct td_device_params *device, struct td_op_fits *out_fits);
void td_op_fits_free(struct td_op_fits *fits);

#endif
