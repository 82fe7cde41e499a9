# SPDX-License-Identifier: Apache-2.0
"""Device files of whole steps out of a profile of batches: a CSV with the columns of Splitwise's data/perf_model.csv.

A row is a batch of `batch_size` prompts of `prompt_size` tokens on `tensor_parallel` chips: `prompt_time` ms to prefill it
whole, `token_time` ms for each token after that. Several rows of one kind are repeats."""
import csv
import pathlib
import re
import statistics

ROOT = pathlib.Path(__file__).resolve().parents[1]
NEEDED = ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "prompt_time", "token_time")
PAPER = "Patel et al., Splitwise, ISCA 2024"
MEASURED = f"{PAPER}: splitwise-sim, data/perf_model.csv, commit 8f99e7d"
MIXED = (f"{PAPER}: splitwise-sim, performance_model.py, commit 8f99e7d (steps of both take 1.1 times the prompt time of all "
         "their tokens); range assumed")
# W of a chip in each phase, as its simulator has them, with what is known of their range; the price of the chip there.
HARDWARE = {
    "a100-80gb": {"machine": "a DGX A100", "prefill": (400, 184, "low: its peak in a prompt of 128 tokens, 0.46 of 400 W"),
                  "decode": (250, 172, "low: its mean over runs that mostly decode, 0.43 of 400 W")},
    "h100-80gb": {"machine": "a DGX H100", "prefill": (700, 322, "range assumed as the A100's"),
                  "decode": (380, 262, "range assumed as the A100's"), "price": 4.76},
}
AS_READ = ("# The profile as Splitwise's simulator reads it: decode steps, too, are looked up by prompt tokens, so that a step of 100\n"
           "# sequences takes what one sequence took after a prompt of 100 tokens. To compare with its published results only.\n")
AS_MEASURED = ("# One chip of {machine} with the steps that Splitwise profiled on all of it: by tokens of the prompts, by sequences that\n"
               "# decode, which contexts make no difference to.\n")


class Wrong(Exception):
    """A profile that cannot be used, in one line."""


def number(row, key, path, line):
    try:
        value = float(row[key])
    except (TypeError, ValueError):
        value = -1
    if not 0 < value < 1e9:
        raise Wrong(f"{path}:{line}: {key}: found {row[key]!r}, expected a number above 0")
    return value


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [key for key in NEEDED if key not in (reader.fieldnames or ())]
        if missing:
            raise Wrong(f"{path}: found no column {missing[0]}, expected {', '.join(NEEDED)}")
        for row in reader:
            numbers = {key: number(row, key, path, reader.line_num) for key in NEEDED[2:]}
            yield {"model": row["model"], "hardware": row["hardware"], **numbers}


def models(path):
    """Each (model, hardware) that the profile has."""
    return {(row["model"], row["hardware"]) for row in rows(path)}


def grouped(chosen, at, time):
    groups = {}
    for row in chosen:
        groups.setdefault(int(at(row)), []).append(row[time])
    return sorted(groups.items())


def tokens(row):
    return row["prompt_size"] * row["batch_size"]


def sequences(row):
    return row["batch_size"]


def prefill_points(chosen):
    return [(at, statistics.median(times), min(times), max(times)) for at, times in grouped(chosen, tokens, "prompt_time")]


def decode_points(chosen, as_read):
    """By prompt tokens; or by sequences, after prompts of 512 tokens, which is what most rows have."""
    if as_read:
        return [(at, statistics.median(times), min(times), max(times)) for at, times in grouped(chosen, tokens, "token_time")]
    most = [row for row in chosen if row["prompt_size"] == 512]
    middle = {at: statistics.median(times) for at, times in grouped(most, sequences, "token_time")}
    return [(at, middle[at], min(times), max(times)) for at, times in grouped(chosen, sequences, "token_time") if at in middle]


def quantity(value, low, high, unit, evidence, source):
    numbers = f'value = {value:.10g}; unit = "{unit}"; low = {low:.10g}; high = {high:.10g}; evidence = "{evidence}"'
    return f'{{ {numbers};\n        source = "{source}"; }}'


def watts(machine, phase):
    value, low, why = HARDWARE[machine][phase]
    return "      power = " + quantity(value, low, value, "W", "secondary", f"{PAPER} (power model of its simulator); {why}") + ";\n"


def side(name, machine, points, evidence, source):
    lines = [f"      {{ at = {at}; time = " + quantity(*times, "ms", evidence, source) + "; }" for at, *times in points]
    return f"    {name} = {{\n{watts(machine, name)}      points = (\n" + ",\n".join(lines) + "); };\n"


def steps(path, machine, shape, profile, as_read, origin):
    wanted = {"model": profile, "hardware": machine, "tensor_parallel": 8}
    chosen = [row for row in rows(path) if wanted.items() <= row.items()]
    if len({tokens(row) for row in chosen}) < 2:
        raise Wrong(f"{path}: found no two batches of {profile} on 8 chips of {machine}, expected some")
    evidence, source = origin or ("measured", MEASURED)
    by_tokens = "median of so many prompt tokens in a batch"
    by_sequences = "median after prompts of 512 tokens; range: after all prompts"
    first = f"{source} ({by_tokens}; range: all of them)"
    then = f"{source} ({f'{by_tokens}, which the simulator takes for sequences; range: all of them' if as_read else by_sequences})"
    return (f'  {{ model = "{shape}"; tensor = 8;\n' + side("prefill", machine, prefill_points(chosen), evidence, first)
            + side("decode", machine, decode_points(chosen, as_read), evidence, then)
            + "    mixed = " + quantity(1.1, 1.0, 1.2, "1", "secondary", MIXED) + "; }")


def chip(device, machine, as_read):
    """The chip's own file, under another title and with the price that Splitwise has."""
    text = (ROOT / "devices" / f"{device}.cfg").read_text(encoding="utf-8").split("\n", 1)[1]
    whole = f"steps of {HARDWARE[machine]['machine']} as profiled by Splitwise"
    suffix = "steps as Splitwise's simulator reads its profile" if as_read else whole
    text = re.sub(r'^title = "([^"]*)";', rf'title = "\1, {suffix}";', text, count=1, flags=re.M)
    if "price" not in HARDWARE[machine]:
        return text
    paid = f"{PAPER} (CoreWeave, a GPU-hour of a DGX)"
    price = re.compile(r'^(price_rented = \{ value = )[^;]+(;.*?source = ")[^;]*;', re.M | re.S)
    return price.sub(rf"\g<1>{HARDWARE[machine]['price']}\g<2>{paid};", text)


def device_file(path, device, machine, named, as_read=False, origin=None, command=None):
    """`named`: (shape's name, model in the profile), ...; `origin`: evidence and source of times that were not measured."""
    if machine not in HARDWARE:
        raise Wrong(f"found hardware {machine!r}, expected {' or '.join(HARDWARE)}")
    head = "# SPDX-License-Identifier: Apache-2.0\n" + (f"# Made by {command}\n" if command else "")
    head += AS_READ if as_read else AS_MEASURED.format(**HARDWARE[machine])
    made = ",\n".join(steps(path, machine, shape, profile, as_read, origin) for shape, profile in named)
    return f"{head}{chip(device, machine, as_read)}\nsteps = (\n{made});\n"
