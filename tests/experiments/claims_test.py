#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rule of the claims table on made input, what is refused, what is written; and scripts/experiments on made folders."""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
import claims  # noqa: E402
from claims import ABOUT, AT_LEAST, AT_MOST, HOLDS, NOT, UNDECIDABLE  # noqa: E402

MADE = """
question = "Is it so?"
seconds = 1
[[claim]]
id = "speed"
claim = "how fast"
unit = "tokens/s"
source = "Somebody, 2026"
published = 100
within = 0.1
why."does not" = "because"
"""


def loaded(text):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "claims.toml"
        path.write_text(text, encoding="utf-8")
        return claims.load(path)


def row(text, values):
    made = loaded(text)
    return claims.rows_of("made", made["claim"], claims.values_of(values, "values"), "2026-01-01", "made")[0]


class Rule(unittest.TestCase):
    def holds(self, expected, kind, published, within, ours):
        self.assertEqual(claims.verdict(kind, published, within, ours), expected, (kind, published, within, ours))

    def test_about_one_value(self):
        for ours, expected in ((100, HOLDS), (110, HOLDS), (90, HOLDS), (110.5, NOT), (89.5, NOT)):
            self.holds(expected, ABOUT, (100, 100), 0.1, (ours, ours))

    def test_equal_means_equal(self):
        self.holds(HOLDS, ABOUT, (0, 0), 0, (0, 0))
        self.holds(NOT, ABOUT, (0, 0), 0, (1, 1))
        self.holds(NOT, ABOUT, (74774, 74774), 0, (74775, 74775))

    def test_an_interval_decides_only_as_a_whole(self):
        self.holds(HOLDS, ABOUT, (100, 100), 0.1, (95, 105))
        self.holds(UNDECIDABLE, ABOUT, (100, 100), 0.1, (95, 120))  # too wide, although the value may be near
        self.holds(UNDECIDABLE, ABOUT, (100, 100), 0.1, (50, 500))
        self.holds(UNDECIDABLE, ABOUT, (100, 100), 0.1, (109, 120))
        self.holds(NOT, ABOUT, (100, 100), 0.1, (111, 120))

    def test_a_reference_that_scatters_more_than_the_tolerance_decides_nothing(self):
        self.holds(UNDECIDABLE, ABOUT, (80, 120), 0.05, (100, 100))
        self.holds(NOT, ABOUT, (80, 120), 0.05, (70, 70))
        self.holds(HOLDS, ABOUT, (98, 102), 0.05, (100, 100))

    def test_limits(self):
        self.holds(HOLDS, AT_MOST, (100, 100), 0, (1, 100))
        self.holds(UNDECIDABLE, AT_MOST, (100, 100), 0, (90, 101))
        self.holds(NOT, AT_MOST, (100, 100), 0, (101, 102))
        self.holds(HOLDS, AT_MOST, (100, 100), 0.1, (105, 109))
        self.holds(HOLDS, AT_LEAST, (100, 100), 0, (100, 900))
        self.holds(UNDECIDABLE, AT_LEAST, (100, 100), 0, (99, 900))
        self.holds(NOT, AT_LEAST, (100, 100), 0.1, (80, 89))


