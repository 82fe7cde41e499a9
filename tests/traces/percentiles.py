# SPDX-License-Identifier: Apache-2.0
"""td_summarize against numpy, bit for bit. usage: percentiles.py HELPER"""
import subprocess
import sys

try:
    import numpy as np
except (ImportError, ValueError) as reason:
    print(f"SKIPPED: {reason}")
    sys.exit(77)

COUNTS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 100, 127, 128, 129, 136, 137, 255, 256, 257, 1000, 1023, 4097, 20011)
for seed in (1, 2, 3):
    command = [sys.argv[1], "summarize", str(seed), *map(str, COUNTS)]
    numbers = [float(line) for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()]
    for count in COUNTS:
        values, found, numbers = np.array(numbers[:count]), numbers[count : count + 7], numbers[count + 7 :]
        expected = [np.mean(values), values.min(), *np.percentile(values, [50, 90, 95, 99]), values.max()]
        assert found == [float(x) for x in expected], f"n {count} seed {seed}: found {found}, numpy {expected}"
    assert not numbers
print("equal to numpy", np.__version__)
