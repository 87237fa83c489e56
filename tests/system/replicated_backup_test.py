"""Backups of shards whose writes go through a log in Apache Kafka: one replica of each writes its part, and with the
log a deployment comes back as it was at a time, at an offset, or whole."""

from __future__ import annotations

import datetime
import shutil
import time

import cluster
import harness
import numpy as np
from cluster_backup_test import DIMENSION, content, fill, refused, run
from kafka_test import KafkaTest, Writer


class ReplicatedBackups(KafkaTest):
    def start_with_directory(self, shards: int = 2, replicas: int = 2) -> cluster.ReplicatedCluster:
        flags = ("--backup-dir", str(self.scratch / "backups"))
        started = cluster.ReplicatedCluster(
            self.scratch / "cluster", self.topic(shards), shards, replicas, 1, *flags
        )
        self.addCleanup(started.kill)
        return started

    def test_it_comes_back_at_a_time_at_an_offset_and_whole(self) -> None:
        started = self.start_with_directory()
        keys = self.random.normal(size=(2_000, DIMENSION)).astype(np.float32)
        memory = fill(started.client, keys)
        backups = self.scratch / "backups"
        made = started.client.back_up()
        at_backup = content(started.client, keys)
        self.assertEqual((made.backup.shards, list(made.backup.missing_shards)), (2, []))

        memory.insert(keys[:300] + 1, np.arange(300), ids=3_000 + np.arange(300))
        memory.delete(ids=np.arange(1, 500, 4))
        memory.session("agent3").put("draft", b"later")
        at_moment = content(started.client, keys)
        started.await_even()
        offsets = [int(replicas[0].metrics()["mneme_log_handled"]) for replicas in started.shards]
        time.sleep(0.1)  # stamps are of milliseconds
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        time.sleep(0.1)
        memory.delete(ids=np.arange(2, 2_000, 3))
        later = started.client.create_memory("later", 4, vocab_size=10)
        later.insert(np.ones((5, 4), np.float32), np.arange(5))
        memory.session("agent3").put("draft", b"last")
        at_end = content(started.client, keys)

        log = ("--log", started.log)
        for name, expected, flags in (
            ("backup", at_backup, ()),
            ("time", at_moment, ("--until", moment, *log)),
            ("offsets", at_moment, ("--until", ",".join(map(str, offsets)), *log)),
        ):
            with self.subTest(name):
                target = self.scratch / name
                told = run("restore", backups, "--data-dir", target, *flags)
                with harness.Server(target, "--shards", "2") as server:
                    self.assertEqual(content(server.client, keys), expected)
                    self.assertEqual([each.name for each in server.client.memories()], ["wiki"])
                if name == "offsets":
                    self.assertEqual([each["offset"] for each in told["replayed"]], offsets)
        # Its own logs go on from there, in processes of their own.
        apart = self.scratch / "apart"
        run("restore", backups, "--data-dir", apart, "--apart", "--until", moment, *log)
        addresses = [f"127.0.0.1:{port}" for port in cluster.free_ports(2)]
        for number in range(2):
            self.addCleanup(cluster.ShardProcess(apart / f"shard-00{number}", number, addresses).kill)
        front = harness.Server(self.scratch / "front", "--role", "frontend", "--shard-addresses", ",".join(addresses))
        self.addCleanup(front.kill)
        self.assertEqual(content(front.client, keys), at_moment)
        self.assertIn("is not given", refused("restore", backups, "--data-dir", self.scratch / "no", *log))
        early = ("--until", "2020-01-01T00:00:00Z", *log)
        self.assertIn("no whole backup", refused("restore", backups, "--data-dir", self.scratch / "no", *early))

        # A shard whose replicas lost their disks goes on with its log from its part, though others could not be copied;
        # of shard 0 the names do, with theirs.
        deployment = started.front_ends[0].cli("backups")["backups"][0]["deployment"]
        for number in (1, 0):
            for replica in started.shards[number]:
                replica.kill()
            for replica in started.shards[number]:
                shutil.rmtree(replica.data_dir)
                run("restore", backups, "--data-dir", replica.data_dir, "--shard", number, "--deployment", deployment)
                replica.start()
            started.await_even()
        self.assertEqual(content(started.client, keys), at_end)
        self.assertEqual(started.client.memory("later").count(), 5)
        digests = started.front_ends[0].cli("cluster", "show", "--digest")["replicas"]
        self.assertEqual(len({each["digest"] for each in digests if each["shard"] == 1}), 1)
        self.assertEqual(len({each["digest"] for each in digests if each["shard"] == 0}), 1)

    def test_what_was_acknowledged_before_it_is_in_it_whichever_replica_writes_it(self) -> None:
        started = self.start_with_directory()
        started.client.create_memory("stream", 4, vocab_size=100)
        writer = Writer(started.front_ends, "stream")
        writer.start()
        while not writer.ids and writer.failure is None:
            time.sleep(0.02)
        made = []
        for round in range(4):
            time.sleep(0.3)
            if round == 2:  # the replicas that may have written before are away: the others do
                for replicas in started.shards:
                    replicas[0].kill()
            acknowledged = np.concatenate(writer.ids[:])
            made.append((started.client.back_up().backup, acknowledged))
        for replicas in started.shards:
            replicas[0].start()
        writer.end()
        for backup, acknowledged in made:
            target = self.scratch / f"restored-{backup.number}"
            run("restore", self.scratch / "backups", "--data-dir", target, "--number", backup.number)
            with harness.Server(target, "--shards", "2") as server:
                stored = np.concatenate([page.ids for page in server.client.memory("stream").scan()])
                self.assertEqual(np.setdiff1d(acknowledged, stored).tolist(), [])
                self.assertEqual(len(np.unique(stored)), len(stored))
        harness.note(f"{len(writer.ids)} batches, 4 backups")


if __name__ == "__main__":
    harness.main()
