# SPDX-License-Identifier: Apache-2.0
"""The recorded table of experiments/bench-engine: the numbers that the text says of it, its rows for LaTeX, its figure."""
import csv
import subprocess

import claims

SET_UPS = ("conv-1", "conv-40", "conv-split")


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def find(rows, part, row):
    return next((r for r in rows if (r["part"], r["row"]) == (part, row)), None)


def recorded(claimed, folder, results):
    """The file that the claims were read from: of a run just made, or the newest committed one."""
    for path in (results / "table.csv", *sorted(folder.glob("20*-*.csv"), reverse=True)):
        rows = rows_of(path) if path.exists() else []
        ours = find(rows, "rates", SET_UPS[0])
        if ours and float(ours["requests_s"]) == float(claimed):
            return path
    raise SystemExit(f"generate: no table in {folder} or {results} has the rate of {SET_UPS[0]} that the claims have, {claimed}")


def peer_of(rows, name):
    """The best rate of the other simulator on a set-up, None if it was not measured there."""
    found = [r for r in rows if (r["part"], r["row"]) == ("peers", name)]
    return max(found, key=lambda r: float(r["requests_s"]), default=None)


def line(rows, row):
    peer = peer_of(rows, row["row"])
    beside = [claims.number(float(peer["requests_s"])), f"{float(row['requests_s']) / float(peer['requests_s']):,.0f}"] if peer else ["", ""]
    cells = [claims.tex(row["set_up"]), claims.number(float(row["requests"])), claims.number(float(row["requests_s"])), row["batch"],
             f"{int(row['steps']) / 1e6:.1f}", row["rss_mb"], *beside]
    return " & ".join(cells) + r" \\"


def thousands(values):
    return f"{min(values) / 1e3:,.0f}", f"{max(values) / 1e3:,.0f}"


def apart(rows):
    """How far the means of two programs are from each other, in per cent: the least and the most."""
    pairs = [(find(rows, "rates", name), peer_of(rows, name)) for name in SET_UPS]
    found = [100 * abs(float(ours[key]) / float(theirs[key]) - 1) for ours, theirs in pairs if ours and theirs for key in ("ttft_ms", "tpot_ms")]
    return min(found), max(found)


def put_peer(values, rows):
    times = [float(find(rows, "rates", name)["requests_s"]) / float(peer["requests_s"]) for name in SET_UPS if (peer := peer_of(rows, name))]
    said = ["not measured beside it"] * 2 + ["--"] * 2
    if times:
        said = [f"{min(times):,.0f}", f"{max(times):,.0f}", *(f"{value:.0f}" for value in apart(rows))]
    for name, text in zip(("times.low", "times.high", "apart.low", "apart.high"), said, strict=True):
        values.put(f"bench.{name}", text)


def put(values, claimed, folder, results, out):
    """claimed: the rate of the first set-up as the table of claims has it."""
    path = recorded(claimed, folder, results)
    rows = rows_of(path)
    subprocess.run([folder / "figure", path, out / "bench-engine.svg"], check=True)
    low, high = thousands([float(find(rows, "rates", name)["requests_s"]) for name in SET_UPS])
    values.put("bench.low", low)
    values.put("bench.high", high)
    put_peer(values, rows)
    scale = [(int(r["replicas"]), 1e6 * float(r["cpu_s"]) / int(r["requests"])) for r in rows if r["part"] == "scale"]
    for name, (replicas, cost) in zip(("first", "last"), (scale[0], scale[-1]), strict=True):
        values.put(f"bench.scale.{name}", cost, "{:.1f}")
        values.put(f"bench.scale.{name}.instances", replicas)
    shown = [r for r in rows if r["part"] in ("rates", "fleet")]
    (out / "rates.tex").write_text("\n".join(line(rows, row) for row in shown) + "\n", encoding="utf-8")
