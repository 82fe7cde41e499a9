#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How fast the Python reader yields token rows: by hand, not a test. CPU time of the process, best of five.

    tests/bench/trace_speed.py FILE.h5...
"""
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "traces" / "python"))
import tandem_trace  # noqa: E402


def read(path):
    start = time.process_time()
    trace = tandem_trace.load(path)
    loaded = time.process_time()
    rows = sum(len(part) for part in trace.iter_tokens())
    end = time.process_time()
    return end - start, end - loaded, rows


if len(sys.argv) < 2:
    sys.stderr.write("usage: tests/bench/trace_speed.py FILE.h5...\n")
    sys.exit(2)
for path in sys.argv[1:]:
    with_load, without, rows = min(read(path) for _ in range(5))
    print(f"{path}: {rows / with_load / 1e6:.1f} million token rows/s, {rows / without / 1e6:.1f} without loading")
