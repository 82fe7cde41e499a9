#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a machine like groq-lpu-v1 could not go below: passes of a BERT, counted by hand, beside no vector work at all.

    experiments/lpu-bert/bounds.py

A tile is plane_k x lanes (int8, 4 planes) or plane_k / 2 x lanes (fp16 activations, 2 pairs of planes), a pass takes one
row of a tile a cycle. Heads of 64 stand 4 to a vector of 320 lanes, as the compiler places them."""

LANES, PLANE_K, CLOCK = 320, 320, 900e6


def up(a, b):
    return -(-a // b)


def layer_passes(hidden, heads, ffn, rows, whole):
    """(of the matrices, of attention), in cycles of all planes."""
    part, planes = (PLANE_K, 4) if whole else (PLANE_K // 2, 2)
    vectors = up(heads, 4)
    tiles = (3 * vectors + up(hidden, LANES)) * up(hidden, part)
    tiles += up(ffn, LANES) * up(hidden, part) + up(hidden, LANES) * up(ffn, part)
    queries = up(rows, LANES)
    scores = heads * queries * rows
    values = heads * queries * 65 * up(rows, PLANE_K // 2)
    turns = heads * queries * 64 + rows * up(hidden, LANES)
    return tiles * rows / planes, (scores + values + turns) / 2


def main():
    print("model       rows  activations  matrices  attention     cycles        us")
    for name, layers, hidden, heads, ffn, lengths in (("BERT-base", 12, 768, 12, 3072, (128, 384)),
                                                      ("BERT-Large", 24, 1024, 16, 4096, (384,))):
        for rows in lengths:
            for whole in (False, True):
                matrices, attention = layer_passes(hidden, heads, ffn, rows, whole)
                cycles = layers * (matrices + attention)
                print(f"{name:11} {rows:4}  {'i8' if whole else 'f16':11}  {layers * matrices:8.0f}  "
                      f"{layers * attention:9.0f}  {cycles:9.0f}  {cycles / CLOCK * 1e6:8.1f}")


if __name__ == "__main__":
    main()
