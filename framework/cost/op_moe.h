/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: how tokens fall on the experts of a group's busiest device.
 */
#ifndef TANDEM_COST_OP_MOE_H
#define TANDEM_COST_OP_MOE_H

/* Uneven loads are drawn, expert by expert, from a density x^-exponent over `low`..`high`. */
struct td_moe_law {
  double power, low, high;      /* power: 1 - exponent */
  double low_power, high_power; /* of low and high, to that power */
  double count, sum;            /* the density's integral, and that of x times it */
};

/* Expected values. */
struct td_moe_load {
  double here;           /* experts on the device */
  double rows;           /* that come to them */
  double reached;        /* experts that have any */
  double rows_unit;      /* rows of a load of 1 in the law */
  struct td_moe_law law; /* uneven loads only */
  double skew;           /* exponent; 0: as even as can be */
};
void td_moe_load(double tokens, double top_k, double experts, double groups, double skew, struct td_moe_load *out_load);
/* Tiles of so many rows that the experts' rows fill, each expert its own. */
double td_moe_tiles(const struct td_moe_load *load, double tile);

#endif
