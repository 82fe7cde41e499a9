/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's parameters from measurements: NLopt's simplex methods in their logarithms, within their bounds. The mean of
 * |log(measured / modelled)| does not let a few odd rows decide, as squares would. Deterministic.
 */
#include <math.h>

#include "op_calibrate.h"
#include "tandem/base.h"

#ifdef TANDEM_NLOPT
#include <nlopt.h>

#define EVALUATIONS 4000
/* With few rows the guesses count as much as so many rows for each parameter that is e times off its guess. */
#define GUESS_ROWS 0.5

struct problem {
  const struct td_op_model *model;
  const struct td_op_chip *chip;
  const struct td_op_row *const *rows;
  int64_t count;
};

static double objective(unsigned n, const double *x, double *gradient, void *data) {
  const struct problem *problem = data;
  double parameters[TD_OP_PARAMS] = {0}, sum = 0, far = 0;
  double most = problem->model->other_kernel > 0 ? problem->model->other_kernel : HUGE_VAL;
  (void)gradient;
  for (unsigned i = 0; i < n; i++) {
    double away = x[i] - log(problem->model->parameters[i].guess);
    parameters[i] = exp(x[i]);
    far += away * away;
  }
  for (int64_t i = 0; i < problem->count; i++) {
    double modelled = problem->model->seconds(problem->chip, parameters, problem->rows[i]->shape.v);
    double off = fabs(log(problem->rows[i]->seconds / modelled));
    sum += off < most || isnan(off) ? off : most;
  }
  double value = (sum + GUESS_ROWS * far) / (double)problem->count;
  return isfinite(value) ? value : HUGE_VAL;
}

static td_status search_from(nlopt_algorithm algorithm, struct problem *problem, double *x) {
  double low[TD_OP_PARAMS], high[TD_OP_PARAMS], step[TD_OP_PARAMS], least;
  nlopt_opt search = nlopt_create(algorithm, (unsigned)problem->model->parameter_count);
  if (!search) return td_fail(TD_NO_MEMORY, "calibrate: found no memory for a search");
  for (int32_t i = 0; i < problem->model->parameter_count; i++) {
    low[i] = log(problem->model->parameters[i].low);
    high[i] = log(problem->model->parameters[i].high);
    step[i] = 0.25;
  }
  nlopt_set_min_objective(search, objective, problem);
  nlopt_set_lower_bounds(search, low);
  nlopt_set_upper_bounds(search, high);
  nlopt_set_maxeval(search, EVALUATIONS);
  nlopt_set_ftol_rel(search, 1e-6);
  nlopt_set_initial_step(search, step);
  nlopt_result result = nlopt_optimize(search, x, &least);
  nlopt_destroy(search);
  /* searches that came to where rounding stops them are done as well */
  if (result >= 0 || result == NLOPT_ROUNDOFF_LIMITED) return TD_OK;
  return td_fail(TD_INTERNAL, "calibrate: found NLopt's error %d, expected a fit", (int)result);
}

td_status td_op_minimise(const struct td_op_chip *chip, const struct td_op_row *const *rows, int64_t count,
                         struct td_op_fit *fit) {
  double x[TD_OP_PARAMS];
  struct problem problem = {.model = td_op_model(fit->op), .chip = chip, .rows = rows, .count = count};
  for (int32_t i = 0; i < problem.model->parameter_count; i++) x[i] = log(problem.model->parameters[i].guess);
  TD_TRY(search_from(NLOPT_LN_SBPLX, &problem, x)); /* along a few parameters at a time: gets far */
  TD_TRY(search_from(NLOPT_LN_NELDERMEAD, &problem, x));
  for (int32_t i = 0; i < problem.model->parameter_count; i++) fit->parameters[i] = exp(x[i]);
  return TD_OK;
}

#else

td_status td_op_minimise(const struct td_op_chip *chip, const struct td_op_row *const *rows, int64_t count,
                         struct td_op_fit *fit) {
  (void)chip, (void)rows, (void)count, (void)fit;
  return td_fail(TD_UNAVAILABLE, "calibrate: found a tandem built without NLopt, expected one built with libnlopt-dev");
}

#endif