class Rows(unittest.TestCase):
    def test_verdict_and_why(self):
        got = row(MADE, "id,ours,low,high\nspeed,250,200,300\n")
        self.assertEqual((got["verdict"], got["why"]), (NOT, "2.50 times, nowhere near enough. because"))
        got = row(MADE, "id,ours\nspeed,104\n")
        self.assertEqual((got["verdict"], got["why"], got["low"], got["high"]), (HOLDS, "+4.0 %", 104, 104))
        got = row(MADE, "id,ours,low,high,note\nspeed,104,80,130,measured once\n")
        self.assertEqual((got["verdict"], got["why"]),
                         (UNDECIDABLE, "+4.0 %, near enough at the values themselves, not throughout. Measured once"))
        got = row(MADE, "id,ours,low,high\nspeed,150,104,200\n")
        self.assertEqual((got["verdict"], got["why"]), (UNDECIDABLE, "+50.0 %, near enough only at the ends"))

    def test_a_value_that_is_not_there_has_a_note(self):
        got = row(MADE, "id,ours,note\nspeed,,no GPU here\n")
        self.assertEqual((got["verdict"], got["why"], got["ours"]), (claims.NOT_RUN, "no GPU here", ""))
        with self.assertRaisesRegex(claims.Wrong, "neither a value nor a note"):
            row(MADE, "id,ours\nspeed,\n")

    def test_measured_references(self):
        text = MADE.replace("published = 100", 'published = "measured"')
        got = row(text, "id,ours,published,published_low,published_high\nspeed,99,100,98,101\n")
        self.assertEqual((got["verdict"], got["published"]), (HOLDS, 100))
        with self.assertRaisesRegex(claims.Wrong, "the run printed none"):
            row(text, "id,ours\nspeed,99\n")
        with self.assertRaisesRegex(claims.Wrong, "has one too"):
            row(MADE, "id,ours,published\nspeed,99,100\n")

    def test_values_that_do_not_fit(self):
        for values, said in (("id,ours\nother,1\n", "'other' is not a claim"), ("id,ours\n", "no value for the claim 'speed'"),
                             ("ours,id\n1,speed\n", "header"), ("id,ours\nspeed,fast\n", "'fast', expected a number"),
                             ("id,ours\nspeed,nan\n", "'nan', expected a number"), ("id,ours\nspeed,-1\n", "0 or more"),
                             ("id,ours\nspeed,1,2\n", "expected 2 columns"), ("id,ours\nspeed,1\nspeed,2\n", "stands twice"),
                             ("id,ours,low,high\nspeed,1,2,3\n", "1 is not between 2 and 3"), ("", "header")):
            with self.assertRaisesRegex(claims.Wrong, said, msg=values):
                row(MADE, values)

    def test_claims_that_do_not_fit(self):
        for old, new, said in (("within = 0.1", "", "no 'within'"), ("within", "wihtin", "unknown key 'wihtin'"),
                               ("= 100", '= "100"', "expected a number"), ("= 100", "= [2, 1]", "low end first"),
                               ("seconds = 1", "", "no 'seconds'"), ('"does not"', '"maybe"', "why.'maybe'"),
                               ("seconds", "long = true\nseconds", "no 'report'"), ("unit", 'is = "near"\nunit', "is = 'near'"),
                               ("[[claim]]", "[[claim]", "claims.toml"), ("seconds", 'data = "a.csv"\nseconds', "data = 'a.csv'"), ("unit", 'expect = "yes"\nunit', "expect = 'yes'")):
            with self.assertRaisesRegex(claims.Wrong, said, msg=new):
                loaded(MADE.replace(old, new))
        with self.assertRaisesRegex(claims.Wrong, "stands twice"):
            loaded(MADE + MADE[MADE.index("[[claim]]"):])


class Writing(unittest.TestCase):
    def test_numbers(self):
        for value, said in ((23040.0, "23,040"), (0.0, "0"), (584.12, "584.1"), (1713.4, "1,713"), (0.34933, "0.3493"),
                            (12345.6, "12,350"), (99.996, "100.0")):
            self.assertEqual(claims.number(value), said)

    def test_tables(self):
        got = row(MADE.replace("how fast", "50 % of a | b_c"), "id,ours,low,high\nspeed,250,200,300\n")
        self.assertIn("50 % of a \\| b_c | tokens/s | Somebody, 2026 | 100 ± 10 % | 250 (200..300) | **does not** |",
                      claims.as_markdown([got]))
        self.assertIn("50\\,\\% of a | b\\_c, tokens/s \\claimsource{Somebody, 2026} & 100 $\\pm$ 10\\,\\% & 250 (200--300) & "
                      "\\verdict{does not}", claims.as_tex([got]))
        self.assertEqual(claims.tex("-4.2 %, H100-1, 3.5 us of us, 1..2"), "$-$4.2\\,\\%, H100-1, 3.5 \\textmu{}s of us, 1--2")
        self.assertEqual(claims.tex("no $D/measurements/all_of/them.csv"),
                         r"no \$D/\allowbreak{}measurements/\allowbreak{}all\_\allowbreak{}of/\allowbreak{}them.\allowbreak{}csv")
        self.assertTrue(claims.as_csv([got]).splitlines()[1].startswith("made,speed,50 % of a | b_c,tokens/s,"))


