#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""validation_test.py TANDEM: what experiments claim of theory, of published results and of a run of vLLM. Those that take
seconds are run whole; of searches for a rate only rates to each side of what is published are: one meets the SLOs, the other
does not."""
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import tomllib
import unittest

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPERIMENTS = ROOT / "experiments"
TANDEM = sys.argv.pop(1)


def claims(name):
    found = tomllib.loads((EXPERIMENTS / name / "claims.toml").read_text(encoding="utf-8"))
    return {claim["id"]: claim for claim in found["claim"]}


def program(name):
    """An experiment's `values`, as a module."""
    loader = importlib.machinery.SourceFileLoader(f"{name}_values", str(EXPERIMENTS / name / "values"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class DistServe(unittest.TestCase):
    def setUp(self):
        self.values = program("distserve")
        self.claim = claims("distserve")["goodput"]

    def meets(self, share):
        return self.values.met(TANDEM, self.values.poisson(self.claim["published"] * share))

    def test_goodput_is_within_what_is_claimed(self):
        self.assertTrue(self.meets(1 - self.claim["within"]))
        self.assertFalse(self.meets(1 + self.claim["within"]))

    def test_lengths_are_those_of_the_published_run(self):
        rows = (EXPERIMENTS / "distserve" / "lengths.csv").read_text(encoding="utf-8").split()[1:]
        prompts, outputs = zip(*(map(int, row.split(",")[1:]) for row in rows), strict=True)
        self.assertEqual(len(rows), 300)
        self.assertEqual((sum(prompts), sum(outputs)), (233976, 52928))
        self.assertLess(max(map(sum, zip(prompts, outputs, strict=True))), 2048)


class Splitwise(unittest.TestCase):
    """The abstract's two ratios of Splitwise-AA, in the coding service, on the profile's steps of Llama-2-70B."""

    def setUp(self):
        self.values = program("splitwise")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder = pathlib.Path(folder.name)
        (lengths, *_), _ = self.values.coding(folder / "no trace", folder)
        machines, _ = self.values.machines_of("llama-2-70b", folder, folder / "no profile")
        self.study = self.values.Study(TANDEM, lengths, "llama-2-70b", machines[0])

    def meets(self, design, rate):
        return not self.study.broken(design, rate, 1)

    def test_ratios_are_within_what_is_claimed(self):
        carried, too_much = 154, 156  # requests/s, as its search finds
        self.assertTrue(self.meets("AA 55+15", carried))
        self.assertFalse(self.meets("AA 55+15", too_much))
        for which, baseline in (("aa-h100-power-coding", "H100 40"), ("aa-a100-coding", "A100 70")):
            claim = claims("splitwise")[f"{which}-llama-2-70b"]
            self.assertEqual(self.values.CLAIMS["coding"][which], ("AA 55+15", baseline))
            self.assertFalse(self.meets(baseline, carried / (claim["published"] * (1 - claim["within"]))), which)
            self.assertTrue(self.meets(baseline, too_much / (claim["published"] * (1 + claim["within"]))), which)

    def test_notes_say_what_lengths_are_of(self):
        trace = self.folder / "code.csv"
        self.assertEqual(self.values.coding(trace, self.folder / "not/yet")[1], "lengths of laws")
        trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n0,500,7\n", encoding="utf-8")
        (lengths,), told = self.values.coding(trace, self.folder)
        self.assertEqual(told, "lengths of the trace")
        self.assertEqual((lengths / "outputs.txt").read_text(encoding="utf-8"), "7\n")

    def test_lengths_have_the_published_means_and_medians(self):
        for law in self.values.LAWS:
            for name, known in self.values.CODING.items():
                found = sorted(self.values.of_mean(law, **known))
                self.assertAlmostEqual(sum(found) / len(found) / known["mean"], 1, 3, (law, name))
                self.assertEqual(found[len(found) // 2], known["median"], (law, name))
                self.assertLessEqual(found[-1], known["most"], (law, name))


class Whole(unittest.TestCase):
    """Theory's waits, MLPerf's rack and vLLM's run come out as their claims.toml expect."""

    def test_verdicts_are_those_expected(self):
        names = ("queueing", "mlperf-405b", "rtx-pro-6000")
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run([ROOT / "scripts/experiments", "--tandem", TANDEM, "-o", folder, *names], capture_output=True, text=True, check=False,
                                  env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        for name in names[:2]:
            self.assertIn(f"{name}: ran", done.stdout)
        if "no reference data" not in done.stdout:
            self.assertIn("rtx-pro-6000: ran", done.stdout)


if __name__ == "__main__":
    unittest.main()
