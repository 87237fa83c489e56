"""The checker of registers' histories: it takes what a register can have done and nothing else."""

from __future__ import annotations

import dataclasses
import itertools
import random
import time
import unittest
from typing import Optional, Sequence

import harness
from linearizability import ABSENT, Operation, violation

HISTORIES = 250  # of a few operations each, which are judged by trying all orders, too


def put(begin: float, end: float, value: bytes, version: int = 0, **more: bool) -> Operation:
    return Operation("put", begin, end, value, version, **more)


def get(begin: float, end: float, value: bytes, version: int) -> Operation:
    return Operation("get", begin, end, value, version)


def cas(begin: float, end: float, value: bytes, expected: int, version: int = 0, **more: bool) -> Operation:
    return Operation("cas", begin, end, value, version, expected, **more)


def by_all_orders(history: Sequence[Operation]) -> bool:
    """The definition: some order of all that is known and some of what is not keeps time and tells each its answer."""
    known = [each for each in history if not each.unknown]
    unknown = [each for each in history if each.unknown and each.kind != "get"]
    for count in range(len(unknown) + 1):
        for some in itertools.combinations(unknown, count):
            if any(_fits(order) for order in itertools.permutations([*known, *some])):
                return True
    return False


def _fits(order: Sequence[Operation]) -> bool:
    state: Optional[tuple[int, bytes]] = ABSENT
    latest = float("-inf")
    for each in order:
        latest = max(latest, each.begin)
        if not each.unknown and each.end < latest:
            return False  # it had ended before one that comes before it began
        state = each.after(state) if state is not None else None
        if state is None:
            return False
    return True


def lived(rng: random.Random, count: int, clients: int, lost: float) -> list[Operation]:
    """What clients of a real register are told, each asking one thing after the other; some answers are lost."""
    free = [0.0] * clients
    asked = []
    for number in range(count):
        client = min(range(clients), key=free.__getitem__)
        begin = free[client] + rng.random()
        end = begin + rng.random() * 3
        free[client] = end
        asked.append((rng.uniform(begin, end), begin, end, client, b"%d" % number))
    version, value, out = 0, b"", []
    for _, begin, end, client, new in sorted(asked):
        kind = rng.choice(["put", "get", "cas"])
        unknown = rng.random() < lost
        told = Operation(kind, begin, end, new, unknown=unknown, client=client)
        if kind == "get":
            told = dataclasses.replace(told, value=value, version=version)
        elif kind == "cas":
            expected = version if rng.random() < 0.7 else max(version - 1, 0)
            told = dataclasses.replace(told, expected=expected, refused=expected != version and not unknown)
        if kind == "put" or (kind == "cas" and told.expected == version):
            if unknown and rng.random() < 0.5:
                out.append(told)  # it never got there
                continue
            version, value = version + 1, new
            told = dataclasses.replace(told, version=0 if unknown else version)
        out.append(told)
    return out


class Linearizability(unittest.TestCase):
    def assert_good(self, *history: Operation) -> None:
        self.assertEqual(violation(history), "")

    def assert_bad(self, *history: Operation) -> None:
        self.assertNotEqual(violation(history), "")

    def test_one_after_the_other_is_good(self) -> None:
        self.assert_good(
            get(0, 1, b"", 0), put(2, 3, b"a", 1), get(4, 5, b"a", 1), cas(6, 7, b"b", 1, 2),
            cas(8, 9, b"c", 1, refused=True), get(10, 11, b"b", 2),
        )

    def test_what_is_at_once_may_be_in_any_order(self) -> None:
        self.assert_good(put(0, 10, b"a", 2), put(0, 10, b"b", 1), get(1, 9, b"b", 1), get(1, 9, b"a", 2))

    def test_a_stale_read_is_bad(self) -> None:
        self.assert_bad(put(0, 1, b"a", 1), put(2, 3, b"b", 2), get(4, 5, b"a", 1))
        self.assert_bad(put(0, 1, b"a", 1), get(2, 3, b"", 0))

    def test_reads_that_go_back_are_bad(self) -> None:
        self.assert_bad(put(0, 1, b"a", 1), put(2, 20, b"b", 2), get(3, 4, b"b", 2), get(5, 6, b"a", 1))

    def test_a_lost_update_is_bad(self) -> None:
        self.assert_bad(put(0, 1, b"a", 1), cas(2, 4, b"b", 1, 2), cas(2, 4, b"c", 1, 2))
        self.assert_bad(put(0, 1, b"a", 1), put(2, 3, b"b", 2), get(4, 5, b"b", 1))

    def test_a_compare_and_set_that_is_refused_without_a_reason_is_bad(self) -> None:
        self.assert_bad(put(0, 1, b"a", 1), cas(2, 3, b"b", 1, refused=True))

    def test_what_was_applied_twice_is_bad(self) -> None:
        self.assert_bad(put(0, 1, b"a", 1), put(2, 3, b"b", 2), get(4, 5, b"b", 3))
        self.assert_bad(put(0, 1, b"a", 1), put(2, 3, b"b", 0, unknown=True), get(4, 5, b"b", 2), get(6, 7, b"b", 3))
        self.assert_bad(put(0, 1, b"a", 0, unknown=True), get(2, 3, b"a", 1), put(4, 5, b"b", 2), get(6, 7, b"a", 3))

    def test_an_unknown_outcome_may_come_late_or_never(self) -> None:
        lost = put(0, 1, b"a", 0, unknown=True)
        self.assert_good(lost, get(2, 3, b"", 0), get(4, 5, b"a", 1))
        self.assert_good(lost, get(2, 3, b"", 0), put(4, 5, b"b", 1), get(6, 7, b"b", 1))
        self.assert_good(lost, put(4, 5, b"b", 2), get(6, 7, b"b", 2))
        self.assert_bad(get(0, 1, b"a", 1), put(2, 3, b"a", 0, unknown=True))  # not before it was asked for
        self.assert_bad(put(0, 1, b"b", 2), put(2, 3, b"a", 0, unknown=True))

    def test_small_histories_are_judged_as_all_orders_judge_them(self) -> None:
        rng, good = random.Random(harness.SEED), 0
        for number in range(HISTORIES):
            history = lived(rng, 5, 3, 0.3)
            if number % 2:
                at = rng.randrange(len(history))
                each = history[at]
                version = max(0, each.version + rng.choice([-1, 1]))
                history[at] = dataclasses.replace(each, version=version, refused=each.refused and rng.random() < 0.5)
            right = by_all_orders(history)
            good += right
            self.assertEqual(violation(history) == "", right, history)
        self.assertTrue(HISTORIES / 2 <= good < 0.95 * HISTORIES, good)

    def test_long_histories_with_lost_answers_are_judged(self) -> None:
        for seed, lost in enumerate((0.05, 0.1, 0.3)):
            history = lived(random.Random(harness.SEED + seed), 1_000, 6, lost)
            began = time.monotonic()
            self.assertEqual(violation(history), "")
            self.assertLess(time.monotonic() - began, 10)
            reads = [at for at, each in enumerate(history) if each.kind == "get" and not each.unknown]
            last, first = history[reads[-1]], history[reads[len(reads) // 2]]
            self.assertNotEqual(last.version, first.version)
            history[reads[-1]] = dataclasses.replace(last, version=first.version, value=first.value)
            self.assertIn("get", violation(history))


if __name__ == "__main__":
    harness.main()
