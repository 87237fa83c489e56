#!/usr/bin/python3
"""docs/scaling.md says what its model says, and the model agrees with a simulation where both can tell."""

import pathlib
import random
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import machine, scaling, scaling_tables  # noqa: E402

PERFORMANCE = (machine.ROOT / "docs" / "performance.md").read_text()
DOCUMENT = (machine.ROOT / "docs" / "scaling.md").read_text()


class Model(unittest.TestCase):
    figures = scaling.measured(PERFORMANCE)
    planner = scaling.Planner(machine.BIN / "mneme")
    answers = scaling_tables.answers_of(figures)

    def test_the_tables_of_the_document_are_those_of_the_model(self):
        for name, text in scaling_tables.everything(self.figures, self.planner).items():
            with self.subTest(name):
                written = scaling_tables.replace(DOCUMENT, name, text) == DOCUMENT
                self.assertTrue(written, f"run tests/bench/scaling --write: it would say\n{text}")

    def test_a_figure_that_is_gone_is_named(self):
        for gone in ("the reading of the index", "empty call 71", "p50, p99 of 1 row"):
            with self.assertRaisesRegex(ValueError, "docs/performance.md has no"):
                scaling.measured(PERFORMANCE.replace(gone, ""))
        with self.assertRaisesRegex(ValueError, "cost curves"):
            scaling.measured("")

    def test_measured_points_are_kept_and_between_them_it_grows(self):
        for entries, by_k in self.figures.query_us.items():
            for k, micros in by_k.items():
                self.assertAlmostEqual(scaling.query_us(self.figures, entries, k), micros)
        sizes = [10**power for power in (4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8, 9)]
        for k in scaling_tables.KS:
            costs = [scaling.query_us(self.figures, size, k) for size in sizes]
            self.assertEqual(costs, sorted(costs))
        largest = self.figures.largest
        self.assertAlmostEqual(scaling.build_seconds(self.figures, largest)[0], self.figures.build_seconds[largest])

    def test_a_node_holds_what_it_is_said_to_and_hardly_more(self):
        for node in scaling.NODES:
            for ram in scaling.LAYOUTS:
                held = scaling.entries_per_node(self.planner, node, 128, ram)
                self.assertTrue(node.holds(self.planner.plan(held, 128), ram))
                self.assertFalse(node.holds(self.planner.plan(int(held * 1.12), 128), ram))

    def test_answers_have_the_measured_quantiles(self):
        p50, p99 = self.figures.answer_ms
        self.assertAlmostEqual(self.answers.later(p50), 0.5, delta=0.001)
        self.assertAlmostEqual(self.answers.later(p99), 0.01, delta=0.001)
        self.assertLess(self.answers.later(6.0), 0.001)  # P18: .999 within 6 ms
        generator = random.Random(2)
        drawn = [self.answers.draw(generator) for _ in range(50_000)]
        for ms in (1.5, 2.0, 2.5):
            part = sum(each > ms for each in drawn) / len(drawn)
            self.assertAlmostEqual(part, self.answers.later(ms), delta=0.01)
        self.assertAlmostEqual(sum(drawn) / len(drawn), self.answers.mean, delta=0.01)

    def test_the_simulation_agrees_with_the_formula_where_nobody_waits(self):
        after = scaling.quantile(self.answers.later, 0.95, 1)
        for hedging in (None, after):
            later = self.answers.later if hedging is None else scaling.hedged(self.answers.later, after)
            shards = [
                scaling.simulate_shard(self.answers, scaling.Load(0.01), 1000, hedging, f"7 {number}")
                for number in range(64)
            ]
            for count in (1, 4, 64):
                with self.subTest(hedging=hedging is not None, shards=count):
                    values = scaling.slowest(shards, count)
                    for part in (0.5, 0.9):
                        expected = scaling.quantile(later, part, count)
                        self.assertAlmostEqual(scaling.part_of(values, part) / expected, 1.0, delta=0.06)
                    late = scaling.quantile(later, 0.99, 1)
                    seen = sum(value > late for value in values) / len(values)
                    self.assertAlmostEqual(seen, scaling.some_shard_late(0.01, count), delta=0.06)

    def test_every_call_is_answered_once_and_waiting_takes_time(self):
        for hedge in (None, 2.5):
            idle, busy = (
                scaling.simulate_shard(self.answers, scaling.Load(load), 3000, hedge, "3 0") for load in (0.05, 0.9)
            )
            self.assertEqual((len(idle), len(busy)), (3000, 3000))
            self.assertGreater(scaling.part_of(busy, 0.5), 1.2 * scaling.part_of(idle, 0.5))
        again = scaling.simulate_shard(self.answers, scaling.Load(0.9), 3000, 2.5, "3 0")
        self.assertEqual(again, busy)


if __name__ == "__main__":
    unittest.main(verbosity=2)
