# SPDX-License-Identifier: Apache-2.0
"""Runs README.md's own Python on traces and compares it with `tandem show --json`, digit by digit.

usage: readme.py README.md TANDEM HELPER
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy
except (ImportError, ValueError) as reason:
    print(f"SKIPPED: {reason}")
    sys.exit(77)

readme, tandem, helper = sys.argv[1:4]  # more arguments: more traces
NAMES = ("ttft", "e2e", "tpot", "user_rate", "queueing", "itl")
KEYS = ("mean", "min", "p50", "p90", "p95", "p99", "max")
blocks = re.findall(r"```python\n(.*?)```", open(readme, encoding="utf-8").read(), re.S)
assert len(blocks) == 2, f"README.md: found {len(blocks)} Python blocks, expected 2"


def compare(path):
    code = "\n".join(blocks)
    python = [sys.executable, "-s"] if sys.flags.no_user_site else [sys.executable]
    printed = subprocess.run([*python, "-c", code, path], check=True, capture_output=True, text=True).stdout
    shown = json.loads(subprocess.run([tandem, "show", "--json", path], check=True, capture_output=True, text=True).stdout)
    lines = [line.split() for line in printed.splitlines()]
    assert [line[0] for line in lines] == [name for name in NAMES if shown[name]["count"]], printed
    for name, *values in lines:
        expected = [f"{shown[name][key]:.17g}" for key in KEYS]
        assert values == expected, f"{path}: {name}: README {values}, show {expected}"
    return shown


with tempfile.TemporaryDirectory() as folder:
    for kind in ("executed", "modelled", "mixed", "modelled_paces"):
        path = f"{folder}/{kind}.h5"
        subprocess.run([helper, kind, path], check=True)
        shown = compare(path)
        with h5py.File(path) as f:
            assert len(f["requests"]) == shown["requests"] == 37
            assert bool(len(f["tokens"])) == (not kind.startswith("modelled"))
            assert (f["steps"]["count"].max() > 1) == (kind != "executed")
            units = dict(zip(f["steps"].dtype.names, f["steps"].attrs["units"]))
            assert units["duration"] == b"ps" and units["energy"] == b"J" and units["step"] == b""
            assert ("paces" in f) == (kind == "modelled_paces")
            assert f["run"].attrs["schema"] == (2 if "paces" in f else 1) and f["run"].attrs["pace"].decode() == "priced"
    for kind in ("executed_one", "modelled_one", "mixed_one"):  # one output token each
        path = f"{folder}/{kind}.h5"
        subprocess.run([helper, kind, path], check=True)
        shown = compare(path)
        assert shown["ttft"]["count"] == shown["output_tokens"] == 37
        for name in ("tpot", "itl", "user_rate"):
            assert shown[name] == {"count": 0, **dict.fromkeys(KEYS)}, shown[name]
    for kind in ("fleet", "fleet_disaggregated"):  # more gaps than any numpy adds at once
        path = f"{folder}/{kind}.h5"
        subprocess.run([helper, kind, path], check=True)
        assert compare(path)["itl"]["count"] > 150000
    # A trace and the program that wrote it say the same about the program.
    config = pathlib.Path(readme).parents[1] / "tests" / "student" / "policy.cfg"
    path = f"{folder}/run.h5"
    sets = ("--set", "engine.policy=colocated", "--set", "cluster.pools.[0].device=h100_sxm")
    command = [tandem, "run", str(config), *sets, "-o", path]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    version = subprocess.run([tandem, "--version"], check=True, capture_output=True, text=True).stdout
    with h5py.File(path) as f:
        run = {name: f["run"].attrs[name].decode() for name in ("tandem_version", "git_revision", "hdf5_version")}
    assert f"tandem {run['tandem_version']} (git {run['git_revision']})\n" in version, (run, version)
    assert f"\nHDF5: {run['hdf5_version']}" in version and "\nlibconfig: 1." in version, (run, version)
    for path in sys.argv[4:]:
        compare(path)
print("README.md's snippets and show agree; numpy", numpy.__version__, "h5py", h5py.__version__)
