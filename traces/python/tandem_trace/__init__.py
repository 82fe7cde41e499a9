# SPDX-License-Identifier: Apache-2.0
"""Reads tandem traces, schema 1 (traces/README.md): tables as numpy arrays, modelled steps and tokens expanded."""
import h5py
import numpy as np

__all__ = ["SchemaError", "Trace", "expand_steps", "expand_tokens", "load", "summarize"]

SCHEMA = 1
TABLES = ("devices", "requests", "steps", "tokens", "residency", "transfers")
OLDER_NAMES = {"steps": {"reserved": "interval"}}  # what traces of schema 1 called fields before
PERCENTILES = {"min": 0, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}
TOKEN = np.dtype(
    [("request", "u8"), ("index", "u4"), ("id", "i4"), ("time", "i8"), ("device", "u4"), ("logprob", "f8"), ("gap", "f8")]
)


class SchemaError(ValueError):
    """The file is not a trace of schema 1, or contradicts it."""


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


def expand_tokens(tokens, steps, residency):
    """One row per output token, sorted by request and index; id -1, logprob and gap NaN where it was modelled.

    `steps` may be expanded or not. Tokens whose step has no row yet (in a part file) are left out.
    """
    steps = expand_steps(steps)
    key = steps["device"].astype(np.int64) << 40 | steps["index"].astype(np.int64)
    order = key.argsort()
    key, end = key[order], (steps["start"] + steps["duration"])[order]
    count = (residency["count"] * residency["tokens_per_step"]).astype(np.int64)
    j, r = _within(count), np.repeat(residency, count)
    at = r["device"].astype(np.int64) << 40 | r["first_index"].astype(np.int64) + j // r["tokens_per_step"].clip(1)
    place = np.searchsorted(key, at)
    known = place < len(key)
    known[known] = key[place[known]] == at[known]
    modelled = np.zeros(known.sum(), TOKEN)
    modelled["request"], modelled["device"] = r["request"][known], r["device"][known]
    modelled["index"] = r["first_token"][known].astype(np.int64) + j[known]
    modelled["id"], modelled["logprob"], modelled["gap"] = -1, np.nan, np.nan
    modelled["time"] = end[place[known]]
    executed = np.zeros(len(tokens), TOKEN)
    for name in TOKEN.names:
        executed[name] = tokens[name]
    out = np.concatenate([executed, modelled])
    return out[np.lexsort((out["index"], out["request"]))]


def summarize(values):
    """count, mean, min, p50, p90, p95, p99, max, as `tandem show` computes them; None where there is nothing."""
    values = np.asarray(values, np.float64)
    out = {"count": len(values), "mean": float(values.mean()) if len(values) else None}
    for name, percent in PERCENTILES.items():
        out[name] = float(np.percentile(values, percent)) if len(values) else None
    return out


class Trace:
    """A whole trace: `run` (dict), the tables, `tokens` and `steps` expanded, the raw ones in `raw`."""

    def __init__(self, run, raw, text):
        self.run, self.raw, self._text = run, raw, text
        self.complete = run["complete"] == 1
        self.devices, self.requests, self.transfers = raw["devices"], raw["requests"], raw["transfers"]
        self.steps = expand_steps(raw["steps"])
        self.tokens = expand_tokens(raw["tokens"], raw["steps"], raw["residency"])

    def request_tokens(self, request):
        """Token rows of one request number."""
        begin, end = (np.searchsorted(self.tokens["request"], request, side) for side in ("left", "right"))
        return self.tokens[begin:end]

    def text(self, request):
        """Output text of a request: the bytes of its executed tokens."""
        rows = self.raw["tokens"][self.raw["tokens"]["request"] == request]
        rows = rows[rows["index"].argsort()]
        pieces = (self._text[o : o + n] for o, n in zip(rows["text_offset"].tolist(), rows["text_bytes"].tolist()))
        return b"".join(pieces).decode("utf-8", "replace")

    def metrics(self):
        """Latency summaries in seconds over the finished requests, with the keys of `tandem show --json`."""
        q = self.requests
        t = self.tokens[np.isin(self.tokens["request"], q["request"])]
        begin, end = (np.searchsorted(t["request"], q["request"], side) for side in ("left", "right"))
        some = end > begin
        first, last = t["time"][begin[some]], t["time"][end[some] - 1]
        n, span = (end - begin)[some] - 1, (last - first) / 1e12
        queued = q[q["first_step"] >= 0]
        return {
            "ttft": summarize((first - q["arrival"][some]) / 1e12),
            "tpot": summarize(span[n > 0] / n[n > 0]),
            "itl": summarize(np.diff(t["time"])[np.diff(t["request"]) == 0] / 1e12),
            "e2e": summarize((last - q["arrival"][some]) / 1e12),
            "queueing": summarize((queued["first_step"] - queued["arrival"]) / 1e12),
            "user_rate": summarize(n[span > 0] / span[span > 0]),
        }


def _value(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value.item() if hasattr(value, "item") else value


def _run(group):
    run = {name: _value(value) for name, value in group.attrs.items()}
    piece = 1
    while f"config.{piece}" in run:
        run["config"] += run.pop(f"config.{piece}")
        piece += 1
    return run


def _rows(f, name):
    rows, older = f[name][:], OLDER_NAMES.get(name, {})
    rows.dtype.names = [older.get(field, field) for field in rows.dtype.names]
    return rows


def load(path):
    """Opens FILE.h5, or the FILE.h5.part of a run that still lasts or was killed."""
    with h5py.File(path, "r") as f:
        if "run" not in f or f["run"].attrs.get("schema") != SCHEMA:
            raise SchemaError(f"{path}: not a trace of schema {SCHEMA}")
        missing = [name for name in (*TABLES, "text") if name not in f]
        if missing:
            raise SchemaError(f"{path}: no data set {missing[0]}")
        raw = {name: _rows(f, name) for name in TABLES}
        return Trace(_run(f["run"]), raw, f["text"][:].tobytes())
