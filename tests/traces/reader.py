# SPDX-License-Identifier: Apache-2.0
"""The Python package against `tandem show --json` and by hand. usage: reader.py PACKAGE_FOLDER TANDEM HELPER"""
import io
import json
import subprocess
import sys
import tempfile

try:
    import h5py
    import numpy as np
except (ImportError, ValueError) as reason:
    print(f"SKIPPED: {reason}")
    sys.exit(77)

package, tandem, helper = sys.argv[1:]
sys.dont_write_bytecode = True
sys.path.insert(0, package)
import tandem_trace  # noqa: E402  (found through the path above)

with tempfile.TemporaryDirectory() as folder:
    for kind in ("executed", "modelled", "mixed", "executed_one", "modelled_one", "modelled_tools", "modelled_paces", "fleet", "fleet_disaggregated"):
        path = f"{folder}/{kind}.h5"
        subprocess.run([helper, kind, path], check=True)
        shown = json.loads(subprocess.run([tandem, "show", "--json", path], check=True, capture_output=True).stdout)
        trace = tandem_trace.load(path)
        for name, summary in trace.metrics().items():
            assert summary == shown[name], f"{kind} {name}: {summary} {shown[name]}"
        assert trace.complete and trace.run["policy"] == ("fleet" if kind.startswith("fleet") else "disaggregated")
        assert len(trace.tokens) == trace.requests["output_tokens"].sum() == shown["output_tokens"]
        assert (trace.steps["count"] == 1).all() and len(trace.steps) == trace.raw["steps"]["count"].sum()
        for rows in (7, 1000, 1 << 20):
            if rows * 5000 < len(trace.tokens):
                continue
            parts = list(trace.iter_tokens(rows))
            assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1) and len(parts[-1]) <= rows
            assert np.concatenate(parts).tobytes() == trace.tokens.tobytes()
        assert np.concatenate([trace.request_tokens(i) for i in range(37)]).tobytes() == trace.tokens[trace.tokens["request"] < 37].tobytes()
        assert len(trace.request_tokens(1 << 40)) == 0
        # rows in another order, devices whose last 16 bits are alike
        turned = {name: trace.raw[name][::-1].copy() for name in ("tokens", "steps", "residency")}
        for rows in turned.values():
            rows["device"] <<= 16
        tokens = tandem_trace.expand_tokens(**turned)
        tokens["device"] >>= 16
        assert tokens.tobytes() == trace.tokens.tobytes()
        if not kind.startswith("fleet"):
            tokens = subprocess.run([tandem, "export", path, "--to", "csv"], check=True, capture_output=True, text=True).stdout
            types = [(name, trace.tokens.dtype[name]) for name in tokens.partition("\n")[0].split(",")]
            csv = np.genfromtxt(io.StringIO(tokens), delimiter=",", skip_header=1, dtype=types, filling_values=np.nan)
            assert len(csv) == len(trace.tokens)
            for name in csv.dtype.names:
                same = np.array_equal(csv[name], trace.tokens[name], equal_nan=name in ("logprob", "gap"))
                assert same, f"{kind}: {name}"
        decode = trace.steps[trace.steps["device"] == 1]
        assert bool(len(decode)) != kind.endswith("_one")
        assert (decode["index"] == np.arange(len(decode))).all()
        assert (decode["start"][1:] >= (decode["start"] + decode["duration"])[:-1]).all()
        energy = [device["energy_j"] for device in shown["devices"]]
        for device in (0, 1):
            joules = trace.steps["energy"][trace.steps["device"] == device]
            total = joules.sum() if len(joules) else np.nan
            assert np.isnan(total) if energy[device] is None else np.isclose(total, energy[device], rtol=1e-12)
        assert len(trace.orchestrators) == len(shown.get("orchestrators", [])) == (2 if kind.endswith("_tools") else 0)
        for index, machine in enumerate(shown.get("orchestrators", [])):
            calls = trace.tool_calls[trace.tool_calls["orchestrator"] == index]
            busy = ((calls["end"] - calls["start"]) / 1e12 * calls["cores"]).sum()
            assert machine["calls"] == (calls["lost"] == 0).sum() > 0 and machine["lost"] == calls["lost"].sum() > 0
            assert machine["name"] == trace.orchestrators["name"][index].decode() == f"cpu.{index}"
            assert np.isclose(machine["busy_core_s"], busy) and np.isclose(machine["energy_j"], calls["energy"].sum())
            assert np.isclose(machine["utilisation"], busy / (2 + index) / shown["makespan_s"])
        if kind == "executed":
            assert trace.text(3).startswith(" w") and (trace.request_tokens(3)["id"] >= 0).all()
    # an older trace, whose `interval` is called `reserved`
    with open(f"{folder}/modelled.h5", "rb") as f:
        data = f.read()
    assert data.count(b"interval\0") == 1
    with open(f"{folder}/older.h5", "wb") as f:
        f.write(data.replace(b"interval\0", b"reserved\0"))
    shown = json.loads(subprocess.run([tandem, "show", "--json", f"{folder}/older.h5"], check=True, capture_output=True).stdout)
    older = tandem_trace.load(f"{folder}/older.h5")
    assert all(summary == shown[name] for name, summary in older.metrics().items())
    assert older.raw["steps"].dtype.names == tandem_trace.load(f"{folder}/modelled.h5").raw["steps"].dtype.names
    # an older trace, whose requests lack their last two fields, and which has no changes
    assert len(older.changes) == 0 and older.changes.dtype.names == ("time", "device", "change")
    with h5py.File(f"{folder}/before.h5", "w") as new, h5py.File(f"{folder}/modelled.h5") as old:
        for name in old:
            if name not in ("requests", "changes"):
                old.copy(name, new)
        fields = [name for name in old["requests"].dtype.names if name not in ("cached_tokens", "interruptions")]
        rows = np.empty(len(old["requests"]), [(name, old["requests"].dtype[name]) for name in fields])
        for name in fields:
            rows[name] = old["requests"][name]
        new["requests"] = rows
    before, after = (tandem_trace.load(f"{folder}/{name}.h5") for name in ("before", "modelled"))
    assert before.requests.dtype.names == after.requests.dtype.names and before.metrics() == after.metrics()
    assert (before.requests["cached_tokens"] == 0).all() and len(before.changes) == 0
    shown = [subprocess.run([tandem, "show", "--json", f"{folder}/{name}.h5"], check=True, capture_output=True).stdout
             for name in ("before", "modelled")]
    assert shown[0] == shown[1]
    # paces: of a run that was killed before any row of steps was written; that contradict the rows
    with h5py.File(f"{folder}/modelled_paces.h5") as f:
        steps, paces = f["steps"][:], f["paces"][:]
    assert len(tandem_trace.with_paces(steps[:0], paces)) == 0
    killed = tandem_trace.with_paces(steps[:1], paces)
    assert len(killed) == 1 + (paces["step"] < steps["step"][0] + steps["count"][0]).sum() and killed["count"].sum() == steps["count"][0]
    for wrong in (steps["step"][2], paces["step"][1]):  # the first step of a row, that of another pace
        twice = paces.copy()
        twice["step"][0] = wrong
        try:
            tandem_trace.with_paces(steps, twice)
        except tandem_trace.SchemaError as error:
            assert "paces" in str(error)
        else:
            raise AssertionError("paces that contradict rows of steps were taken")
    # rows that are damaged: refused before memory is taken for them, as the C reader refuses them
    for table, fields, text in (
        ("steps", {"count": 0}, "count: found 0, expected 1 .. 2147483647"),
        ("steps", {"count": 1 << 31}, "count: found 2147483648, expected 1 .. 2147483647"),
        ("steps", {"count": (1 << 31) - 1, "duration": 1, "slope": 0}, "steps: found 2147"),
        ("steps", {"duration": (1 << 63) - 1, "count": 2}, "duration: found 9223372036854775807, expected an end below 2^63 ps"),
        ("steps", {"slope": -(1 << 60), "count": 2}, "slope: found -1152921504606846976, expected one that leaves"),
        ("steps", {"index": 1 << 50}, "index: found 1125899906842624, expected a number below 2^40"),
        ("steps", {"index": 0}, "in two rows"),
        ("residency", {"count": 1 << 40}, "count: found 1099511627776, expected 1 .. 2147483647"),
        ("residency", {"first_token": 7, "count": 1}, "where token 0 should be"),
        ("residency", {"device": 9}, "device: found 9, expected a number below 2"),
        ("residency", {"request": 1 << 60}, "request: found 1152921504606846976, expected a number below 37"),
        ("requests", {"request": 1}, "request: found 1, expected each number once"),
        ("requests", {"output_tokens": 1 << 31}, "output_tokens: found 2147483648, expected as many as"),
    ):
        path = f"{folder}/damaged.h5"
        with open(path, "wb") as f:
            f.write(data)
        with h5py.File(path, "r+") as f:
            at = {"steps": np.lexsort((f["steps"]["index"], f["steps"]["device"]))[-1], "residency": f["residency"]["tokens_per_step"].argmax(), "requests": 0}
            rows = f[table][:]
            for field, value in fields.items():
                rows[field][at[table]] = value
            f[table][:] = rows
        try:
            raise AssertionError(f"{table} {fields}: {len(tandem_trace.load(path).tokens)} tokens")
        except tandem_trace.SchemaError as error:
            assert text in str(error), f"{table} {fields}: {error}"
    with h5py.File(path, "r+") as f:
        f["run"].attrs["schema"] = np.uint64(2)
    try:
        raise AssertionError(f"schema 2 without paces: {tandem_trace.load(path)}")
    except tandem_trace.SchemaError as error:
        assert "no data set paces" in str(error)
    with h5py.File(f"{folder}/other.h5", "w") as f:
        f.create_group("run")
    try:
        tandem_trace.load(f"{folder}/other.h5")
    except tandem_trace.SchemaError as error:
        assert "schema 1" in str(error)
    else:
        raise AssertionError("a file without schema was loaded")
print("the package and show agree")