class Command(unittest.TestCase):
    """scripts/experiments over made folders, with a made program."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)
        self.make("asked", MADE, 'echo "ran" >>"$2/../count"; printf "id,ours\\nspeed,%s\\n" 101')

    def make(self, name, toml, body):
        folder = self.scratch / "experiments" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "README.md").write_text("# made\n", encoding="utf-8")
        (folder / "claims.toml").write_text(toml, encoding="utf-8")
        (folder / "values").write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / "values").chmod(0o755)
        return folder

    def run_it(self, *words):
        return subprocess.run([ROOT / "scripts" / "experiments", "--experiments", self.scratch / "experiments", "--tandem",
                               "/bin/true", "-o", self.scratch / "out", *words], capture_output=True, text=True, check=False)

    def table(self):
        return (self.scratch / "out" / "claims.csv").read_text(encoding="utf-8")

    def test_runs_once_and_again_when_asked_or_changed(self):
        for words, times in (((), 1), ((), 1), (("--again",), 2), (("asked",), 2)):
            done = self.run_it(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
            self.assertEqual(len((self.scratch / "out" / "count").read_text().splitlines()), times)
        self.assertIn(",101,101,101,holds,", self.table())
        self.make("asked", MADE, 'printf "id,ours\\nspeed,%s\\n" 150')
        self.run_it()
        self.assertIn(",150,150,150,does not,", self.table())

    def test_verdicts_that_are_not_expected_are_told(self):
        self.make("asked", MADE.replace("unit", 'expect = "does not"\nunit'), 'printf "id,ours\\nspeed,%s\\n" 101')
        done = self.run_it()
        self.assertEqual(done.returncode, 1)
        self.assertIn("how fast: holds, expected does not", done.stdout)

    def test_what_cannot_run_says_so(self):
        self.make("asked", MADE, "echo no data here >&2; exit 77")
        self.assertEqual(self.run_it().returncode, 0)
        self.assertIn("not run,,no data here", self.table())
        self.make("asked", MADE, "echo broken >&2; exit 3")
        done = self.run_it()
        self.assertEqual(done.returncode, 1)
        self.assertIn("FAILED: values exits 3: broken", done.stdout)
        self.assertIn("not run,,failed: ", self.table())

    def test_reference_data_is_asked_for_before(self):
        self.make("asked", MADE.replace("seconds", 'data = ["a/b.csv"]\nseconds'), 'printf "id,ours\nspeed,%s\n" $(cat "$TANDEM_DATA/a/b.csv")')
        data = self.scratch / "data"
        with unittest.mock.patch.dict(os.environ, {"TANDEM_DATA": str(data)}):
            done = self.run_it()
            self.assertEqual(done.returncode, 0)
            self.assertIn(f"no reference data for asked in {data} ($TANDEM_DATA", done.stdout)
            self.assertIn("not run,,reference data: no $TANDEM_DATA/a/b.csv", self.table())
            (data / "a").mkdir(parents=True)
            for ours in (101, 108):  # what was measured of other data is not kept
                (data / "a" / "b.csv").write_text(f"{ours}\n", encoding="utf-8")
                self.assertNotIn("no reference data", self.run_it().stdout)
                self.assertIn(f",{ours},{ours},{ours},holds,", self.table())

    def test_optional_data_is_read_where_it_is(self):
        self.make("asked", MADE.replace("seconds", 'optional_data = ["b.csv"]\nseconds'),
                  'printf "id,ours\nspeed,%s\n" $(cat "$TANDEM_DATA/b.csv" 2>/dev/null || echo 95)')
        data = self.scratch / "data"
        data.mkdir()
        with unittest.mock.patch.dict(os.environ, {"TANDEM_DATA": str(data)}):
            self.assertNotIn("no reference data", self.run_it().stdout)
            self.assertIn(",95,95,95,holds,", self.table())
            (data / "b.csv").write_text("101\n", encoding="utf-8")
            self.run_it()
            self.assertIn(",101,101,101,holds,", self.table())

    def test_long_ones_are_cited(self):
        toml = MADE.replace("seconds", 'long = true\nreport = "20*.txt"\nseconds')
        folder = self.make("asked", toml, 'test "$1" = --report && cat "$2" || echo broken')
        self.assertIn("takes about 1 s, and there is no report", self.run_it().stdout)
        for date, ours in (("2026-01-02", 108), ("2025-01-01", 1)):
            (folder / f"{date}-made.txt").write_text(f"id,ours\nspeed,{ours}\n", encoding="utf-8")
        self.assertIn("from 2026-01-02-made.txt", self.run_it().stdout)
        self.assertIn(",108,108,108,holds,,+8.0 %,2026-01-02", self.table())
        (folder / "2026-01-02-made-again.txt").write_text("id,ours\nspeed,109\n", encoding="utf-8")
        self.assertIn("from 2026-01-02-made-again.txt", self.run_it().stdout)

    def test_a_report_has_its_date_in_its_name(self):
        toml = MADE.replace("seconds", 'long = true\nreport = "rounds*.txt"\nseconds')
        folder = self.make("asked", toml, 'cat "$2"')
        report = folder / "rounds-2026-01-02-made.txt"
        report.write_text("id,ours\nspeed,108\n", encoding="utf-8")
        self.run_it()
        self.assertIn(",108,108,108,holds,,+8.0 %,2026-01-02\n", self.table())
        report.rename(folder / "rounds.txt")
        self.assertIn("FAILED: rounds.txt: no date in the name of a report", self.run_it().stdout)

    def test_what_cannot_run_here_is_cited_too(self):
        toml = MADE.replace("seconds", 'report = "20*.txt"\nseconds')
        folder = self.make("asked", toml, 'if [ "$1" = --report ]; then cat "$2"; else echo no data >&2; exit 77; fi')
        self.assertIn("no data, and there is no report", self.run_it().stdout)
        (folder / "2026-01-02.txt").write_text("id,ours\nspeed,108\n", encoding="utf-8")
        self.assertIn("from 2026-01-02.txt (no data)", self.run_it().stdout)
        self.assertIn(",108,108,108,holds,,+8.0 %,2026-01-02", self.table())

    def test_wrong_names(self):
        self.assertEqual(self.run_it("nothing").returncode, 2)
        (self.scratch / "experiments" / "asked" / "values").chmod(0o644)
        self.assertIn("no program 'values'", self.run_it().stderr)


class Tree(unittest.TestCase):
    """The real folders: all are listed, and the claims of all can be read."""

    def test_list(self):
        done = subprocess.run([ROOT / "scripts" / "experiments", "--list"], capture_output=True, text=True, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        listed = [line.split()[0] for line in done.stdout.splitlines()]
        folders = sorted(path.parent.name for path in (ROOT / "experiments").glob("*/README.md"))
        self.assertEqual(listed, folders)
        self.assertGreaterEqual(len(folders), 10)
        for name in ("quickstart", "lpu-published", "closing-the-loop"):
            self.assertRegex(done.stdout, rf"(?m)^{name} +\d+ claims")

    def test_every_folder_is_in_the_readme(self):
        said = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
        for path in (ROOT / "experiments").glob("*/README.md"):
            self.assertIn(f"[{path.parent.name}]({path.parent.name}/README.md)", said)

    def test_committed_reports_are_read(self):
        for path in (ROOT / "experiments").glob("*/claims.toml"):
            made = claims.load(path)
            for report in path.parent.glob(made.get("report", "none")):
                done = subprocess.run([path.parent / "values", "--report", report], capture_output=True, text=True, check=True)
                rows = claims.rows_of(path.parent.name, made["claim"], claims.values_of(done.stdout, report.name), "", report.name)
                self.assertTrue(any(row["verdict"] in claims.VERDICTS for row in rows), report)

    def test_a_run_of_closing_the_loop_that_breaks_off_is_no_report(self):
        values = ROOT / "experiments" / "closing-the-loop" / "values"
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([values, "no/tandem", folder], capture_output=True, text=True, check=False,
                                  env=os.environ | {"TANDEM_CACHE": folder})
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("run: exit 1, before its end", done.stderr)

    def test_a_table_of_bench_engine_is_read(self):
        """Every claim has a value out of a whole table, and a note where rows are missing."""
        folder = ROOT / "experiments" / "bench-engine"
        head = "part,row,program,workload,requests,cpu_s,requests_s,batch,rss_mb,output_tokens,trace_bytes,same"
        lines = [f"rates,{name},tandem,w,100,1,{rate},2,16,,," for name, rate in (("conv-1", 300), ("conv-40", 200), ("conv-split", 100))]
        lines += [f"peers,{name},aisimulate {how},w,10,1,{rate},,9,,," for name in ("conv-1", "conv-40", "conv-split")
                  for how, rate in (("warm", 4), ("command line", 2))]
        lines += ["fleet,fleet,tandem,w,100,7,1,2,123,,,"]
        lines += [f"trace,{name} {way},tandem,w,100,{cpu},1,2,16,50,{size}," for name in ("conv-1", "conv-40", "conv-split")
                  for way, cpu, size in (("off", 3, ""), ("on", 4, 150))]
        lines += [f"scale,scale-{n},tandem,w,100,{cpu},1,2,16,,," for n, cpu in ((1, 1), (2, 1.1), (4, 0.88))]
        lines += ["same,merged,tandem,w,100,1,1,2,16,,,", "same,step by step,tandem,w,100,1,1,2,16,,,same bytes"]
        whole = {"rate-conv-1": 300, "rate-conv-40": 200, "rate-conv-split": 100, "times-conv-1": 75, "times-conv-40": 50,
                 "times-conv-split": 25, "fleet-time": 7, "fleet-memory": 123, "trace-rate": 0.75, "trace-bytes": 3, "scale": 20, "same": 0}
        for rows, expected in ((lines, whole), ([], dict.fromkeys(whole, "")), (["same,b,tandem,w,1,1,1,2,16,,,differs in steps"], {"same": 1})):
            with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
                file.write("\n".join([head, *rows]) + "\n")
                file.flush()
                done = subprocess.run([folder / "values", "--report", file.name], capture_output=True, text=True, check=True)
            values = claims.values_of(done.stdout, "made")
            claims.rows_of("bench-engine", claims.load(folder / "claims.toml")["claim"], values, "", "made")
            for which, ours in expected.items():
                self.assertEqual(values[which]["ours"], ours, which)


if __name__ == "__main__":
    unittest.main()
