#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the paper's text asks of the claims is there, whether experiments ran or not; its table of recorded rates is the claims' own."""
import csv
import io
import pathlib
import re
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "paper")]
import claims  # noqa: E402
import rates  # noqa: E402
import verdicts  # noqa: E402

BENCH = ROOT / "experiments" / "bench-engine"


class Values(dict):
    """As paper/generate keeps them: a name stands once."""

    def put(self, name, value, form=None):
        assert name not in self, name
        self[name] = value if isinstance(value, str) else form.format(value) if form else claims.number(value)


def loaded():
    return {path.parent.name: claims.load(path)["claim"] for path in sorted((ROOT / "experiments").glob("*/claims.toml"))}


def rows_of(rows):
    return list(csv.DictReader(io.StringIO(claims.as_csv(rows))))


def none_ran():
    return rows_of([row for name, said in loaded().items() for row in claims.not_run(name, said, "no machine")])


class Claims(unittest.TestCase):
    def test_the_text_names_claims_that_there_are(self):
        values = Values()
        verdicts.put(values, none_ran())
        text = (ROOT / "paper" / "tandem.tex").read_text(encoding="utf-8")
        numbers, counts = "ours|low|high|times|off|within|published", "count|holds|not|undecidable|notrun|date"
        form = rf"\\val\{{([^}}.]+\.[^}}]+\.(?:{numbers})(?:\.short)?|[^}}.]+(?:\.[^}}.]+)?\.(?:{counts}))\}}"
        asked = [name for name in re.findall(form, text) if name.split(".")[0] in (*loaded(), "claims")]
        self.assertGreater(len(asked), 40)
        self.assertEqual([name for name in asked if name not in values], [])

    def test_every_claim_is_of_one_kind(self):
        rows = none_ran()
        self.assertEqual(sum(sum(verdicts.verdicts_of([row for row in rows if verdicts.kind_of(row) == kind])) for _, kind, _ in verdicts.KINDS),
                         len(rows))
        for source, kind in (("our bar; NVIDIA", "bars"), ("tandem, exact mode", "self"), ("the same machine, live", "live"), ("Erlang's C", "others")):
            self.assertEqual(verdicts.kind_of({"source": source}), kind)
        self.assertEqual(verdicts.kinds(rows).count(r" \\"), len(verdicts.KINDS))

    def test_numbers_of_a_claim(self):
        claim = dict(id="a", claim="a", unit="1", source="S", published=[2, 2], within=0.1, why={}, **{"is": "about"})
        values = Values()
        verdicts.put(values, rows_of(claims.rows_of("made", [claim], claims.values_of("id,ours\na,1.9\n", "v"), "2026-01-01", "made")))
        self.assertEqual([values[f"made.a.{key}"] for key in ("ours", "off", "times", "published")], ["1.900", "-5.0 %", "0.95", "2"])
        self.assertEqual((values["claims.others.holds"], values["claims.own.count"]), ("1", "0"))


class Rates(unittest.TestCase):
    def test_the_table_is_that_of_the_claims(self):
        newest = sorted(BENCH.glob("20*-*.csv"))[-1]
        rate = rates.find(rates.rows_of(newest), "rates", "conv-1")["requests_s"]
        with tempfile.TemporaryDirectory() as folder:
            values, out = Values(), pathlib.Path(folder)
            rates.put(values, rate, BENCH, out / "absent", out)
            self.assertEqual((out / "rates.tex").read_text(encoding="utf-8").count(r" \\"), 5)
            with self.assertRaisesRegex(SystemExit, "no table in .* has the rate"):
                rates.recorded("1", BENCH, out)
        self.assertLessEqual(float(values["bench.times.low"]), float(values["bench.times.high"]))


if __name__ == "__main__":
    unittest.main()
