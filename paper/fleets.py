# SPDX-License-Identifier: Apache-2.0
"""Fleets: runs of modelled instances over rates of requests, with the CPU time that they take, and their curves as SVG."""
import csv
import json
import os
import subprocess

RATES, SECONDS = range(50, 701, 50), 100  # requests a second, and for how long they come
GOOD = 99  # % of requests within both bounds that count as served well
SET_UPS = (("40 colocated", "rate-40", (), "#4c72b0"), ("20 prefill + 20 decode", "rate-split", (20, 20), "#c44e52"),
           ("24 prefill + 16 decode", "rate-split", (24, 16), "#55a868"))
COLUMNS = ("set_up", "rate", "requests", "cpu_s", "ttft_p50_ms", "ttft_p99_ms", "tpot_p99_ms", "within_slo")


def run(command):
    """What a program printed, and its user and system CPU time, start included."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"fleets: {' '.join(map(str, command))}: exit {process.returncode}")
    return printed, usage.ru_utime + usage.ru_stime


def point(tandem, folder, set_up, rate):
    name, config, counts, _ = set_up
    sets = [f"workload.source.rate={rate}.0", f"workload.source.requests={rate * SECONDS}"]
    sets += [f"cluster.pools.[{i}].count={count}" for i, count in enumerate(counts)]
    printed, cpu = run([tandem, "run", folder / f"{config}.cfg", "--no-trace", "--json", *(w for s in sets for w in ("--set", s))])
    said = json.loads(printed)
    return {"set_up": name, "rate": rate, "requests": said["requests"], "cpu_s": cpu, "ttft_p50_ms": 1e3 * said["ttft"]["p50"],
            "ttft_p99_ms": 1e3 * said["ttft"]["p99"], "tpot_p99_ms": 1e3 * said["tpot"]["p99"],
            "within_slo": 100 * said["within_slo"] / said["requests"]}


def measure(tandem, folder, path):
    """All points, kept as CSV beside the paper."""
    points = [point(tandem, folder, set_up, rate) for set_up in SET_UPS for rate in RATES]
    with open(path, "w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        out.writeheader()
        out.writerows(points)
    return points


# ---- the figure ----

WIDTH, HEIGHT, TOP, BOTTOM, PANEL = 1080, 330, 44, 72, 270
PANELS = ((70, "ttft_p99_ms", "TTFT, 99 % below, ms", 2000, 500), (430, "tpot_p99_ms", "TPOT, 99 % below, ms", 80, 20),
          (790, "within_slo", "requests within both bounds, %", 100, 25))


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{words}</text>'


def stroke(x1, y1, x2, y2, colour, more=""):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'


def curve(points, colour, x, y, top):
    """Up to the panel's upper edge; a curve that leaves it is cut there, where the line between two points crosses."""
    at = []
    for rate, value in points:
        if value > top:
            if at:
                before, low = points[len(at) - 1]
                at.append((before + (rate - before) * (top - low) / (value - low), top))
            break
        at.append((rate, value))
    path = " ".join(f"{x(rate):.1f},{y(value):.1f}" for rate, value in at)
    out = [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>']
    return out + [f'<circle cx="{x(rate):.1f}" cy="{y(value):.1f}" r="3" fill="{colour}"/>' for rate, value in at if value < top or top == 100]


def panel(points, spec, bound):
    left, key, title, top, step = spec
    low, high = HEIGHT - BOTTOM, TOP

    def x(rate):
        return left + PANEL * rate / RATES[-1]

    def y(value):
        return low - (low - high) * value / top

    out = [text(left + PANEL / 2, TOP - 16, title)]
    for tick in range(0, top + 1, step):
        out += [stroke(left, y(tick), left + PANEL, y(tick), "#ddd"), text(left - 6, y(tick) + 4, f"{tick:,}", "end")]
    out += [text(x(rate), low + 20, rate) for rate in range(0, RATES[-1] + 1, 100)]
    if bound:
        out.append(stroke(left, y(bound), left + PANEL, y(bound), "#555", ' stroke-dasharray="5 4"'))
    for name, _, _, colour in SET_UPS:
        out += curve([(p["rate"], p[key]) for p in points if p["set_up"] == name], colour, x, y, top)
    return out


def draw(points, slo, path):
    """slo: bounds of TTFT and TPOT in ms, as broken lines."""
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for spec, bound in zip(PANELS, (*slo, None), strict=True):
        out += panel(points, spec, bound)
    for place, (name, _, _, colour) in enumerate(SET_UPS):
        left = 70 + 220 * place
        out += [f'<rect x="{left}" y="{HEIGHT - 24}" width="12" height="12" fill="{colour}"/>',
                text(left + 18, HEIGHT - 13, name, "start")]
    out.append(text(WIDTH - 20, HEIGHT - 13, "requests a second, on 40 instances of 8 H100", "end"))
    path.write_text("\n".join([*out, "</svg>"]) + "\n", encoding="utf-8")
