# SPDX-License-Identifier: Apache-2.0
"""td_summarize against numpy, bit for bit. usage: percentiles.py HELPER"""
import subprocess
import sys

try:
    import numpy as np
except ImportError as reason:
    print(f"SKIPPED: {reason}")
    sys.exit(77)

for count in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 100, 127, 128, 129, 136, 137, 255, 256, 257, 1000, 1023, 4097, 20011):
    for seed in (1, 2, 3):
        out = subprocess.run([sys.argv[1], "summarize", str(count), str(seed)], check=True, capture_output=True, text=True)
        numbers = [float(line) for line in out.stdout.split()]
        values, found = np.array(numbers[:count]), numbers[count:]
        expected = [np.mean(values), values.min(), *np.percentile(values, [50, 90, 95, 99]), values.max()]
        assert found == [float(x) for x in expected], f"n {count} seed {seed}: found {found}, numpy {expected}"
print("equal to numpy", np.__version__)
