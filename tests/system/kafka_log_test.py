"""The suite of every log of a shard, on real brokers, and the brokers' own faults, which other tests build on."""

from __future__ import annotations

import os
import re
import subprocess
import time

import harness
from kafka_brokers import KafkaBrokers

SUITE = harness.BIN / "cluster_kafka_log_test"


class KafkaLog(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        with harness.stopwatch("start of three brokers"):
            self.kafka = KafkaBrokers(self.scratch / "kafka", 3)
        self.addCleanup(self.kafka.kill)

    def test_it_is_a_log_on_real_brokers(self) -> None:
        given = {**os.environ, "MNEME_TEST_KAFKA": self.kafka.addresses}
        done = subprocess.run(
            [SUITE, "--gtest_filter=*/Broker"], env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600
        )
        printed = done.stdout.decode(errors="replace")
        self.assertEqual(done.returncode, 0, printed[-5000:])
        self.assertGreaterEqual(int(re.findall(r"\[  PASSED  \] (\d+) tests", printed)[-1]), 13, printed)

    def test_another_leads_when_a_leader_is_killed_or_frozen_and_it_comes_back(self) -> None:
        self.kafka.create_topic("faults", 2)
        first = self.kafka.leader("faults", 0)
        first.kill()
        second = self.kafka.leader("faults", 0)
        self.assertIsNot(second, first)
        self.kafka.await_in_sync("faults", 2)
        first.start()
        self.kafka.await_in_sync("faults", 3)

        frozen = self.kafka.leader("faults", 0)
        frozen.freeze()
        end = time.monotonic() + 60
        while self.kafka.leader("faults", 0) is frozen:
            self.assertLess(time.monotonic(), end, "nobody else leads")
            time.sleep(0.1)
        frozen.thaw()
        self.kafka.await_in_sync("faults", 3)


if __name__ == "__main__":
    harness.main()
