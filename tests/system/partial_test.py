"""Answers that may lack a shard: one that is killed, one that sleeps, and none at all."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from typing import Any

import cluster
import harness
import mneme
import numpy as np
from mneme import splitting

ENTRIES, SECONDS = 400, 2.0


def shards_of(version: bytes) -> list[int]:
    """Those that have a part of it."""
    return [shard for shard, _ in splitting._VERSION_PART.iter_unpack(version[splitting._VERSION_HEAD :])]


def coverage(answer: Any) -> tuple[int, int, list[int]]:
    told = answer.coverage
    return told.shards_total, told.shards_answered, list(told.missing_shards)


class Partial(cluster.ClusterTest):
    """Two shards; every question has two seconds and one attempt."""

    def setUp(self) -> None:
        super().setUp()
        self.deployment = self.start_cluster(shards=2, front_ends=1)
        self.client = mneme.connect(self.deployment.front_ends[0].address, timeout=SECONDS, attempts=1)
        self.addCleanup(self.client.close)
        patient = self.deployment.client.create_memory("wiki", 8, vocab_size=100)
        self.keys = self.random.normal(size=(ENTRIES, 8)).astype(np.float32)
        self.written = patient.insert(self.keys, np.arange(ENTRIES) % 100, ids=np.arange(ENTRIES))
        self.memory = self.client.memory("wiki")
        self.whole = self.ask(ENTRIES)
        self.assertEqual(coverage(self.whole), (2, 2, []))

    def ask(self, k: int, **search: Any) -> mneme.Neighbours:
        """In time, or not at all."""
        begin = time.monotonic()
        got = self.memory.query(self.keys[:3], k, exact=True, **search)
        self.assertLess(time.monotonic() - begin, 1.1 * SECONDS)
        return got

    def assert_lacks_shard_1(self) -> None:
        """All that shard 0 has and nothing else, in the order of the whole, at the version that was asked for."""
        got = self.ask(ENTRIES, allow_partial=True, version=self.written.version)
        self.assertEqual(coverage(got), (2, 1, [1]))
        self.assertEqual(shards_of(got.version), [0])
        kept = set(got.ids.tolist())
        self.assertTrue(0 < len(kept) < ENTRIES)
        for row in range(3):
            expected = [each for each in self.whole.ids[self.whole.row(row)].tolist() if each in kept]
            self.assertEqual(got.ids[got.row(row)].tolist(), expected)

    def await_whole(self) -> None:
        """What was answered in part meanwhile is not what is answered now."""
        end = time.monotonic() + harness.START_SECONDS
        while True:
            got = self.ask(ENTRIES, allow_partial=True)
            if coverage(got) == (2, 2, []):
                break
            self.assertLess(time.monotonic(), end, "shard 1 does not come back")
        for name in ("ids", "distances", "values"):
            np.testing.assert_array_equal(getattr(got, name), getattr(self.whole, name))

    def partial_answers(self) -> float:
        return self.deployment.front_ends[0].metrics()["mneme_partial_answers_total"]

    def test_a_shard_that_was_killed_is_missing_where_that_is_allowed(self) -> None:
        self.assertEqual(self.partial_answers(), 0)
        self.deployment.shards[1].kill()
        with self.assertRaises(mneme.Unavailable) as raised:
            self.ask(5)
        self.assertEqual(raised.exception.reason, "SHARD_UNAVAILABLE")
        for _ in range(3):  # what is asked again is remembered
            self.assert_lacks_shard_1()
        self.assertEqual(self.partial_answers(), 3)

        with self.memory.decode_stream(5, 1.0, allow_partial=True) as stream:
            self.assertEqual(coverage(stream.step(self.keys[0])), (2, 1, [1]))
        self.mix_with_what_is_gone()
        self.warn()
        self.deployment.shards[1].start()
        self.await_whole()

    def mix_with_what_is_gone(self) -> None:
        """A partition is on one shard: of one on shard 1 nothing is left, and its weight goes to the others."""
        gone = next(partition for partition in range(1, 33) if not self.answers(partition))
        mixture = self.client.mix([(self.memory, 0.25), mneme.Source(self.memory, 0.75, partitions=gone)])
        with self.assertRaises(mneme.Unavailable):
            mixture.distribution(self.keys[:2], 5)
        there, lost = mixture.distribution(self.keys[:2], 5, allow_partial=True).mixture
        self.assertEqual((coverage(there), coverage(lost)), ((2, 1, [1]), (1, 0, [1])))
        self.assertEqual((there.found.tolist(), lost.found.tolist()), ([5, 5], [0, 0]))
        self.assertEqual((there.weights.tolist(), lost.weights.tolist()), ([1, 1], [0, 0]))

    def answers(self, partition: int) -> bool:
        try:
            self.ask(1, partitions=partition, allow_partial=True)
            return True
        except mneme.Unavailable:
            return False

    def warn(self) -> None:
        """The command line names what is missing, in the JSON too."""
        command = [harness.BIN / "mneme", "--server", self.deployment.front_ends[0].address, "query", "wiki"]
        options = ["--keys", self.save("q.npy", self.keys[:3]), "-k", 3, "--allow-partial", "-o", "json"]
        done = subprocess.run([*map(str, command + options)], capture_output=True, text=True, check=True)
        self.assertEqual(json.loads(done.stdout)["missing_shards"], [1])
        self.assertIn("warning: the answer lacks what is on shard 1, which did not answer", done.stderr)

    def test_a_shard_that_sleeps_is_waited_for_almost_until_the_deadline(self) -> None:
        self.deployment.shards[1].signal(signal.SIGSTOP)
        try:
            begin = time.monotonic()
            self.assert_lacks_shard_1()
            took = time.monotonic() - begin
            with self.assertRaises(mneme.DeadlineExceeded):
                self.ask(5)
        finally:
            self.deployment.shards[1].signal(signal.SIGCONT)
        harness.note(f"answered in part after {took:.2f} of {SECONDS:.2f} s")
        self.assertGreater(took, 0.8 * SECONDS)
        self.await_whole()

    def test_without_any_shard_nothing_is_answered(self) -> None:
        for shard in reversed(self.deployment.shards):
            shard.kill()
        with self.assertRaises(mneme.Unavailable):
            self.ask(5, allow_partial=True)
        self.assertEqual(self.partial_answers(), 0)


if __name__ == "__main__":
    harness.main()
