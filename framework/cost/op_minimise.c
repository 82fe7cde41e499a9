/* SPDX-License-Identifier: Apache-2.0
 *
 * A model's parameters from measurements: NLopt's Nelder-Mead in their logarithms, within their bounds. The mean of
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
  (void)gradient;
  for (unsigned i = 0; i < n; i++) {
    double away = x[i] - log(problem->model->parameters[i].guess);
    parameters[i] = exp(x[i]);
    far += away * away;
  }
  for (int64_t i = 0; i < problem->count; i++) {
    sum += fabs(
        log(problem->rows[i]->seconds / problem->model->seconds(problem->chip, parameters, problem->rows[i]->shape.v)));
  }
  double value = (sum + GUESS_ROWS * far) / (double)problem->count;
  return isfinite(value) ? value : HUGE_VAL;
}

static td_status minimise(nlopt_opt search, struct problem *problem, double *x) {
  double low[TD_OP_PARAMS], high[TD_OP_PARAMS], step[TD_OP_PARAMS], least;
  for (int32_t i = 0; i < problem->model->parameter_count; i++) {
    const struct td_op_parameter *parameter = &problem->model->parameters[i];
    low[i] = log(parameter->low);
    high[i] = log(parameter->high);
    x[i] = log(parameter->guess);
    step[i] = 0.25;
  }
  nlopt_set_min_objective(search, objective, problem);
  nlopt_set_lower_bounds(search, low);
  nlopt_set_upper_bounds(search, high);
  nlopt_set_maxeval(search, EVALUATIONS);
  nlopt_set_ftol_rel(search, 1e-6);
  nlopt_set_initial_step(search, step);
  for (int round = 0; round < 2; round++) { /* a second simplex, where the first one stopped */
    nlopt_result result = nlopt_optimize(search, x, &least);
    if (result < 0) return td_fail(TD_INTERNAL, "calibrate: found NLopt's error %d, expected a fit", (int)result);
  }
  return TD_OK;
}

td_status td_op_minimise(const struct td_op_chip *chip, const struct td_op_row *const *rows, int64_t count,
                         struct td_op_fit *fit) {
  double x[TD_OP_PARAMS];
  struct problem problem = {.model = td_op_model(fit->op), .chip = chip, .rows = rows, .count = count};
  nlopt_opt search = nlopt_create(NLOPT_LN_NELDERMEAD, (unsigned)problem.model->parameter_count);
  if (!search) return td_fail(TD_NO_MEMORY, "calibrate: found no memory for a search");
  td_status status = minimise(search, &problem, x);
  nlopt_destroy(search);
  for (int32_t i = 0; i < problem.model->parameter_count && !status; i++) fit->parameters[i] = exp(x[i]);
  return status;
}

#else

td_status td_op_minimise(const struct td_op_chip *chip, const struct td_op_row *const *rows, int64_t count,
                         struct td_op_fit *fit) {
  (void)chip, (void)rows, (void)count, (void)fit;
  return td_fail(TD_UNAVAILABLE, "calibrate: found a tandem built without NLopt, expected one built with libnlopt-dev");
}

#endif
