#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# A line for each BERT against what is published: cycles, time, and with --sensitivity the interval over the declared
# ranges of what nobody published. From the repository's root:
#   experiments/lpu-bert/lines.sh TANDEM [--sensitivity]
set -eu
tandem=$1
"$tandem" --version >/dev/null
here=$(dirname "$0")

line() { # config rows weights activations published_seconds
  printf '%s, %s rows, weights %s, activations %s, published %s s\n' "$1" "$2" "$3" "$4" "$5"
  set -- "$1" "$2" "$3" "$4" ${sensitivity:+"--sensitivity"} ${sensitivity:+"--against"} ${sensitivity:+"$5"}
  config=$1 rows=$2 weights=$3 activations=$4
  shift 4
  "$tandem" lpu compile "$here/$config.cfg" --explain "$@" --set "cluster.pools.[0].lpu.rows=$rows" \
    --set "cluster.pools.[0].lpu.weights=$weights" --set "cluster.pools.[0].lpu.activations=$activations" 2>&1 |
    sed -n "/^tandem:/p;/^length/p;/^layout/p;/^where /,\$p"
  echo
}

sensitivity=
if [ "${2-}" = --sensitivity ]; then sensitivity=yes; fi
for rows in 128 384; do
  line bert-base "$rows" i8 i8 130e-6
  line bert-base "$rows" i8 f16 130e-6
  line bert-base "$rows" f16 f16 130e-6
done
line bert-large 384 i8 i8 1225e-6
line bert-large 384 i8 f16 1225e-6
line bert-large 384 f16 f16 1225e-6
