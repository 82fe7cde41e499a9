# SPDX-License-Identifier: Apache-2.0
"""Reads tandem traces, schema 1 and 2 (traces/README.md): tables as numpy arrays, modelled steps and tokens expanded."""
import functools
import os

import h5py
import numpy as np

from ._check import SchemaError, check_rows, check_steps, check_tokens

__all__ = ["SchemaError", "Trace", "expand_steps", "expand_tokens", "load", "summarize"]

SCHEMAS = (1, 2)  # 2: with the table paces
TABLES = ("devices", "requests", "steps", "tokens", "residency", "transfers")
OPTIONAL = {
    "changes": np.dtype([("time", "i8"), ("device", "u4"), ("change", "u4")]),  # older traces lack them
    # only where the run had orchestrators
    "orchestrators": np.dtype(
        [("orchestrator", "u4"), ("cores", "u4"), ("name", "S32"), ("pool", "S32"), ("file", "S48"), ("speed", "f8"),
         ("power_busy", "f8"), ("power_idle", "f8")]
    ),
    "tool_calls": np.dtype(
        [("request", "u8"), ("session", "u8"), ("orchestrator", "u4"), ("kind", "u4"), ("cores", "u4"), ("lost", "u4"),
         ("enqueued", "i8"), ("start", "i8"), ("end", "i8"), ("energy", "f8")]
    ),
    "paces": np.dtype([("step", "u8"), ("duration", "i8"), ("slope", "i8")]),  # only with pipeline stages
}
LATER = {"requests": ("cached_tokens", "interruptions")}  # what traces of schema 1 did not have at first: 0
OLDER_NAMES = {"steps": {"reserved": "interval"}}  # what traces of schema 1 called fields before
PERCENTILES = {"min": 0, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
TOKEN = np.dtype(
    [("request", "u8"), ("index", "u4"), ("id", "i4"), ("time", "i8"), ("device", "u4"), ("logprob", "f8"), ("gap", "f8")]
)


def _within(counts):
    """0 .. k-1 for every k of counts, in one array."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def expand_steps(steps):
    """One row per step: a row with count k becomes k rows of count 1."""
    count = steps["count"].astype(np.int64)
    i = _within(count)
    out = np.repeat(steps, count)
    out["energy"] *= np.where(out["duration"] > 0, 1 + i * out["slope"] / np.maximum(out["duration"], 1), 1)
    out["start"] += i * out["duration"] + i * (i - 1) // 2 * out["slope"]
    out["duration"] += i * out["slope"]
    out["step"] += i.astype(np.uint64)
    out["index"] += i.astype(np.uint64)
    out["count"], out["slope"] = 1, 0
    return out


def with_paces(steps, paces):
    """Rows of steps as they would be without the table paces: one for each pace."""
    if not len(paces):
        return steps
    ends = steps["step"] + steps["count"]
    paces = paces[paces["step"] < (ends[-1] if len(ends) else 0)]  # of a part file, the last row may be missing
    row = np.searchsorted(steps["step"], paces["step"], "right") - 1
    if (steps["step"][1:] < ends[:-1]).any() or (row < 0).any() or (paces["step"] >= ends[row]).any():
        raise SchemaError("paces: found a step of no row of steps, or these out of order")
    order = np.r_[steps["step"], paces["step"]].argsort(kind="stable")
    rows, new = (np.flatnonzero(which) for which in (order < len(steps), order >= len(steps)))
    row = np.r_[np.arange(len(steps)), row][order]
    out = steps.take(row)
    for name in paces.dtype.names:
        out[name][new] = paces[name][order[new] - len(steps)]
    step, first = out["step"].astype(np.int64), steps["step"].astype(np.int64)[row]
    count = np.minimum(np.r_[step[1:], np.iinfo(np.int64).max], first + steps["count"].astype(np.int64)[row]) - step
    if (count < 1).any():
        raise SchemaError("paces: found one at the first step of a row of steps, or at that of another pace")
    lasts = count * out["duration"] + count * (count - 1) // 2 * out["slope"]
    before = lasts.cumsum() - lasts  # of all rows; may wrap around, and back in the difference
    out["start"] += before - before[rows[row]]
    out["index"] += (step - first).astype(np.uint64)
    out["count"] = count
    return out


def _by_device(steps):
    """Columns of rows of steps by device and index, which `key` is, the device above bit 40. One at a time, as memory
    that is used again costs less than more of it."""
    if len(steps) and (steps["index"] + steps["count"]).max() >= 1 << 40:
        raise SchemaError("steps: found an index of 2^40 or more")
    key = steps["device"].astype(np.int64) << 40 | steps["index"].astype(np.int64)
    order = steps["device"].astype(np.uint16).argsort(kind="stable")  # counted out; mostly that is all
    if (np.diff(key[order]) < 0).any():
        order = key.argsort(kind="stable")
    return key[order], *(steps[name].astype(np.int64)[order] for name in ("count", "start", "duration", "slope"))


def _ends(count, start, duration, slope, rows=1 << 14):
    """When each step of all rows ends; some rows at a time, for the memory between."""
    ends, until = np.empty(count.sum(), np.int64), 0
    for begin in range(0, len(count), rows):
        part = slice(begin, begin + rows)
        row, i = np.repeat(np.arange(begin, begin + len(count[part])), count[part]), _within(count[part])
        ends[until : until + len(i)] = start[row] + (i + 1) * duration[row] + i * (i + 1) // 2 * slope[row]
        until += len(i)
    return ends


class _Stays:
    """Every output token as part of a stay: tokens of one request that follow one another, `n` of them from index
    `first` on, `per` in each step, the steps' ends from `place` on in `end`. Executed tokens are stays of one token.
    Sorted by request and first token, so that expanding them is repeating their columns."""

    def __init__(self, tokens, steps, residency):
        key, count, start, duration, slope = _by_device(steps)
        check_steps(key, count, residency)
        stays = residency.compress(residency["tokens_per_step"] > 0)
        place, known = self._find(key, count, stays)
        executed, per = len(tokens), stays["tokens_per_step"].astype(np.int64)
        columns = {
            "request": (tokens["request"], stays["request"]),
            "first": (tokens["index"], stays["first_token"].astype(np.int64)),
            "device": (tokens["device"], stays["device"]),
            "n": (np.ones(executed, np.int64), known * per),
            "per": (np.ones(executed, np.int64), per),
            "place": (np.arange(executed), executed + place),
        }
        order = np.lexsort([np.concatenate(columns[name]) for name in ("first", "request")])
        for name, parts in columns.items():
            setattr(self, name, np.concatenate(parts)[order])
        self.end, self.executed = np.concatenate([tokens["time"], _ends(count, start, duration, slope)]), tokens
        self.until = self.n.cumsum()  # number of tokens up to the end of each stay

    @staticmethod
    def _find(key, count, stays):
        """Where the steps of each stay begin among all, and how many of them have a row (in a part file the last ones
        may not)."""
        begin = stays["device"].astype(np.int64) << 40 | stays["first_index"].astype(np.int64)
        if not len(key):
            return np.zeros(len(stays), np.int64), np.zeros(len(stays), np.int64)
        # Rows that go on where the one before ends form a run, mostly all those of a device: a stay's steps are in the
        # last run that begins at or before it, up to the run's end.
        rows = np.flatnonzero(np.r_[True, key[1:] != (key + count)[:-1]])
        first, base = key[rows], (count.cumsum() - count)[rows]
        end = (key + count)[np.r_[rows[1:], len(key)] - 1]
        run = (np.searchsorted(first, begin, "right") - 1).clip(0)
        known = np.minimum(stays["count"].astype(np.int64), end[run] - begin).clip(0) * (first[run] <= begin)
        return base[run] + begin - first[run], known

    def __len__(self):
        return int(self.until[-1]) if len(self.until) else 0

    def part(self, begin, end):
        """n, and the columns of the stays' parts that tokens begin .. end - 1 belong to, with first and place of
        their first token; `j` numbers tokens from there on."""
        stays = slice(*(np.searchsorted(self.until, (begin, end - 1), "right") + (0, 1)))
        n, skip = self.n[stays].copy(), begin - (self.until[stays.start] - self.n[stays.start])
        n[-1] -= self.until[stays.stop - 1] - end
        n[0] -= skip
        offset = np.zeros(len(n), np.int64)
        offset[0] = skip
        return stays, n, offset

    def times(self, begin, end):
        """Times of tokens begin .. end - 1."""
        stays, n, offset = self.part(begin, end)
        j = _within(n) + np.repeat(offset, n)
        if (self.per[stays] > 1).any():
            j //= np.repeat(self.per[stays], n)
        return self.end[np.repeat(self.place[stays], n) + j]

    def rows(self, begin, end):
        """Tokens begin .. end - 1 as rows."""
        stays, n, offset = self.part(begin, end)
        out = np.empty(end - begin, TOKEN)
        out["request"], out["device"] = np.repeat(self.request[stays], n), np.repeat(self.device[stays], n)
        out["index"] = np.repeat(self.first[stays] + offset, n) + _within(n)
        out["time"] = self.times(begin, end)
        out["id"], out["logprob"], out["gap"] = -1, np.nan, np.nan
        place = self.place[stays]
        if len(self.executed) and (place < len(self.executed)).any():
            place = np.repeat(place, n)
            here = place < len(self.executed)
            for name in ("id", "logprob", "gap"):
                out[name][here] = self.executed[name][place[here]]
        return out


def expand_tokens(tokens, steps, residency):
    """One row per output token, sorted by request and index; id -1, logprob and gap NaN where it was modelled.

    `steps` may be expanded or not. Tokens whose step has no row yet (in a part file) are left out.
    """
    stays = _Stays(tokens, steps, residency)
    return stays.rows(0, len(stays)) if len(stays) else np.empty(0, TOKEN)


def _sum(values):
    """Pairwise, as numpy 2 adds arrays of any length by itself and older ones up to 8192 values."""
    half = len(values) // 16 * 8
    return values.sum() if len(values) <= 8192 else _sum(values[:half]) + _sum(values[half:])


def summarize(values):
    """count, mean, min, p50, p90, p95, p99, max, as `tandem show` computes them; None where there is nothing."""
    values = np.asarray(values, np.float64)
    if not len(values):
        return {"count": 0, "mean": None, **dict.fromkeys(PERCENTILES)}
    percentiles = np.percentile(values, list(PERCENTILES.values())).tolist()
    return {"count": len(values), "mean": float(_sum(values) / len(values)), **dict(zip(PERCENTILES, percentiles))}


class Trace:
    """A whole trace: `run` (dict), the tables, `tokens` and `steps` expanded when they are asked for, the raw ones in
    `raw`."""

    def __init__(self, run, raw, text):
        self.run, self.raw, self._text = run, raw, text
        self.complete = run["complete"] == 1
        self.devices, self.requests, self.transfers = raw["devices"], raw["requests"], raw["transfers"]
        self.changes = raw["changes"]
        self.orchestrators, self.tool_calls = raw["orchestrators"], raw["tool_calls"]

    @functools.cached_property
    def _stays(self):
        stays = _Stays(self.raw["tokens"], self.raw["steps"], self.raw["residency"])
        if self.complete:
            check_tokens(stays, self.requests)
        return stays

    @functools.cached_property
    def steps(self):
        """One row per step."""
        return expand_steps(self.raw["steps"])

    @functools.cached_property
    def tokens(self):
        """One row per output token, by request and index: 40 bytes each. Of a large trace, use iter_tokens."""
        return self._stays.rows(0, len(self._stays)) if len(self._stays) else np.empty(0, TOKEN)

    def iter_tokens(self, rows=1 << 18):
        """The rows of `tokens`, at most `rows` at a time, in memory that does not grow with them."""
        for begin in range(0, len(self._stays), rows):
            yield self._stays.rows(begin, min(begin + rows, len(self._stays)))

    def request_tokens(self, request):
        """Token rows of one request number."""
        stays = self._stays
        begin, end = (np.searchsorted(stays.request, request, side) for side in ("left", "right"))
        if begin == end or stays.n[begin:end].sum() == 0:
            return np.empty(0, TOKEN)
        return stays.rows(int(stays.until[begin] - stays.n[begin]), int(stays.until[end - 1]))

    def text(self, request):
        """Output text of a request: the bytes of its executed tokens."""
        rows = self.raw["tokens"][self.raw["tokens"]["request"] == request]
        rows = rows[rows["index"].argsort()]
        pieces = (self._text[o : o + n] for o, n in zip(rows["text_offset"].tolist(), rows["text_bytes"].tolist()))
        return b"".join(pieces).decode("utf-8", "replace")

    def _tool_metrics(self):
        """Queueing of calls on orchestrators, where there are some."""
        if not len(self.orchestrators):
            return {}
        calls = self.tool_calls[self.tool_calls["lost"] == 0]
        waits, tool = (calls["start"] - calls["enqueued"]) / 1e12, calls["kind"] == 0
        return {"tool_queueing": summarize(waits[tool]), "host_queueing": summarize(waits[~tool])}

    def metrics(self):
        """Latency summaries in seconds over the finished requests, with the keys of `tandem show --json`.

        Holds some 40 bytes per output token for the percentiles; `tandem show` needs none.
        """
        q, stays = self.requests, self._stays
        time = stays.times(0, len(stays)) if len(stays) else np.empty(0, np.int64)
        until = np.r_[0, stays.until]
        begin, end = (until[np.searchsorted(stays.request, q["request"], side)] for side in ("left", "right"))
        some = end > begin
        first, last = time[begin[some]], time[end[some] - 1]
        n, span = (end - begin)[some] - 1, (last - first) / 1e12
        queued = q[q["first_step"] >= 0]
        # Gaps inside of finished requests, by request: +1 where one begins behind its first token, -1 behind its last.
        inside = np.zeros(len(time) + 1, np.int8)
        np.add.at(inside, begin[some] + 1, 1)
        np.add.at(inside, end[some], -1)
        gaps = np.diff(time)[inside.cumsum(dtype=np.int8)[1:-1] > 0] / 1e12 if len(time) else time / 1e12
        return self._tool_metrics() | {
            "ttft": summarize((first - q["arrival"][some]) / 1e12),
            "tpot": summarize(span[n > 0] / n[n > 0]),
            "itl": summarize(gaps),
            "e2e": summarize((last - q["arrival"][some]) / 1e12),
            "queueing": summarize((queued["first_step"] - queued["arrival"]) / 1e12),
            "user_rate": summarize(n[span > 0] / span[span > 0]),
        }


def _value(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item() if hasattr(value, "item") else value


def _run(group):
    for name, value in group.attrs.items():
        if np.ndim(value):
            raise SchemaError(f"attribute {name} of run: found {np.size(value)} values, expected one")
    run = {name: _value(value) for name, value in group.attrs.items()}
    piece = 1
    while f"config.{piece}" in run:
        run["config"] += run.pop(f"config.{piece}")
        piece += 1
    return run


def _rows(f, name):
    if f[name].size * f[name].dtype.itemsize > os.path.getsize(f.filename):
        raise SchemaError(f"{name}: found {f[name].size} rows, more than the file has room for")
    rows, older = np.empty(f[name].shape, f[name].dtype), OLDER_NAMES.get(name, {})
    if len(rows):
        f[name].read_direct(rows)  # f[name][:] takes memory in small pages, which costs more than reading
    rows.dtype.names = [older.get(field, field) for field in rows.dtype.names]
    missing = [field for field in LATER.get(name, ()) if field not in rows.dtype.names]
    if not missing:
        return rows
    types = [(field, rows.dtype[field]) for field in rows.dtype.names]
    out = np.zeros(len(rows), types + [(field, "u4") for field in missing])
    for field in rows.dtype.names:
        out[field] = rows[field]
    return out


def _trace(f):
    run, text = _run(f["run"]), f["text"][:].tobytes()
    raw = {name: _rows(f, name) for name in TABLES}
    raw |= {name: _rows(f, name) if name in f else np.empty(0, dtype) for name, dtype in OPTIONAL.items()}
    raw["steps"] = with_paces(raw["steps"], raw.pop("paces"))
    check_rows(raw, run.get("complete") == 1, len(text))
    return Trace(run, raw, text)


def _load(path):
    with h5py.File(path, "r") as f:
        schema = f["run"].attrs.get("schema") if "run" in f else None
        if np.ndim(schema) or schema not in SCHEMAS:
            raise SchemaError(f"{path}: not a trace of schema 1 or 2")
        missing = [name for name in (*TABLES, "text", *(("paces",) if schema == 2 else ())) if name not in f]
        if missing:
            raise SchemaError(f"{path}: no data set {missing[0]}")
        try:
            return _trace(f)
        except SchemaError as reason:
            raise SchemaError(f"{path}: {reason}") from None


def load(path, tries=8):
    """Opens FILE.h5, or the FILE.h5.part of a run that still lasts or was killed. What was updated between two reads may
    not fit together: it is read again, up to `tries` times."""
    while True:
        before, tries = os.stat(path), tries - 1
        try:
            return _load(path)
        except (OSError, RuntimeError, KeyError, ValueError):
            after = os.stat(path)
            if not tries or (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns):
                raise
