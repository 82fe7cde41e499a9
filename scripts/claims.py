# SPDX-License-Identifier: Apache-2.0
"""What an experiment claims, what its run gave, and the one rule that says whether the claim holds.

`claims.toml` of an experiment has the claims (experiments/README.md says how they are written), `values.csv` what its
program `values` printed. Both are checked field by field: a claim without a value, a value without a claim, an interval
that leaves out its own value are errors that name the file and the claim.
"""
import csv
import io
import math
import re
import tomllib

HOLDS, NOT, UNDECIDABLE, NOT_RUN = "holds", "does not", "undecidable", "not run"
VERDICTS = (HOLDS, NOT, UNDECIDABLE)
ABOUT, AT_MOST, AT_LEAST = "about", "at most", "at least"
EXPERIMENT_KEYS = {"question", "seconds", "long", "model", "data", "optional_data", "report", "claim"}
CLAIM_KEYS = {"id", "claim", "unit", "source", "published", "is", "within", "expect", "why"}
CLAIM_NEEDS = ("id", "claim", "unit", "source", "published", "within")
VALUE_COLUMNS = ("id", "ours", "low", "high", "published", "published_low", "published_high", "note")
COLUMNS = ("experiment", "id", "claim", "unit", "source", "is", "published", "published_low", "published_high", "within",
           "ours", "low", "high", "verdict", "expected", "why", "date")


class Wrong(Exception):
    """A claims.toml or values.csv that cannot be used, in one line."""


# ---- the rule ----


def verdict(kind, published, within, ours):
    """Whether ours is `kind` the published value, up to the share `within` of it, for all that either may be.

    `published` and `ours` are (low, high): a published value is a range where it was given as one or measured several
    times, ours where it has an interval. The claim holds if every value of ours is near enough to every published one,
    does not if none is to any, and is undecidable in between: another draw of what nobody knows would turn it round.
    """
    (p_low, p_high), (low, high) = published, ours
    if kind == ABOUT:
        every = low >= p_high * (1 - within) and high <= p_low * (1 + within)
        none = high < p_low * (1 - within) or low > p_high * (1 + within)
    elif kind == AT_MOST:
        every, none = high <= p_low * (1 + within), low > p_high * (1 + within)
    else:
        every, none = low >= p_high * (1 - within), high < p_low * (1 - within)
    return HOLDS if every else NOT if none else UNDECIDABLE


def distance(ours, published):
    """How far ours is from the published value, in words short enough for a table."""
    if ours == published:
        return "the same"
    if published == 0:
        return f"{number(ours)}, not 0"
    ratio = ours / published
    if abs(ratio - 1) < 5e-4:
        return "off by less than 0.05 %"
    return f"{ratio:.2f} times" if ratio >= 2 or ratio <= 0.5 else f"{100 * (ratio - 1):+.1f} %"


def reason(row):
    """The verdict in numbers: how far ours is, and whether the intervals change that."""
    published, within = row["published"], row["within"]
    said = distance(row["ours"], published)
    if row["low"] == row["high"] and row["published_low"] == row["published_high"]:
        return said
    if row["verdict"] == HOLDS:
        return f"{said}, near enough throughout"
    if row["verdict"] == NOT:
        return f"{said}, nowhere near enough"
    at_values = verdict(row["is"], (published, published), within, (row["ours"], row["ours"]))
    return f"{said}, near enough at the values themselves, not throughout" if at_values == HOLDS else f"{said}, near enough only at the ends"


# ---- reading ----


def number_of(text, where):
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise Wrong(f"{where}: found {text!r}, expected a number of 0 or more")
    return value


def check_claim(claim, where):
    unknown, missing = set(claim) - CLAIM_KEYS, [key for key in CLAIM_NEEDS if key not in claim]
    if unknown:
        raise Wrong(f"{where}: unknown key {sorted(unknown)[0]!r}, expected one of {', '.join(sorted(CLAIM_KEYS))}")
    if missing:
        raise Wrong(f"{where}: no {missing[0]!r}")
    kind, published, why = claim.setdefault("is", ABOUT), claim["published"], claim.setdefault("why", {})
    if kind not in (ABOUT, AT_MOST, AT_LEAST):
        raise Wrong(f"{where}: is = {kind!r}, expected 'about', 'at most' or 'at least'")
    if published != "measured":
        ends = published if isinstance(published, list) else [published, published]
        if len(ends) != 2 or any(isinstance(end, (bool, str)) for end in ends):
            raise Wrong(f"{where}: published = {published!r}, expected a number, [low, high] or \"measured\"")
        claim["published"] = [number_of(end, f"{where}: published") for end in ends]
        if ends[0] > ends[1]:
            raise Wrong(f"{where}: published = {published!r}, expected the low end first")
    claim["within"] = number_of(claim["within"], f"{where}: within")
    if not set(why) <= set(VERDICTS):
        raise Wrong(f"{where}: why.{sorted(set(why) - set(VERDICTS))[0]!r}, expected one of {', '.join(VERDICTS)}")
    if claim.get("expect", HOLDS) not in VERDICTS:
        raise Wrong(f"{where}: expect = {claim['expect']!r}, expected one of {', '.join(VERDICTS)}")


