"""Reads while a replica sleeps: those that are with it are answered by another, and others hardly notice."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any, Optional

import cluster
import harness
import mneme
import numpy as np
from kafka_test import KafkaTest

READERS = 4
READS = 250  # of each reader, before and while a replica sleeps
SEARCHED = 'mneme_search_seconds_count{stage="search"}'
# common/limits.h: kReadsPerHedge and kMostHedgesAtOnce, of each shard.
READS_PER_HEDGE, MOST_AT_ONCE = 10, 64


class Reader(threading.Thread):
    """Asks one query after the other, until it is stopped."""

    def __init__(self, address: str, keys: Any) -> None:
        super().__init__()
        self.address, self.keys = address, keys
        self.seconds: list[float] = []
        self.failure: Optional[BaseException] = None
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            with mneme.connect(self.address, timeout=60, attempts=1) as client:
                memory = client.memory("wiki")
                while not self._stop_asked.is_set():
                    start = time.monotonic()
                    memory.query(self.keys[len(self.seconds) % len(self.keys)][None], 10)
                    self.seconds.append(time.monotonic() - start)
        except BaseException as error:  # for whoever looks
            self.failure = error

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(120)


class Hedging(KafkaTest):
    def test_a_replica_that_sleeps_costs_reads_a_moment_and_not_their_deadline(self) -> None:
        deployment = self.start(shards=2, replicas=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 16, vocab_size=1_000)
        keys = self.random.normal(size=(4_000, 16)).astype(np.float32)
        memory.insert(keys, np.arange(4_000) % 1_000, ids=np.arange(4_000))
        deployment.await_even()
        readers = [Reader(deployment.front_ends[0].address, keys) for _ in range(READERS)]
        for reader in readers:
            self.addCleanup(reader.stop)
            reader.start()
        awake = self.read_on(readers)
        for _ in range(2):
            won = self.told(deployment, "mneme_hedges_won_total")
            asleep = self.busiest(deployment.shards[1])
            os.kill(asleep.pid, signal.SIGSTOP)
            try:
                seconds = self.read_on(readers)
            finally:
                os.kill(asleep.pid, signal.SIGCONT)
            p99 = float(np.quantile(seconds, 0.99))
            harness.note(
                f"p99 {1e3 * np.quantile(awake, 0.99):.1f} ms; while one sleeps {1e3 * p99:.1f} ms, "
                f"the longest {1e3 * max(seconds):.0f} ms"
            )
            self.assertLess(p99, max(0.5, 5 * np.quantile(awake, 0.99)))
            self.assertLess(max(seconds), 5.0, "a connection that says nothing is given up after fifteen seconds")
            self.assertGreater(self.told(deployment, "mneme_hedges_won_total"), won)
        for reader in readers:
            reader.stop()
        # Each asks both shards.
        asked = 2 * sum(len(reader.seconds) for reader in readers)
        hedged = self.told(deployment, "mneme_hedged_calls_total")
        harness.note(f"{asked} calls, {hedged:.0f} hedged")
        self.assertLessEqual(hedged, 2 * MOST_AT_ONCE + asked / READS_PER_HEDGE)

    def read_on(self, readers: list[Reader]) -> list[float]:
        """Until each has so many answers more; how long these took."""
        begun, end = [len(reader.seconds) for reader in readers], time.monotonic() + 240
        while any(len(reader.seconds) < begin + READS for reader, begin in zip(readers, begun)):
            for reader in readers:
                self.assertIsNone(reader.failure)
            self.assertLess(time.monotonic(), end, "readers do not get on")
            time.sleep(0.01)
        return [seconds for reader, begin in zip(readers, begun) for seconds in reader.seconds[begin:]]

    def busiest(self, replicas: list[cluster.ReplicaProcess]) -> cluster.ReplicaProcess:
        """The one that is asked now."""
        before = [replica.metrics()[SEARCHED] for replica in replicas]
        time.sleep(0.2)
        more = [replica.metrics()[SEARCHED] - count for replica, count in zip(replicas, before)]
        return replicas[int(np.argmax(more))]

    def told(self, deployment: cluster.ReplicatedCluster, name: str) -> float:
        return deployment.front_ends[0].metrics()[name]


if __name__ == "__main__":
    harness.main()
