#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scripts/profile-steps on batches: points are medians, mistakes are one line, the files we ship are what it makes."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROFILE = ROOT.parent / "shared/data/measurements/splitwise/perf_model.csv"
HEAD = "model,hardware,tensor_parallel,prompt_size,batch_size,prompt_time,token_time\n"
ROWS = ("m,a100-80gb,8,512,1,90,40\nm,a100-80gb,8,512,1,100,44\nm,a100-80gb,8,512,1,95,48\nm,a100-80gb,8,1024,1,160,46\n"
        "m,a100-80gb,8,512,2,170,45\nm,a100-80gb,4,512,4,999,999\nother,a100-80gb,8,512,8,999,999\nm,h100-80gb,8,512,8,999,999\n")


def made(text, *words, model="m", shape="llama-2-70b"):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "p.csv"
        path.write_text(text, encoding="utf-8")
        return steps(*words, path, "a100_sxm", "a100-80gb", f"{shape}={model}")


def steps(*words):
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([ROOT / "scripts/profile-steps", *words], capture_output=True, text=True, check=False, env=env)


def points(text, side):
    part = text.split(f"{side} = {{")[1].split("); };")[0]
    found = re.findall(r"at = (\d+); time = { value = ([\d.]+); unit = \"ms\"; low = ([\d.]+); high = ([\d.]+)", part)
    return [tuple(map(float, numbers)) for numbers in found]


class Batches(unittest.TestCase):
    def test_points_are_medians_of_so_many_tokens(self):
        text = made(HEAD + ROWS).stdout
        self.assertEqual(points(text, "prefill"), [(512, 95, 90, 100), (1024, 165, 160, 170)])
        self.assertEqual(points(text, "decode"), [(1, 44, 40, 48), (2, 45, 45, 45)])
        self.assertIn('model = "Llama-2-70B"; tensor = 8;', text)

    def test_as_its_simulator_reads_them(self):
        text = made(HEAD + ROWS, "--as-read").stdout
        self.assertEqual(points(text, "decode"), [(512, 44, 40, 48), (1024, 45.5, 45, 46)])

    def mistake(self, text, words, **swapped):
        done = made(text, **swapped)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stdout, "")
        self.assertIn(words, done.stderr)
        self.assertEqual(done.stderr.count("\n"), 1)

    def test_mistakes_name_the_place(self):
        done = steps("nowhere.csv", "a100_sxm", "a100-80gb", "llama-2-70b=m")
        self.assertEqual((done.returncode, done.stderr.count("\n")), (1, 1))
        self.assertIn("nowhere.csv", done.stderr)
        self.mistake(HEAD + ROWS, "expected some", model="absent")
        self.mistake(HEAD + ROWS, "found no shape 'llama2-70b' in experiments/models", shape="llama2-70b")
        self.mistake(HEAD.replace(",token_time", "") + "m,a100-80gb,8,512,1,90\n", "found no column token_time")
        self.mistake(HEAD + "m,a100-80gb,8,512,1,fast,40\n", "p.csv:2: prompt_time: found 'fast'")
        self.mistake(HEAD + "m,a100-80gb,8,512,1,-3,40\n", "p.csv:2: prompt_time: found '-3'")
        self.mistake(HEAD + "m,a100-80gb,8,512,1,nan,40\n", "p.csv:2: prompt_time: found 'nan'")
        self.mistake(HEAD + "m,a100-80gb,8\n", "p.csv:2: prompt_size: found None")
        self.mistake("", "found no column model")

    @unittest.skipUnless(PROFILE.is_file(), "no reference data")
    def test_shipped_files_are_what_it_makes(self):
        for chip in ("a100", "h100"):
            for flag, name in (([], "splitwise"), (["--as-read"], "splitwise-sim")):
                shipped = (ROOT / f"devices/profiled/dgx_{chip}_{name}.cfg").read_text(encoding="utf-8")
                again = steps(*flag, PROFILE, f"{chip}_sxm", f"{chip}-80gb", "llama-2-70b=llama2-70b").stdout
                self.assertEqual(again, shipped)


if __name__ == "__main__":
    sys.exit(unittest.main())