def load(path):
    """A claims.toml, checked: question, seconds, long, model, data, optional_data, report, and the claims with defaults filled in."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Wrong(f"{path}: {error}") from None
    unknown = set(said) - EXPERIMENT_KEYS
    if unknown:
        raise Wrong(f"{path}: unknown key {sorted(unknown)[0]!r}, expected one of {', '.join(sorted(EXPERIMENT_KEYS))}")
    for key in ("question", "seconds", "claim"):
        if not said.get(key):
            raise Wrong(f"{path}: no {key!r}")
    said.setdefault("long", False), said.setdefault("model", False)
    for key in ("data", "optional_data"):
        data = said.setdefault(key, [])
        if not isinstance(data, list) or not all(isinstance(name, str) for name in data):
            raise Wrong(f"{path}: {key} = {data!r}, expected a list of files below $TANDEM_DATA")
    if said["long"] and "report" not in said:
        raise Wrong(f"{path}: long, but no 'report': which files have what an earlier run printed?")
    seen = set()
    for i, claim in enumerate(said["claim"], 1):
        check_claim(claim, f"{path}: claim {claim.get('id', i)!r}")
        if claim["id"] in seen:
            raise Wrong(f"{path}: claim {claim['id']!r} stands twice")
        seen.add(claim["id"])
    return said


def values_of(text, where):
    """What `values` printed, as id -> {column: number}; '' where a column is empty or not there."""
    reader = csv.DictReader(io.StringIO(text))
    names = reader.fieldnames or []
    if names[:2] != ["id", "ours"] or not set(names) <= set(VALUE_COLUMNS):
        raise Wrong(f"{where}: header {','.join(names)!r}, expected id,ours and some of {','.join(VALUE_COLUMNS[2:])}")
    values = {}
    for row in reader:
        if None in row or None in row.values():
            raise Wrong(f"{where}:{reader.line_num}: expected {len(names)} columns")
        if row["id"] in values:
            raise Wrong(f"{where}:{reader.line_num}: {row['id']!r} stands twice")
        at = f"{where}:{reader.line_num}: {row['id']}"
        values[row["id"]] = {name: row[name] if name in ("id", "note") else number_of(row[name], f"{at}: {name}") if row[name]
                             else "" for name in names}
    return values


# ---- rows ----


def interval(value, low, high, where):
    low, high = value if low == "" else low, value if high == "" else high
    if not low <= value <= high:
        raise Wrong(f"{where}: {value:g} is not between {low:g} and {high:g}")
    return low, high


def published_of(claim, value, where):
    """(value, low, high): of the claim, or of the run where that measured what ours is compared with."""
    if claim["published"] != "measured":
        if value.get("published", "") != "":
            raise Wrong(f"{where}: the run printed a published value, and claims.toml has one too")
        low, high = claim["published"]
        return (low + high) / 2, low, high
    if value.get("published", "") == "":
        raise Wrong(f"{where}: published = \"measured\", and the run printed none")
    return (value["published"],
            *interval(value["published"], value.get("published_low", ""), value.get("published_high", ""), where))


def sentence(text):
    """With a capital, where it begins with a word and not with a name such as conv-1."""
    return text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text


def row_of(name, claim, value, date, where):
    """One line of the table. A value without `ours` was not run; its note says why."""
    row = {key: "" for key in COLUMNS} | {key: claim[key] for key in ("id", "claim", "unit", "source", "is", "within")}
    row |= {"experiment": name, "expected": claim.get("expect", ""), "date": date}
    note = value.get("note", "") or ""
    if value["ours"] == "":
        if not note:
            raise Wrong(f"{where}: neither a value nor a note that says why not")
        if claim["published"] != "measured":
            row["published"], row["published_low"], row["published_high"] = published_of(claim, {}, where)
        return row | {"verdict": NOT_RUN, "why": note}
    row["published"], row["published_low"], row["published_high"] = published_of(claim, value, where)
    row["ours"] = value["ours"]
    row["low"], row["high"] = interval(value["ours"], value.get("low", ""), value.get("high", ""), where)
    row["verdict"] = verdict(row["is"], (row["published_low"], row["published_high"]), row["within"], (row["low"], row["high"]))
    row["why"] = ". ".join([reason(row), *(sentence(part) for part in (note, claim["why"].get(row["verdict"], "")) if part)])
    return row


def rows_of(name, claims, values, date, where):
    """The lines of one experiment, in the order of its claims."""
    ids = [claim["id"] for claim in claims]
    for which in values:
        if which not in ids:
            raise Wrong(f"{where}: {which!r} is not a claim of {name}")
    for which in ids:
        if which not in values:
            raise Wrong(f"{where}: the run gave no value for the claim {which!r}")
    return [row_of(name, claim, values[claim["id"]], date, f"{where}: {claim['id']}") for claim in claims]


def not_run(name, claims, why):
    values = {claim["id"]: {"ours": "", "note": why} for claim in claims}
    return rows_of(name, claims, values, "", name)


# ---- writing ----


def number(value):
    """Whole numbers as they are, others with four digits that count."""
    if value == int(value) and abs(value) < 1e12:
        return f"{int(value):,}"
    rounded = float(f"{value:.4g}")
    return f"{rounded:,.{max(0, 3 - math.floor(math.log10(abs(rounded))))}f}"


def given(value):
    """A published number, as it was written down."""
    return f"{value:,.10g}"


def span(value, low, high, form=number):
    return form(value) if low == high else f"{form(value)} ({form(low)}..{form(high)})"


def published_text(row):
    if row["published"] == "":
        return ""
    low, high = row["published_low"], row["published_high"]
    if low < high and row["published"] == (low + high) / 2:  # a range was published, not a value
        value = f"{given(low)}..{given(high)}"
    else:
        value = span(row["published"], low, high, given if low == high else number)
    kind = "" if row["is"] == ABOUT else f"{row['is']} "
    within = f" ± {100 * row['within']:g} %" if row["within"] else ""
    return f"{kind}{value}{within}"


def ours_text(row):
    return "" if row["ours"] == "" else span(row["ours"], row["low"], row["high"])


def as_csv(rows):
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{value:.10g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows)
    return out.getvalue()


def as_markdown(rows):
    lines = ["| experiment | claim | unit | source | published | ours | | why | run |",
             "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = (row["experiment"], row["claim"], row["unit"], row["source"], published_text(row), ours_text(row),
                 f"**{row['verdict']}**", row["why"], row["date"])
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


TEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
       "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "×": r"$\times$", "µ": r"\textmu{}"}


SET = ((r"(?<=\d)\.\.(?=\d)", "--"), (r" \\%", r"\\,\\%"), (r"(?<![\w-])-(?=\d)", "$-$"), (r"(?<=\d )us\b", r"\\textmu{}s"))


def tex(text):
    """For LaTeX: escaped, ranges of numbers with a dash, signs and units as they are set; long paths may be broken."""
    escaped = "".join(TEX.get(letter, letter) for letter in text)
    for found, put in SET:
        escaped = re.sub(found, put, escaped)
    return re.sub(r"\S{25,}", lambda path: re.sub(r"(?<=[/.-])|(?<=\\_)", r"\\allowbreak{}", path.group()), escaped)


def as_tex(rows):
    """Rows of a LaTeX table of five columns: claim with its source, published, ours, verdict, why."""
    lines, before = [], None
    for row in rows:
        if row["experiment"] != before:
            lines.append(rf"\claimgroup{{{tex(row['experiment'])}}}")
            before = row["experiment"]
        unit = {"1": "", "us": r", \textmu{}s"}.get(row["unit"], f", {tex(row['unit'])}")
        cells = (f"{tex(row['claim'])}{unit} \\claimsource{{{tex(row['source'])}}}", tex(published_text(row)), tex(ours_text(row)),
                 rf"\verdict{{{row['verdict']}}}", tex(row["why"]))
        lines.append(" & ".join(cells) + r" \claimend")
    return "\n".join(lines) + "\n"
