#!/usr/bin/env python3
"""docs/reliability.md names files, tests, commands and commits: all of them exist."""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs/reliability.md").read_text()
CODE = re.findall(r"`([^`\n]+)`", TEXT)


def sources(folder, *patterns):
    return "\n".join(path.read_text() for pattern in patterns for path in sorted((ROOT / folder).rglob(pattern)))


def ctest_names():
    """Names of test programs, as the CMake files say them."""
    names = set()
    for path in (ROOT / "tests").rglob("CMakeLists.txt"):
        text = path.read_text()
        names |= set(re.findall(r"(?:mneme_test|mneme_python_test)\((\w+)", text))
        if path.parent.name == "fuzz":
            names |= {"fuzz_" + target.name.removesuffix("_fuzz.cc") for target in path.parent.glob("*_fuzz.cc")}
    return names


class Reliability(unittest.TestCase):
    def test_files_are_there(self):
        folders = "tests|docs|common|engine|storage|server|security|index|readout"
        named = [word for word in CODE if re.fullmatch(rf"({folders})/[\w./-]+", word)]
        self.assertGreater(len(named), 20)
        self.assertEqual([name for name in named if not (ROOT / name).exists()], [])

    def test_test_programs_are_there(self):
        known = ctest_names()
        named = [word for word in CODE if re.fullmatch(r"[a-z]+_[a-z_0-9]*_test|fuzz_\w+", word)]
        named = [word for word in named if not word.startswith("fuzz_replay")]
        self.assertGreater(len(named), 15)
        self.assertEqual([name for name in named if name not in known], [])

    def test_cases_are_there(self):
        cases = set(re.findall(r"TEST(?:_F|_P)?\(\s*(\w+,\s*\w+)\)", sources("tests", "*.cc")))
        cases = {re.sub(r",\s*", ".", case) for case in cases}
        named = [word for word in CODE if re.fullmatch(r"[A-Z]\w+Test\.\w+", word)]
        self.assertGreater(len(named), 15)
        self.assertEqual([name for name in named if name not in cases], [])
        methods = set(re.findall(r"def (test_\w+)", sources("tests/system", "*.py")))
        named = [word for word in CODE if re.fullmatch(r"test_\w+", word)]
        self.assertGreater(len(named), 8)
        self.assertEqual([name for name in named if name not in methods], [])

    def test_commands_are_there(self):
        script = (ROOT / "tests/run").read_text()
        steps = re.findall(r"^    ([a-z-]+)\) ", script, re.M)  # of the function that runs one
        short = re.findall(r"\[(\w+)\]=", re.search(r"^declare -A short=\((.*)\)$", script, re.M)[1])
        listed = subprocess.run([ROOT / "tests/run", "--list"], capture_output=True, text=True, check=True)
        for command in [word for word in CODE if word.startswith("tests/run ")]:
            words = command.split()[1:]
            if words[0] == "--full":
                if words[1] != "NAME":
                    self.assertIn(words[1], listed.stdout.split() + short, command)
            elif words[0] not in ("--list", "STEP"):
                self.assertIn(words[0], steps, command)

    def test_commits_are_there(self):
        named = set(re.findall(r"\b[0-9a-f]{7}\b", TEXT))
        self.assertGreater(len(named), 10)
        known = subprocess.run(["git", "-C", ROOT, "rev-list", "HEAD"], capture_output=True, text=True)
        shallow = subprocess.run(
            ["git", "-C", ROOT, "rev-parse", "--is-shallow-repository"], capture_output=True, text=True
        )
        if known.returncode != 0 or shallow.stdout.strip() == "true":
            return  # a source archive or a shallow clone has no history to look at
        begins = {commit[:7] for commit in known.stdout.split()}
        self.assertEqual(sorted(named - begins), [])

    def test_nothing_is_left_to_fill_in(self):
        self.assertEqual(re.findall(r"@[A-Z]+@", TEXT), [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
