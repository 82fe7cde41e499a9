# SPDX-License-Identifier: Apache-2.0
"""What rows must be for their tokens to come out right, as far as traces/check.c asks it too: else a damaged count takes
all memory, or gives tokens that are wrong."""
import numpy as np

DEVICES = {"requests": ("prefill_device", "decode_device"), "steps": ("device",), "tokens": ("device",),
           "residency": ("device",), "transfers": ("from", "to"), "changes": ("device",)}
REQUESTS = ("requests", "tokens", "residency", "transfers", "tool_calls")
FEW_STEPS = 1 << 27  # a gigabyte of their ends


class SchemaError(ValueError):
    """The file is not a trace of schema 1 or 2, or contradicts it."""


def _refuse(wrong, raw, table, field, expected):
    at = np.flatnonzero(wrong)
    if len(at):
        raise SchemaError(f"{table}[{at[0]}].{field}: found {raw[table][field][at[0]]}, expected {expected}")


def _check_step_times(raw):
    """In floating point: what is that far out is told, what only rounding would tell is not."""
    start, duration, slope, count = (raw["steps"][name].astype(float) for name in ("start", "duration", "slope", "count"))
    _refuse(start < 0, raw, "steps", "start", "a time >= 0")
    _refuse(duration < 0, raw, "steps", "duration", "a time >= 0")
    last, end = duration + (count - 1) * slope, start + count * duration
    _refuse(last < -1e-6 * duration, raw, "steps", "slope", "one that leaves every duration >= 0")
    _refuse(end + count * (count - 1) / 2 * slope > 9.3e18, raw, "steps", "duration", "an end below 2^63 ps")


def check_rows(raw, complete, text_bytes):
    """Each row by itself."""
    devices, requests, stays = len(raw["devices"]), len(raw["requests"]), raw["residency"]
    for table, fields in DEVICES.items():
        for field in fields:
            _refuse(raw[table][field] >= devices, raw, table, field, f"a number below {devices}")
    for table in REQUESTS if complete else ():
        _refuse(raw[table]["request"] >= requests, raw, table, "request", f"a number below {requests}")
    twice = np.ones(requests, bool)
    twice[np.unique(raw["requests"]["request"], return_index=True)[1]] = False
    _refuse(twice, raw, "requests", "request", "each number once")
    for table, field in (("steps", "index"), ("residency", "first_index")):
        count = raw[table]["count"]
        _refuse((count < 1) | (count >= 1 << 31), raw, table, "count", "1 .. 2147483647")
        _refuse(raw[table][field] >= 1 << 40, raw, table, field, "a number below 2^40")
    _check_step_times(raw)
    long = (stays["first_token"] >= 1 << 32) | (stays["count"] * stays["tokens_per_step"] >= 1 << 32)
    _refuse(long, raw, "residency", "first_token", "token indices below 2^32")
    _refuse(raw["tokens"]["time"] < 0, raw, "tokens", "time", "a time >= 0")
    _refuse(raw["tokens"]["text_offset"] > text_bytes, raw, "tokens", "text_offset", f"one within {text_bytes} bytes")


def check_steps(key, count, residency):
    """Steps by device and index, as `key` has them: none twice, and not far more than anybody was in."""
    twice = np.flatnonzero((key + count)[:-1] > key[1:])
    if len(twice):
        device, index = divmod(int(key[twice[0] + 1]), 1 << 40)
        raise SchemaError(f"steps: found step {index} of device {device} in two rows")
    count, most = int(count.sum()), len(key) + int(residency["count"].sum())
    if count > max(most, FEW_STEPS):
        raise SchemaError(f"steps: found {count} steps, expected at most the {most} that requests were in")


def check_tokens(stays, requests):
    """Of a complete trace: the tokens of each request follow one another, as many as its row says."""
    follows = np.r_[False, stays.request[1:] == stays.request[:-1]]
    expected = np.where(follows, np.r_[0, (stays.first + stays.n)[:-1]], 0)
    wrong = np.flatnonzero(stays.first != expected)
    if len(wrong):
        request, found = stays.request[wrong[0]], stays.first[wrong[0]]
        raise SchemaError(f"request {request}: found token {found} where token {expected[wrong[0]]} should be")
    last = np.flatnonzero(np.r_[~follows[1:], len(follows) > 0])
    tokens = np.zeros(len(requests), np.int64)
    tokens[stays.request[last]] = (stays.first + stays.n)[last]
    _refuse(tokens[requests["request"]] != requests["output_tokens"], {"requests": requests}, "requests", "output_tokens",
            "as many as steps and tokens give it")
