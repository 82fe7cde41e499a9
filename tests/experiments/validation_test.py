#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""validation_test.py TANDEM: what experiments claim of published results, without their searches: of two rates, 15 % to each
side of what is published, one meets the SLOs and the other does not."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import tomllib
import unittest

sys.dont_write_bytecode = True
EXPERIMENTS = pathlib.Path(__file__).resolve().parents[2] / "experiments"
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


if __name__ == "__main__":
    unittest.main()
