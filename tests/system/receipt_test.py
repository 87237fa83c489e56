"""What the receipt of a deletion says, asked by the command line and by the Python client, is so: the bytes of a key
are looked for in every file of the data directory and of the backups."""

import itertools
import json
import subprocess
import time

import cluster
import harness
import mneme
import numpy as np
import processes
from mneme._proto import receipts_pb2

DIMENSION, ROWS = 16, (200_000 if harness.FULL else 2_000)
CANARY = np.array([4321.5 + i / 8 for i in range(DIMENSION)], np.float32)


def files_with(folder, key):
    """Names of the files below `folder` that have the bytes of a key. Files may go meanwhile."""
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and key.tobytes() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            pass
    return found


class Receipts(harness.SystemTest):
    def cli(self, server, *words, code=0):
        command = [str(harness.BIN / "mneme"), "--server", server.address, *map(str, words), "-o", "json"]
        done = subprocess.run(command, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return json.loads(done.stdout) if code == 0 else done.stderr.decode()

    def fill(self, server, build=True):
        memory = server.client.create_memory("wiki", DIMENSION)
        keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
        memory.insert(keys, np.arange(ROWS) % 1000, ids=np.arange(ROWS) + 100, sources=np.full(ROWS, 1))
        memory.insert(CANARY[None], [7], ids=[7], sources=[9])
        if build:
            memory.build()
        return memory, keys

    def test_the_bytes_are_gone_when_the_receipt_says_so(self):
        server = self.serve("data", "--erase-after", "5", "--backup-dir", str(self.scratch / "backups"))
        memory, keys = self.fill(server)
        self.cli(server, "backup")
        self.assertTrue(files_with(server.data_dir, CANARY), "else this test could not fail")
        self.assertTrue(files_with(self.scratch / "backups", CANARY))

        deleted = self.cli(server, "delete", "wiki", "--source", 9)
        self.assertEqual(deleted["deleted"], 1)
        (receipt,) = deleted["receipts"]
        self.assertEqual(memory.count(), ROWS)
        shown = self.cli(server, "receipt", "show", receipt)
        self.assertEqual((shown["state"], shown["deleted"], shown["index_at_ms"]), ("hidden", 1, 0))
        self.assertEqual([each["number"] for each in shown["backups"]], [1])
        self.assertTrue(files_with(server.data_dir, CANARY), "hidden is not gone")
        waits = processes.await_true(lambda: server.metrics()["mneme_unerased_deletions"] == 1, 4)
        self.assertTrue(waits, "for 5 seconds, of which it is looked for every quarter of one")

        shown = self.cli(server, "receipt", "show", receipt, "--wait", "rocksdb", "--within", 240)
        self.assertEqual(shown["state"], "rocksdb", "a backup has it")
        self.assertEqual(files_with(server.data_dir, CANARY), [])
        self.assertTrue(files_with(server.data_dir, keys[5]), "what stays is there")
        self.assertEqual([each["number"] for each in shown["backups"]], [1])
        self.assertTrue(files_with(self.scratch / "backups", CANARY))
        late = self.cli(server, "receipt", "show", receipt, "--wait", "snapshots", "--within", 1, code=1)
        self.assertIn("rocksdb", late)

        self.cli(server, "backup", "--keep", 1)
        self.assertEqual(self.cli(server, "receipt", "show", receipt, "--wait", "snapshots")["backups"], [])
        self.assertEqual(files_with(self.scratch / "backups", CANARY), [])
        (listed,) = self.cli(server, "receipt", "list", "wiki")["receipts"]
        self.assertEqual((listed["receipt"], listed["state"]), (receipt, "snapshots"))
        np.testing.assert_array_equal(memory.query(keys[5:6], 1, exact=True).ids, [105])

    def test_a_killed_server_goes_on_and_keeps_its_receipts(self):
        server = self.serve("data", "--erase-after", "2")
        memory, _ = self.fill(server)
        deleted = memory.delete(ids=[7])
        self.assertEqual(memory.receipt(deleted.receipt).state, "hidden")
        for _ in range(6 if not harness.FULL else 60):  # wherever it is
            time.sleep(float(self.random.uniform(0.2, 1.5)))
            server.kill()
            server.start()
            memory = server.client.memory("wiki")
        got = memory.receipt(deleted.receipt, wait="rocksdb", within=240)
        self.assertTrue(got.reached("index") and not got.reached("snapshots"))
        self.assertFalse(got.backups_known)
        self.assertGreaterEqual(got.rocksdb_at_ms, got.index_at_ms)
        self.assertEqual(files_with(server.data_dir, CANARY), [])
        self.assertEqual(memory.count(), ROWS)
        self.assertEqual([each.id for each in memory.receipts()], [deleted.receipt])

    def test_a_receipt_is_of_its_partitions_and_of_its_memory(self):
        server = self.serve("data")
        memory, keys = self.fill(server)
        memory.insert(keys[:3], [1, 2, 3], partition=4)
        deleted = memory.delete(everything=True, partitions=[4])
        got = memory.receipt(deleted.receipt, partitions=[4])
        self.assertEqual((got.deleted, got.partitions, got.state), (3, [4], "hidden"))
        with self.assertRaises(mneme.NotFound) as caught:
            memory.receipt(deleted.receipt)
        self.assertEqual(caught.exception.reason, "RECEIPT_NOT_FOUND")
        other = server.client.create_memory("other", DIMENSION)
        with self.assertRaises(mneme.FailedPrecondition):
            other.receipt(deleted.receipt, partitions=[4])
        with self.assertRaises(mneme.InvalidArgument):
            memory.receipt("nonsense")
        with self.assertRaises(TimeoutError):
            memory.receipt(deleted.receipt, partitions=[4], wait="rocksdb", within=0.1)
        self.assertEqual(memory.delete(ids=[100], dry_run=True).receipt, "")
        again = memory.delete(ids=[100], request_id="once")
        self.assertEqual(memory.delete(ids=[100], request_id="once").receipt, again.receipt, "a retry has the first's")
        self.assertIn("must be MEMORY:PARTITIONS:ID", self.cli(server, "receipt", "show", "wiki", code=2))
        late = self.cli(server, "receipt", "show", "wiki:0:" + again.receipt, "--wait", "snapshots", code=1)
        self.assertIn("--backup-dir", late)

    def test_a_front_end_tells_the_least_of_all_shards(self):
        deployment = cluster.Cluster(self.scratch / "cluster", 2, 1, "--erase-after", "3")
        self.addCleanup(deployment.kill)
        memory, _ = self.fill(deployment.front_ends[0], build=False)
        folder = self.scratch / "cluster"
        self.assertTrue(files_with(folder, CANARY), "else this test could not fail")
        deleted = memory.delete(sources=[9])
        self.assertEqual(memory.receipt(deleted.receipt).state, "hidden")
        got = memory.receipt(deleted.receipt, wait="rocksdb", within=240)
        self.assertEqual((got.state, got.deleted, got.backups_known), ("rocksdb", 1, False))
        self.assertEqual(files_with(folder, CANARY), [])
        listed = memory.receipts()
        self.assertEqual([each.state for each in listed], ["rocksdb"] * 2, "one for each shard that it went to")
        self.assertEqual(sum(each.deleted for each in listed), 1)
        deployment.shards[1].kill()
        with self.assertRaises(mneme.Unavailable):
            memory.receipt(deleted.receipt, timeout=5)

    def pages(self, front_ends, size):
        """All receipts of "wiki", page by page, each of another front end than the one before."""
        request = receipts_pb2.ListReceiptsRequest(memory="wiki", page_size=size)
        found = []
        for front_end in itertools.cycle(front_ends):
            memory = front_end.client.memory("wiki")
            page = memory._caller.call(memory._data.ListReceipts, request)
            found += page.receipts
            request.page_token = page.next_page_token
            if not request.page_token:
                return found
            self.assertEqual(len(page.receipts), size)

    def test_a_list_is_the_same_through_any_front_end(self):
        deployment = cluster.Cluster(self.scratch / "cluster", 2, 2)
        self.addCleanup(deployment.kill)
        first, second = deployment.front_ends
        memory, _ = self.fill(first, build=False)
        for number in range(10):
            self.assertEqual(memory.delete(ids=[100 + number]).deleted, 1)
            listed = second.client.memory("wiki").receipts()
            self.assertEqual(sum(each.deleted for each in listed), number + 1, "all that was acknowledged")
        self.assertEqual(len(listed), 20, "one for each shard of each deletion")
        for half in (listed[:10], listed[10:]):
            self.assertEqual(sorted(half, key=lambda each: each.deleted_at_ms), half, "by shard, then by age")
        for each in listed:
            self.assertEqual(memory.receipt(each.id), each)
        for size in (1, 3, 10, 20, 1000):
            self.assertEqual([each.id for each in self.pages((first, second), size)], [each.id for each in listed])
        shown = self.cli(first, "receipt", "list", "wiki")["receipts"]
        self.assertEqual([each["receipt"].split(":")[2] for each in shown], [each.id for each in listed])
        other = first.client.create_memory("other", DIMENSION)
        self.assertEqual(other.receipts(), [])
        request = receipts_pb2.ListReceiptsRequest(memory="wiki", page_size=3)
        token = memory._caller.call(memory._data.ListReceipts, request).next_page_token
        for name, strange, refusal in (
            ("other", token, mneme.FailedPrecondition),
            ("wiki", b"nonsense", mneme.InvalidArgument),
        ):
            request = receipts_pb2.ListReceiptsRequest(memory=name, page_token=strange)
            with self.assertRaisesRegex(refusal, "page_token"):
                memory._caller.call(memory._data.ListReceipts, request)
        deployment.shards[1].kill()
        with mneme.connect(second.address, timeout=10, attempts=1) as client:
            with self.assertRaisesRegex(mneme.Unavailable, "shard 1"):
                client.memory("wiki").receipts()
        deployment.shards[1].start()
        self.assertEqual(memory.receipts(), listed)


if __name__ == "__main__":
    harness.main()
