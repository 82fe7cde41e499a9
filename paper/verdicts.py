# SPDX-License-Identifier: Apache-2.0
"""What became of the claims: counts, tables for LaTeX, and the values of each claim for the text."""
import claims

VERDICTS = {claims.HOLDS: "holds", claims.NOT: "not", claims.UNDECIDABLE: "undecidable", claims.NOT_RUN: "notrun"}
# Who claims, by how a source begins: name of the values, words of the table. What nothing else fits was published by others.
KINDS = (("our bar", "bars", "goals that we set ourselves"), ("tandem, ", "self", "tandem against itself: same tokens, cycles, bytes"),
         ("the same machine, live", "live", "predictions of live runs on one machine"), ("", "others", "published by others, or theory"))


def kind_of(row):
    return next(kind for begin, kind, _ in KINDS if row["source"].startswith(begin))


def verdicts_of(rows):
    return [sum(row["verdict"] == verdict for row in rows) for verdict in VERDICTS]


def put_counts(values, name, rows):
    values.put(f"{name}.count", str(len(rows)))
    for short, count in zip(VERDICTS.values(), verdicts_of(rows), strict=True):
        values.put(f"{name}.{short}", str(count))


def count_claims(values, rows):
    names = sorted({row["experiment"] for row in rows})
    values.put("claims.experiments", str(len(names)))
    put_counts(values, "claims", rows)
    for _, kind, _ in KINDS:
        put_counts(values, f"claims.{kind}", [row for row in rows if kind_of(row) == kind])
    put_counts(values, "claims.own", [row for row in rows if kind_of(row) != "others"])
    for name in names:
        mine = [row for row in rows if row["experiment"] == name]
        put_counts(values, name, mine)
        values.put(f"{name}.date", max(row["date"] for row in mine) or f"({claims.NOT_RUN})")


def kinds(rows):
    """A line for each kind of who claims: how many claims, and what became of them."""
    lines = []
    for _, kind, words in reversed(KINDS):
        counts = verdicts_of([row for row in rows if kind_of(row) == kind])
        lines.append(" & ".join((claims.tex(words), *(str(count) if count else "" for count in counts))) + r" \\")
    return "\n".join(lines) + "\n"


def summary(rows, folder):
    """A line an experiment: how many claims, and what became of them."""
    lines = []
    for name in sorted({row["experiment"] for row in rows}):
        mine = [row for row in rows if row["experiment"] == name]
        question = claims.load(folder / name / "claims.toml")["question"]
        cells = (rf"\code{{{claims.tex(name)}}}", claims.tex(question), *(str(count) if count else "" for count in verdicts_of(mine)),
                 max(row["date"] for row in mine))
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join(lines) + "\n"


def put(values, rows):
    """Counts, and the numbers of each claim as EXPERIMENT.CLAIM.*."""
    count_claims(values, rows)
    for row in rows:
        at = f"{row['experiment']}.{row['id']}"
        if row["ours"]:
            for key in ("ours", "low", "high"):
                values.put(f"{at}.{key}", float(row[key]))
                values.put(f"{at}.{key}.short", float(row[key]), "{:,.0f}" if float(row[key]) >= 100 else "{:.1f}")
            if float(row["published"]):
                ratio = float(row["ours"]) / float(row["published"])
                values.put(f"{at}.times", ratio, "{:.2f}")
                values.put(f"{at}.off", f"{100 * (ratio - 1):+.1f} %")
        else:  # the text says so where it would have the number
            measured = [] if row["published"] else ["published"]
            for key in ("ours", "low", "high", "ours.short", "low.short", "high.short", "times", "off", *measured):
                values.put(f"{at}.{key}", f"({claims.NOT_RUN})")
        if row["published"]:
            values.put(f"{at}.published", claims.given(float(row["published"])))
            values.put(f"{at}.published-low", claims.given(float(row["published_low"])))
            values.put(f"{at}.published-high", claims.given(float(row["published_high"])))
        values.put(f"{at}.within", f"{100 * float(row['within']):g} %")
