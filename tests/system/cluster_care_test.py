"""What docs/operations.md ("A cluster, day by day") tells an operator to do, done: front ends added and taken away, a
shard moved, directories copied and put back, a disk lost."""

from __future__ import annotations

import shutil
import time
from typing import Any

import cluster
import harness
import mneme
import numpy as np

ROWS = 30_000  # enough for an index on each shard


class Care(cluster.ClusterTest):
    def setUp(self) -> None:
        super().setUp()
        self.cluster = self.start_cluster(shards=2, front_ends=1)
        self.keys = self.random.normal(size=(ROWS, 8)).astype(np.float32)
        self.client = self.cluster.client
        self.client.create_memory("wiki", 8, vocab_size=100)

    def fill(self, first: int, end: int) -> None:
        ids = np.arange(first, end)
        self.client.memory("wiki").insert(self.keys[first:end], ids % 100, ids=ids)

    def nearest(self, client: mneme.Client, **how: Any) -> list[int]:
        ids: list[int] = client.memory("wiki").query(self.keys[:200:7], 1, exact=True, **how).ids.ravel().tolist()
        return ids

    def stop_all(self) -> None:
        """Front ends first, so that the shards' directories are of one moment."""
        for process in (*self.cluster.front_ends, *self.cluster.shards):
            self.assertEqual(process.stop(), 0)

    def start_all(self) -> mneme.Client:
        for process in (*self.cluster.shards, *self.cluster.front_ends):
            process.start()
        return self.cluster.client

    def test_front_ends_come_and_go_while_others_serve(self) -> None:
        self.fill(0, 1000)
        added = self.cluster.front_end(self.scratch / "added")
        self.addCleanup(added.kill)
        expected = list(range(0, 200, 7))
        self.assertEqual(self.nearest(added.client), expected)
        self.assertEqual(self.cluster.front_ends[0].stop(), 0)
        self.assertEqual(self.nearest(added.client), expected)
        # Without waiting for the one that went.
        added.client.create_memory("more", 8)

    def test_a_shard_moves_with_its_directory(self) -> None:
        self.fill(0, ROWS)
        front_end, (first, second) = self.cluster.front_ends[0], self.cluster.shards
        self.assertEqual(second.stop(), 0)
        elsewhere = self.scratch / "elsewhere" / "shard"
        shutil.copytree(second.data_dir, elsewhere)
        shutil.rmtree(second.data_dir)
        addresses = [self.cluster.addresses[0], f"127.0.0.1:{cluster.free_ports(1)[0]}"]
        moved = cluster.ShardProcess(elsewhere, 1, addresses)
        self.addCleanup(moved.kill)
        # Shard 0 need not know where the others are; front ends do.
        self.assertTrue(first.alive())
        self.assertEqual(front_end.stop(), 0)
        told = harness.Server(self.scratch / "told", "--role", "frontend", "--shard-addresses", ",".join(addresses))
        self.addCleanup(told.kill)
        self.assertEqual(self.nearest(told.client), list(range(0, 200, 7)))
        self.assertEqual(told.client.memory("wiki").count(), ROWS)

    def test_copies_of_one_moment_bring_it_back_without_an_index(self) -> None:
        self.fill(0, ROWS)
        self.client.memory("wiki").build()
        self.stop_all()
        copies = {shard.data_dir: self.scratch / f"copy-{shard.number}" for shard in self.cluster.shards}
        for directory, copy in copies.items():
            shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("index"))
        self.client = self.start_all()
        self.client.memory("wiki").delete(ids=np.arange(0, 200))
        self.client.create_memory("later", 8)
        self.stop_all()
        for directory, copy in copies.items():
            shutil.rmtree(directory)
            shutil.copytree(copy, directory)
        client = self.start_all()
        self.assertEqual(self.nearest(client), list(range(0, 200, 7)))
        self.assertEqual([each.name for each in client.memories()], ["wiki"])
        for shard in self.cluster.shards:
            self.assertGreater(shard.metrics()['mneme_index_rebuilt_total{kind="codebook"}'], 0)

    def test_a_lost_disk_costs_what_came_after_its_copy(self) -> None:
        self.fill(0, 1000)
        self.stop_all()
        second = self.cluster.shards[1]
        shutil.copytree(second.data_dir, self.scratch / "copy")
        self.client = self.start_all()
        self.fill(1000, 2000)
        ids = np.arange(2000, 3000)
        version = self.client.memory("wiki").insert(self.keys[2000:3000], ids % 100, ids=ids).version
        held = int(second.metrics()["mneme_entries"])
        second.kill()
        shutil.rmtree(second.data_dir)
        # An empty directory is refused.
        with self.assertRaisesRegex(harness.ServerDied, "holds nothing"):
            second.start()
        shutil.rmtree(second.data_dir)
        shutil.copytree(self.scratch / "copy", second.data_dir)
        second.start()
        # What the other shard has is whole; of this one what the copy had.
        copied = int(second.metrics()["mneme_entries"])
        self.assertLess(copied, held)
        self.assertEqual(self.client.memory("wiki").count(), 3000 - held + copied)
        self.assertEqual(self.nearest(self.client), list(range(0, 200, 7)))
        # A reader that presents the version of a write that is gone is not answered from before it.
        with self.assertRaises(mneme.DeadlineExceeded):
            self.client.memory("wiki").query(self.keys[:1], 1, version=version, timeout=1)

    def test_an_empty_directory_of_shard_0_is_another_deployment(self) -> None:
        self.fill(0, 1000)
        first, second = self.cluster.shards
        self.stop_all()
        shutil.copytree(first.data_dir, self.scratch / "copy")
        self.client = self.start_all()
        held = second.metrics()["mneme_entries"]
        first.kill()
        shutil.rmtree(first.data_dir)
        first.start()
        self.await_ready(False)
        with self.assertRaisesRegex(mneme.Unavailable, "another deployment"):
            self.client.create_memory("more", 8)
        self.assertEqual(second.metrics()["mneme_entries"], held)
        first.kill()
        shutil.rmtree(first.data_dir)
        shutil.copytree(self.scratch / "copy", first.data_dir)
        first.start()
        self.await_ready(True)
        self.assertEqual(self.nearest(self.client), list(range(0, 200, 7)))

    def await_ready(self, wanted: bool) -> None:
        end = time.monotonic() + harness.START_SECONDS
        while self.cluster.front_ends[0].ready() != wanted:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)


if __name__ == "__main__":
    harness.main()
