#!/usr/bin/python3
"""The pure parts of tests/bench/run: what a ratio, a recall and a bar are."""

import importlib.machinery
import importlib.util
import json
import pathlib
import struct
import sys
import tempfile
import types
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE / "peer")]

import ladder  # noqa: E402
import numpy as np  # noqa: E402
from harness import curves, data, report, resident, server  # noqa: E402


class Ratios(unittest.TestCase):
    def test_a_bar_is_met_from_the_right_side(self):
        self.assertEqual(report.Case("more", [0.8, 0.9, 1.0], bar=0.9).outcome, "met")
        self.assertEqual(report.Case("more", [0.8, 0.89, 1.0], bar=0.9).outcome, "MISSED")
        self.assertEqual(report.Case("less", [1.1, 1.0, 9.0], bar=1.1, at_most=True).outcome, "met")
        self.assertEqual(report.Case("less", [1.2, 1.3, 1.0], bar=1.1, at_most=True).outcome, "MISSED")
        self.assertEqual(report.Case("told", [1.0]).outcome, "reported")

    def test_sides_alternate_and_keep_their_rounds(self):
        order = []
        sides = {"a": lambda: order.append("a") or len(order), "b": lambda: order.append("b") or -1}
        results = report.alternate(3, sides)
        self.assertEqual(order, ["a", "b", "b", "a", "a", "b"])
        self.assertEqual(results["a"], [1, 4, 5])

    def test_throughput_divides_round_by_round_and_tells_cpu(self):
        def side(rates, cpu):
            return [{"rows_per_second": rate, "rows": 10, "cpu_seconds": cpu} for rate in rates]

        case = report.throughput("x", {"a": side([20, 30], 1.0), "b": side([10, 10], 2.0)}, "a", "b", 2.0, None)
        self.assertEqual(list(case.samples), [2.0, 3.0])
        self.assertEqual(case.details["by_cpu"], 2.0)

    def test_what_is_absent_is_in_the_table(self):
        row = report.Row("P0", "nothing")
        row.missing.append("a thing")
        self.assertIn("not available: a thing", report.table([row]))


class Recall(unittest.TestCase):
    def test_is_the_share_of_the_nearest_k(self):
        truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
        self.assertEqual(data.recall(truth[:, ::-1], truth, 4), 1.0)
        self.assertEqual(data.recall(np.array([[1, 9], [9, 8]]), truth, 2), 0.25)
        self.assertEqual(data.recall(np.array([[-1, -1], [-1, -1]]), truth, 2), 0.0)


class Files(unittest.TestCase):
    def test_centroids_come_from_section_2(self):
        head = bytearray(4096)
        struct.pack_into("<I", head, 52, 2)
        struct.pack_into("<IIQQ", head, 80, 1, 0, 4096, 24)
        struct.pack_into("<IIQQ", head, 104, 2, 0, 4160, 16)
        body = struct.pack("<QIIII", 2, 2, 2, 1, 0).ljust(64, b"\0") + struct.pack("<4f", 1, 2, 5, -4)
        with tempfile.TemporaryDirectory() as root:
            directory = pathlib.Path(root) / "shard-000" / "index"
            directory.mkdir(parents=True)
            (directory / "0000000000000002.codebook").write_bytes(bytes(head) + body)
            found = server.centroids(pathlib.Path(root), 2)
        self.assertEqual(found.tolist(), [[1, 2], [5, -4]])

    def test_code_bytes_follow_the_name_of_the_codec(self):
        wanted = {"flat": 256, "f16": 256, "int8": 128, "pq:64": 64, "pq:64x4": 32, "rabitq:1": 24,
                  "pca:48": 48, "opq:64x4": 32}
        self.assertEqual({name: resident.code_bytes(name, 128) for name in wanted}, wanted)

    def test_a_data_set_that_is_not_known_is_refused(self):
        with self.assertRaises(ValueError):
            data.find("synthetic-many")


class Tuning(unittest.TestCase):
    def test_the_cheapest_setting_that_reaches_is_found(self):
        steps = [(value, 1) for value in ladder.growing(1, 2048)]
        for least in (1, 2, 37, 1500):
            found = ladder.fewest(steps, lambda setting, least=least: setting[0] >= least)
            self.assertEqual(found, next(step for step in steps if step[0] >= least))
        self.assertIsNone(ladder.fewest(steps, lambda setting: False))


class Curves(unittest.TestCase):
    def point(self, entries, us):
        asked = {str(k): {"us": us * k, "recall": 0.955} for k in curves.KS}
        sizes = {"anonymous_bytes": 2e6, "mapped_bytes": 3e6, "disk_bytes": 4e6}
        return {"entries": entries, "queries": asked, "build_seconds": 1.5, "restart_seconds": 0.25, **sizes}

    def test_the_table_has_a_line_for_each_size_in_order(self):
        lines = curves.table({"100000": self.point(100_000, 2), "9000": self.point(9_000, 1)}).splitlines()
        self.assertEqual(len(lines), 4)
        self.assertTrue(lines[2].startswith("| 9,000 | 10.0 (0.955) | 100.0 (0.955) | 1024.0 (0.955) | 1.50 | 0.25 |"))
        self.assertTrue(lines[3].startswith("| 100,000 | 20.0 (0.955) |"))
        self.assertEqual({line.count("|") for line in lines}, {lines[0].count("|")})

    def test_points_are_kept_unless_the_settings_changed(self):
        loader = importlib.machinery.SourceFileLoader("curves_program", str(HERE / "curves"))
        program = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
        loader.exec_module(program)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "points.json"
            settings = {"dimension": 16, "index": None, "rounds": 1, "seconds": 1.0}
            path.write_text(json.dumps({"settings": settings, "points": {"9000": self.point(9_000, 1)}}))
            options = types.SimpleNamespace(json=path, anew=False, **settings)
            self.assertEqual(list(program.kept(options)["points"]), ["9000"])
            for name, other in (("dimension", 32), ("index", "flat"), ("anew", True)):
                changed = types.SimpleNamespace(**{**vars(options), name: other})
                self.assertEqual(program.kept(changed)["points"], {})


if __name__ == "__main__":
    unittest.main(verbosity=2)
