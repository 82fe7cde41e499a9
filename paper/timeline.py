# SPDX-License-Identifier: Apache-2.0
"""Draws traces as a picture of every token: a lane a request, a mark a token, bars for steps and KV on its way."""
import h5py

WIDTH, LEFT, RIGHT, LANE, HEAD, GAP, FOOT = 900, 96, 16, 15, 20, 14, 34
PREFILL, DECODE, MOVED, WAIT = "#4c72b0", "#c44e52", "#8172b3", "#e4e4e4"


class Run:
    """What of a trace is drawn, in seconds."""

    def __init__(self, path):
        with h5py.File(path) as file:
            self.requests, tokens, steps = file["requests"][:], file["tokens"][:], file["steps"][:]
            self.devices = [row["name"].decode() for row in file["devices"][:]]
            moved = file["transfers"][:]
        self.tokens = [(int(t["request"]), int(t["index"]), t["time"] / 1e12) for t in tokens]
        self.steps = [(int(s["device"]), int(s["kind"]), s["start"] / 1e12, s["duration"] / 1e12) for s in steps]
        self.moved = [(m["start"] / 1e12, m["duration"] / 1e12) for m in moved]
        self.end = max(time for _, _, time in self.tokens)


def text(x, y, words, anchor="end", size=11):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{words}</text>'


def bar(x, y, width, height, colour):
    return f'<rect x="{x:.2f}" y="{y:.1f}" width="{max(width, 0.6):.2f}" height="{height:.1f}" fill="{colour}"/>'


def request_lane(run, number, row, x, y):
    """From arrival to the end in grey; the first token as a longer mark."""
    out = [text(LEFT - 6, y + LANE - 4, row["name"].decode())]
    out.append(bar(x(row["arrival"] / 1e12), y + 5, x(row["finished"] / 1e12) - x(row["arrival"] / 1e12), LANE - 10, WAIT))
    for request, index, time in run.tokens:
        if request == number:
            out.append(bar(x(time) - 0.7, y + (1 if index == 0 else 3), 1.4, LANE - (2 if index == 0 else 6), PREFILL if index == 0 else DECODE))
    return out


def device_lane(run, number, name, x, y):
    out = [text(LEFT - 6, y + LANE - 4, name)]
    for device, kind, start, length in run.steps:
        if device == number:
            out.append(bar(x(start), y + 2, x(start + length) - x(start) - 0.4, LANE - 4, PREFILL if kind == 0 else DECODE))
    return out


def panel(run, title, x, y):
    """The lanes of one trace, and the height that they take."""
    out, top = [text(LEFT, y + 12, title, "start", 12)], y
    y += HEAD
    for number, row in enumerate(run.requests):
        out += request_lane(run, number, row, x, y)
        y += LANE
    for number, name in enumerate(run.devices):
        out += device_lane(run, number, name, x, y)
        y += LANE
    if run.moved:
        out.append(text(LEFT - 6, y + LANE - 4, "KV moved"))
        out += [bar(x(start), y + 2, x(start + length) - x(start), LANE - 4, MOVED) for start, length in run.moved]
        y += LANE
    return out, y - top


def step_of(end):
    """A round distance of ticks, some eight of them."""
    for step in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10):
        if end / step <= 9:
            return step
    return end / 8


def axis(end, x, y):
    out, tick = [], 0.0
    while tick <= end:
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{HEAD}" y2="{y}" stroke="#ddd" stroke-width="0.7"/>')
        out.append(text(x(tick), y + 13, f"{tick:g}", "middle"))
        tick = round(tick + step_of(end), 6)
    return [*out, text(WIDTH - RIGHT, y + 27, "seconds", "end")]


def key(y):
    out, x = [], LEFT
    for colour, words in ((PREFILL, "prefill, first token"), (DECODE, "decode, later tokens"), (MOVED, "KV on its way")):
        out += [bar(x, y - 8, 12, 8, colour), text(x + 17, y, words, "start")]
        x += 150
    return out


def draw(traces, path):
    runs = [(Run(trace), title) for trace, title in traces]
    end = max(run.end for run, _ in runs)

    def x(seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / end

    body, y = [], 0
    for run, title in runs:
        lines, height = panel(run, title, x, y)
        body, y = body + lines, y + height + GAP
    y -= GAP
    head = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + FOOT}" font-family="sans-serif">',
            f'<rect width="{WIDTH}" height="{y + FOOT}" fill="white"/>']
    path.write_text("\n".join([*head, *axis(end, x, y), *body, *key(y + 27), "</svg>"]) + "\n", encoding="utf-8")
