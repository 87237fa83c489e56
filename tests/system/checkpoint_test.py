"""Replicas that the log does not reach any more copy the store of another while writes go on; and what replicas hold is
compared."""

from __future__ import annotations

import pathlib
import shutil
import threading
import time
from typing import Any

import cluster
import harness
import mneme
import numpy as np
from kafka_test import BATCH, KafkaTest, Writer, content

DIM = 256


class Checkpoints(KafkaTest):
    maxDiff = 4_000

    def drop_front(self, deployment: cluster.ReplicatedCluster, shard: int) -> int:
        """Has the log of a shard keep nothing of what its first replica has applied; where it begins then."""
        begin = int(deployment.shards[shard][0].metrics()["mneme_log_handled"])
        self.assertGreater(begin, 0)
        self.kafka.delete_records(deployment.log.rsplit("/", 1)[1], shard, begin)
        return begin

    def lose_disk(self, replica: cluster.ReplicaProcess) -> None:
        replica.kill()
        shutil.rmtree(replica.data_dir)

    def shown(self, deployment: cluster.ReplicatedCluster, *flags: str) -> list[dict[str, Any]]:
        replicas: list[dict[str, Any]] = deployment.front_ends[0].cli("cluster", "show", *flags)["replicas"]
        self.assertEqual(
            [(each["shard"], each["replica"]) for each in replicas],
            [(number, at) for number, several in enumerate(deployment.shards) for at in range(len(several))],
        )
        self.assertEqual(
            [each["address"] for each in replicas], [each for several in deployment.addresses for each in several]
        )
        return replicas

    def check_digests(self, deployment: cluster.ReplicatedCluster) -> list[dict[str, Any]]:
        """All replicas of a shard have one, of one offset, and the same."""
        replicas = self.shown(deployment, "--digest")
        self.assertTrue(all("digest" in each for each in replicas), replicas)
        for number, several in enumerate(deployment.shards):
            told = {(each["digest"], each["digest_applied"]) for each in replicas if each["shard"] == number}
            self.assertEqual(len(told), 1, replicas)
            self.assertEqual({each["state"] for each in replicas}, {"serving"})
            self.assertGreater(len(several), 1)
        return replicas

    def test_a_replica_with_an_empty_disk_copies_another_while_writes_go_on(self) -> None:
        deployment = self.start(front_ends=1)
        cluster.fill(deployment.client, self.random)
        deployment.client.create_memory("stream", 4, vocab_size=100)
        writer = Writer(deployment.front_ends, "stream")
        writer.start()
        lost = [deployment.shards[0][1], deployment.shards[1][1]]
        for replica in lost:
            self.lose_disk(replica)
        time.sleep(0.5)
        for number, replica in enumerate(lost):
            self.drop_front(deployment, number)
            replica.start()
            log = replica.tail_of_log()
            self.assertIn("checkpoint_copied", log)
            self.assertNotIn("checkpoint_failed", log)
            self.assertIn("checkpoint_made", deployment.shards[number][0].tail_of_log())
        time.sleep(0.5)
        ids = writer.end()
        self.check(deployment, "stream", ids)
        for number in range(2):
            self.assertFalse((lost[number].data_dir / f"shard-00{number}" / "incoming").exists())
        self.check_digests(deployment)
        first, second = (view.client for view in self.views(deployment))
        for name in ("wiki", "stream"):
            self.assertEqual(content(first, name), content(second, name))
        query = self.random.normal(size=(50, 4)).astype(np.float32)
        for name in ("wiki", "stream"):
            answers = [
                cluster.plain(client.memory(name).query(query, 20, exact=True), frozenset({"version", "statistics"}))
                for client in (first, second)
            ]
            self.assertEqual(answers[0], answers[1])
        harness.note(f"{len(ids) // BATCH} batches were written meanwhile")

    def test_a_replica_that_the_log_has_left_behind_goes_on_from_a_copy(self) -> None:
        deployment = self.start(shards=1, front_ends=1)
        memory, _ = cluster.fill(deployment.client, self.random)
        behind = deployment.shards[0][1]
        deployment.await_even()
        behind.kill()
        memory.insert(np.ones((100, 4), np.float32), np.arange(100), ids=9_000 + np.arange(100))
        self.drop_front(deployment, 0)
        memory.insert(np.ones((100, 4), np.float32), np.arange(100), ids=9_500 + np.arange(100))
        behind.start()
        self.assertIn("checkpoint_copied", behind.tail_of_log())
        deployment.await_even()
        self.check_digests(deployment)
        # It is a replica like any other: it starts again by itself, and others copy it.
        behind.kill()
        behind.start()
        deployment.await_even()
        self.check_digests(deployment)

    def test_without_a_source_a_replica_waits_for_one(self) -> None:
        deployment = self.start(shards=2, front_ends=1)
        memory, _ = cluster.fill(deployment.client, self.random)
        deployment.await_even()
        source, lost = deployment.shards[1]
        self.lose_disk(lost)
        self.drop_front(deployment, 1)
        source.kill()
        starting = threading.Thread(target=lost.start)
        starting.start()
        end = time.monotonic() + harness.START_SECONDS
        while "checkpoint_awaited" not in lost.tail_of_log() and time.monotonic() < end:
            time.sleep(0.05)
        self.assertIn("checkpoint_awaited", lost.tail_of_log())
        away = [each for each in self.shown(deployment) if each["shard"] == 1]
        self.assertEqual([each["state"] for each in away], ["away", "away"])
        # Of a memory that the replica had not heard of when it began to wait the copy has entries.
        deployment.client.create_memory("late", 4, vocab_size=100)
        writer = Writer(deployment.front_ends, "late")
        writer.start()
        time.sleep(1.0)
        source.start()
        starting.join(harness.START_SECONDS)
        self.assertTrue(lost.ready())
        self.check(deployment, "late", writer.end())
        self.check_digests(deployment)
        self.assertGreater(memory.count(), 0)

    def test_a_copy_that_is_killed_over_and_over_ends_whole(self) -> None:
        deployment = self.start(shards=1, replicas=3, front_ends=1)
        memory = deployment.client.create_memory("wide", DIM, vocab_size=100)
        for part in range(16):
            keys = self.random.normal(size=(5_000, DIM)).astype(np.float32)
            memory.insert(keys, np.arange(5_000) % 100, ids=part * 5_000 + np.arange(5_000))
        deployment.await_even()
        sources, lost = deployment.shards[0][:2], deployment.shards[0][2]
        self.lose_disk(lost)
        self.drop_front(deployment, 0)
        cut = 0
        for number in range(8):
            starting = threading.Thread(target=self._start_and_be_killed, args=(lost,))
            starting.start()
            time.sleep(float(self.random.uniform(0.2, 1.2)))  # the moment of the kill is the point of this test
            if number == 3:
                sources[1].kill()
            lost.kill()
            starting.join(harness.START_SECONDS)
            cut += (lost.data_dir / "shard-000" / "incoming").exists()
            if number == 5:
                sources[1].start()
        lost.start()
        deployment.await_even()
        self.check_digests(deployment)
        self.assertEqual(self._tables(lost) & {"incoming", "arrived"}, set())
        harness.note(f"8 kills, {cut} of them amid the copy")

    def test_digests_are_of_one_offset_while_writes_go_on(self) -> None:
        deployment = self.start(front_ends=2)
        cluster.fill(deployment.client, self.random)
        deployment.client.create_memory("stream", 4, vocab_size=100)
        writers = [Writer(deployment.front_ends[at:] + deployment.front_ends[:at], "stream") for at in range(2)]
        for writer in writers:
            writer.start()
        seen: set[tuple[str, ...]] = set()
        for _ in range(5):
            seen.add(tuple(each["digest"] for each in self.check_digests(deployment)))
        ids = np.concatenate([writer.end() for writer in writers])
        self.assertEqual(len(seen), 5, "writes went on")
        deployment.await_even()
        still = self.check_digests(deployment)
        self.assertEqual(self.check_digests(deployment), still)
        self.assertEqual({each["lag"] for each in still}, {0})
        self.assertGreaterEqual(sum(each["entries"] for each in still if each["replica"] == 0), len(ids))
        table = deployment.front_ends[0].cli_text("cluster", "show", "--digest")
        for column in ("SHARD", "REPLICA", "ADDRESS", "STATE", "APPLIED", "LOG END", "LAG", "ENTRIES", "DIGEST"):
            self.assertIn(column, table)
        self.assertIn(still[0]["digest"], table)
        deployment.shards[1][1].kill()
        away = self.shown(deployment, "--digest")
        self.assertEqual([each["state"] for each in away], ["serving", "serving", "serving", "away"])
        self.assertIn(deployment.addresses[1][1], away[3]["detail"])

    def test_one_process_shows_its_shards(self) -> None:
        server = harness.Server(self.scratch / "one", "--shards", "2")
        self.addCleanup(server.kill)
        server.client.create_memory("wiki", 2).insert(np.eye(2, dtype=np.float32), [1, 2], ids=[1, 2])
        shown = server.cli("cluster", "show")["replicas"]
        told = [(each["shard"], each["state"], each["lag"]) for each in shown]
        self.assertEqual(told, [(0, "serving", 0), (1, "serving", 0)])
        self.assertEqual(sum(each["entries"] for each in shown), 2)
        with self.assertRaises(mneme.FailedPrecondition):
            server.client.replicas(digest=True)

    def _start_and_be_killed(self, replica: cluster.ReplicaProcess) -> None:
        try:
            replica.start()
        except harness.ServerDied:
            pass

    def _tables(self, replica: cluster.ReplicaProcess) -> set[str]:
        shard = pathlib.Path(replica.data_dir) / f"shard-00{replica.number}"
        return {each.name for each in shard.iterdir()}


if __name__ == "__main__":
    harness.main()
