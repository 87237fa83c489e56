"""Shards of several replicas that apply a log in Apache Kafka: the answers are those of one process, and nothing that
was acknowledged goes when processes, disks or brokers do."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import tempfile
import threading
import time
import uuid
from typing import Any, Callable, Iterator, Optional

import cluster
import harness
import mneme
import numpy as np
from cluster_parity_test import Rewritten, Workload
from kafka_brokers import KafkaBrokers

BATCH = 10
# What a caller hears while a process or a broker goes, and asks again after with the same request id.
AGAIN = (mneme.Unavailable, mneme.DeadlineExceeded, mneme.Cancelled, mneme.ResourceExhausted)


class Writer(threading.Thread):
    """Writes batches without ids, each with a request id of its own, at front ends in turn, until it is stopped: one
    that was not acknowledged is written again at the next."""

    def __init__(self, front_ends: list[harness.Server], memory: str, seconds: float = 120.0) -> None:
        super().__init__()
        self.front_ends, self.memory, self.seconds = front_ends, memory, seconds
        self.ids: list[Any] = []
        self.versions: list[bytes] = []
        self.again = 0
        self.slowest = 0.0
        self.failure: Optional[BaseException] = None
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            # Addresses are asked anew: a front end that was started again has another port.
            at = 0
            while not self._stop_asked.is_set():
                number, request_id = len(self.ids), str(uuid.uuid4())
                start = time.monotonic()
                while not self._write(number, request_id, self.front_ends[at % len(self.front_ends)]):
                    if time.monotonic() - start > self.seconds:
                        raise AssertionError(f"batch {number} was not acknowledged in {self.seconds} s")
                    at += 1
                    self.again += 1
                    time.sleep(0.05)
                self.slowest = max(self.slowest, time.monotonic() - start)
        except BaseException as error:  # for whoever joins it
            self.failure = error

    def _write(self, number: int, request_id: str, front_end: harness.Server) -> bool:
        keys = np.full((BATCH, 4), number, np.float32)
        try:
            with mneme.connect(front_end.address, timeout=15, attempts=1) as client:
                got = client.memory(self.memory).insert(keys, np.full(BATCH, number % 100), request_id=request_id)
        except AGAIN:
            return False
        self.ids.append(got.ids)
        self.versions.append(got.version)
        return True

    def end(self) -> Any:
        """The ids that were given."""
        self._stop_asked.set()
        self.join(self.seconds + 60)
        if self.failure is not None:
            raise self.failure
        return np.concatenate(self.ids) if self.ids else np.zeros(0, np.uint64)


class KafkaTest(harness.SystemTest):
    """Brokers that the tests of a class share, each with a topic and a deployment of its own."""

    BROKERS = 1

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mneme-kafka-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.kafka = KafkaBrokers(cls.folder / "brokers", cls.BROKERS)
        cls.addClassCleanup(cls.kafka.kill)

    def topic(self, partitions: int = 2) -> str:
        name = f"mneme-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topic(name, partitions)
        self.kafka.create_topic(f"{name}-catalogue", 1)
        return self.kafka.url(name)

    def start(self, shards: int = 2, replicas: int = 2, front_ends: int = 2) -> cluster.ReplicatedCluster:
        started = cluster.ReplicatedCluster(self.scratch / "cluster", self.topic(shards), shards, replicas, front_ends)
        self.addCleanup(started.kill)
        return started

    def views(self, deployment: cluster.ReplicatedCluster) -> Iterator[harness.Server]:
        """Front ends of which each reads one replica of shard 1 alone."""
        first, second = deployment.addresses
        for number, address in enumerate(second):
            view = deployment.front_end(f"view-{number}", [first[:1], [address]])
            self.addCleanup(view.kill)
            yield view

    def check(self, deployment: cluster.ReplicatedCluster, memory: str, ids: Any) -> None:
        """Nothing that was acknowledged is lost, and nothing is there twice, on any replica."""
        self.assertGreater(len(ids), 0)
        self.assertEqual(len(np.unique(ids)), len(ids), "an id was given twice")
        deployment.await_even()
        for front_end in (*deployment.front_ends, *self.views(deployment)):
            wiki = front_end.client.memory(memory)
            stored = np.concatenate([page.ids for page in wiki.scan()])
            self.assertEqual(len(np.unique(stored)), len(stored), "an entry is there twice")
            lost = np.setdiff1d(ids, stored)
            self.assertEqual(lost.tolist(), [], "acknowledged and not there")
            # Of a batch that nobody was told of all entries are there, or none: it is one record.
            self.assertEqual((len(stored) - len(ids)) % BATCH, 0)
            self.assertEqual(wiki.count(), len(stored))


def content(client: mneme.Client, memory: str) -> Any:
    """All that a memory has, in the order of its shards."""
    wiki = client.memory(memory)
    pages = list(wiki.scan(with_keys=True, partitions="all"))
    sessions = [each.session for each in wiki.sessions()]
    return cluster.plain([pages, [[name, wiki.session(name).export()] for name in sessions]], frozenset({"version"}))


class Replicas(KafkaTest):
    maxDiff = 4_000

    def test_prunes_and_exports_come_to_what_one_process_comes_to(self) -> None:
        folders = [self.scratch / "one-files", self.scratch / "several-files"]
        for folder in folders:
            folder.mkdir()
        one = Rewritten(self.serve("one", "--shards", "2").client, folders[0], harness.SEED)
        one.run()
        deployment = self.start()
        several = Rewritten(deployment.client, folders[1], harness.SEED)
        several.run()
        self.assertEqual(list(several.exact), list(one.exact))
        for name, answer in one.exact.items():
            with self.subTest(name):
                self.assertEqual(several.exact[name], answer)
        deployment.await_even()
        left = several.exact["spread, left"]
        front_end = deployment.front_ends[0]
        front_end.cli("cluster", "show", "--digest")  # exits with 1 when replicas of a shard differ
        self.assertEqual(deployment.front_ends[1].client.memory("spread").count(), left)
        for view in self.views(deployment):
            self.assertEqual(view.client.memory("spread").count(), left)

    def test_a_prune_ends_with_its_replica_and_is_asked_again(self) -> None:
        deployment = self.start(shards=1, front_ends=1)
        wiki = deployment.client.create_memory("wiki", 4, vocab_size=10)
        keys = np.repeat(self.random.normal(size=(1_500, 4)).astype(np.float32), 4, axis=0)
        tokens = np.repeat(np.arange(1_500) % 10, 4)
        wiki.insert(keys, tokens, ids=np.arange(6_000))
        deployment.await_even()
        second = deployment.shards[0][1]

        def kill_second(stage: str, done: int, _: int) -> None:
            if stage == "writing" and done > 0 and second.alive():
                second.kill()

        try:
            wiki.prune(4, search=mneme.Search(exact=True), progress=kill_second)
        except mneme.MnemeError as error:
            harness.note(f"the prune ended with its replica: {error}")
        if not second.alive():
            second.start()
        deployment.await_even()  # what it had appended when it died is applied before another chooses
        done = wiki.prune(4, search=mneme.Search(exact=True))
        self.assertEqual(wiki.count(), done.entries - done.merged)
        self.assertEqual(sum(float(weight) for page in wiki.scan() for weight in page.weights), 6_000)
        deployment.await_even()
        deployment.front_ends[0].cli("cluster", "show", "--digest")

    def test_it_answers_as_one_process_does(self) -> None:
        one = Workload(self.serve("one", "--shards", "2").client, harness.SEED)
        one.run()
        several = Workload(self.start(front_ends=1).client, harness.SEED)
        several.run()
        self.assertEqual(list(several.exact), list(one.exact))
        self.assertGreater(len(one.exact), 130)
        for name, answer in one.exact.items():
            with self.subTest(name):
                self.assertEqual(several.exact[name], answer)
        for name, answer in one.sums.items():
            with self.subTest(name):
                np.testing.assert_array_equal(several.sums[name].labels, answer.labels)
                np.testing.assert_array_equal(several.sums[name].counts, answer.counts)
                np.testing.assert_allclose(several.sums[name].centroids, answer.centroids, rtol=1e-12, atol=1e-12)

    def test_nothing_acknowledged_is_lost_or_there_twice_when_processes_are_killed(self) -> None:
        deployment = self.start()
        deployment.client.create_memory("wiki", 4, vocab_size=100)
        writers = [Writer(deployment.front_ends[at:] + deployment.front_ends[:at], "wiki") for at in range(2)]
        for writer in writers:
            writer.start()
        victims = [
            *(deployment.shards[1][0], deployment.front_ends[0], deployment.shards[0][1]),
            *(deployment.shards[1][1], deployment.front_ends[1], deployment.shards[0][0]),
        ]
        for victim in victims:
            time.sleep(self.random.uniform(0.2, 0.6))  # the moment of the kill is the point of this test
            victim.kill()
            time.sleep(self.random.uniform(0.0, 0.3))
            victim.start()
        time.sleep(0.3)
        ids = np.concatenate([writer.end() for writer in writers])
        self.check(deployment, "wiki", ids)
        again, slowest = sum(each.again for each in writers), max(each.slowest for each in writers)
        harness.note(f"{len(ids) // BATCH} batches, 6 kills, {again} asked again, the slowest took {slowest:.1f} s")

    def test_a_replica_that_is_away_is_not_missed(self) -> None:
        deployment = self.start(front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=1) as client:
            wiki, done = client.memory("wiki"), 4
            for replicas in deployment.shards[1:]:
                for away in replicas:
                    away.kill()
                    for _ in range(5):
                        wiki.insert(np.ones((1, 4), np.float32), [1], ids=[done])
                        done += 1
                        # Its own writes are seen through it whichever replica answers, without a version.
                        self.assertEqual(wiki.count(), done)
                    away.start()
                    deployment.await_even()

    def test_a_version_is_seen_through_the_other_front_end(self) -> None:
        deployment = self.start()
        writer, reader = (front.client for front in deployment.front_ends)
        writer.create_memory("wiki", 2, vocab_size=1_000)
        for number in range(100):
            key = np.full((1, 2), number, np.float32)
            version = writer.memory("wiki").insert(key, [number], ids=[number % 7]).version
            found = reader.memory("wiki").query(key, 1, exact=True, version=version)
            self.assertEqual(found.values.tolist(), [number])
            writer, reader = reader, writer

    def test_a_list_of_receipts_is_of_all_replicas(self) -> None:
        deployment = self.start()
        deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory, other = (front.client.memory("wiki") for front in deployment.front_ends)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        for number in range(20):
            memory.delete(ids=[number % 4])
            # Through whichever front end, and whichever replica has told of the deletion.
            self.assertEqual(len(other.receipts()), 2 * (number + 1))
            memory, other = other, memory
        listed = other.receipts()
        self.assertEqual(sum(each.deleted for each in listed), 4)
        self.assertEqual([memory.receipt(each.id) for each in listed], listed)
        for away in deployment.shards[1]:
            away.kill()
            with mneme.connect(deployment.front_ends[1].address, timeout=30, attempts=1) as client:
                with self.assertRaisesRegex(mneme.Unavailable, "shard 1"):
                    client.memory("wiki").receipts()
            away.start()
            deployment.await_even()
        self.assertEqual(other.receipts(), listed)

    def test_registers_are_linearizable_through_two_front_ends(self) -> None:
        deployment = self.start()
        deployment.client.create_memory("wm", 2)
        stale: list[int] = []

        def work(front: harness.Server) -> None:
            with mneme.connect(front.address, timeout=60) as client:
                session, seen, done = client.memory("wm").session("shared"), 0, 0
                while done < 25:
                    state = session.get("counter")
                    stale.extend([state.version] if state.version < seen else [])
                    try:
                        seen = session.cas("counter", state.version, str(int(state.value or b"0") + 1).encode()).version
                        done += 1
                    except mneme.Aborted:
                        pass

        workers = [threading.Thread(target=work, args=(front,)) for front in deployment.front_ends]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        state = deployment.client.memory("wm").session("shared").get("counter")
        self.assertEqual((state.value, state.version, stale), (b"50", 50, []))

    def test_a_replica_that_lost_its_disk_is_made_anew_from_the_log(self) -> None:
        deployment = self.start(front_ends=1)
        client = deployment.client
        memory, keys = cluster.fill(client, self.random)
        client.create_memory("rare", 6, metric="cosine", vocab_size=50, capacity=20)
        for _ in range(4):
            client.memory("rare").remember(self.random.normal(size=(8, 6)), self.random.integers(0, 50, 8))
        lost = [deployment.shards[0][1], deployment.shards[1][1]]
        for replica in lost:
            replica.kill()
            shutil.rmtree(replica.data_dir)
        memory.insert(keys[:10], np.arange(10), ids=5_000 + np.arange(10))
        for replica in lost:
            replica.start()
            self.assertIn("log_replaying", replica.tail_of_log())
        deployment.await_even()
        first, second = (view.client for view in self.views(deployment))
        for name in ("wiki", "rare"):
            self.assertEqual(content(first, name), content(second, name))
        for replicas in deployment.shards:
            entries = {each.metrics()["mneme_entries"] for each in replicas}
            self.assertEqual(len(entries), 1, entries)

    def test_a_write_longer_than_a_record_is_cut_and_made_once(self) -> None:
        deployment = self.start(front_ends=1)
        memory = deployment.client.create_memory("wide", 512, vocab_size=100)
        keys = self.random.normal(size=(12_000, 512)).astype(np.float32)  # 24 MB
        request_id = str(uuid.uuid4())
        for replayed in (False, True):
            got = memory.insert(keys, np.arange(12_000) % 100, request_id=request_id)
            self.assertEqual((got.inserted, len(np.unique(got.ids)), got.replayed), (12_000, 12_000, replayed))
        self.assertEqual(memory.count(), 12_000)
        found = memory.query(keys[::1_000], 1, exact=True)
        self.assertEqual(found.distances.max(), 0)

    def test_names_are_told_while_the_brokers_are_away(self) -> None:
        deployment = self.start(front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        deployment.await_even()
        teller, broker = deployment.shards[0][0], self.kafka.brokers[0]
        broker.freeze()
        starting = threading.Thread(target=teller.start)
        try:
            with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=1) as client:
                time.sleep(4.0)  # beyond every lease that was given by the log
                self.assertEqual(client.memory("wiki").count(), 4)
            teller.kill()
            starting.start()
            with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=60) as client:
                # The two tell names by what they promise each other: when the second is back, and not before.
                self.assertEqual(client.memory("wiki").count(), 4)
                self.assertEqual([each.name for each in client.memories()], ["wiki"])
                time.sleep(2.5)  # beyond what the front end may tell by itself
                self.assertEqual(client.memory("wiki").count(), 4)
            with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=1) as client:
                with self.assertRaises((mneme.Unavailable, mneme.DeadlineExceeded)):
                    client.create_memory("other", 4, vocab_size=100)
        finally:
            broker.thaw()
            starting.join(harness.START_SECONDS)
        self.assertFalse(starting.is_alive())
        self.assertTrue(teller.alive(), teller.tail_of_log())
        memory.insert(np.ones((1, 4), np.float32), [1], ids=[9])
        self.assertEqual(memory.count(), 5)

    def test_names_go_on_when_a_replica_that_tells_them_is_killed(self) -> None:
        deployment = self.start()
        first, second = (mneme.connect(each.address, timeout=30, attempts=1) for each in deployment.front_ends)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        first.create_memory("wiki", 4, vocab_size=100).insert(np.eye(4, dtype=np.float32), np.arange(4))
        deployment.await_even()
        for number, dead in enumerate(deployment.shards[0]):
            dead.kill()
            end = time.monotonic() + 4.0  # longer than any lease
            while time.monotonic() < end:
                for client in (first, second):
                    self.assertEqual(client.memory("wiki").count(), 4)
                time.sleep(0.1)
            start = time.monotonic()
            first.create_memory(f"made-{number}", 4, vocab_size=100)
            self.assertIn(f"made-{number}", [each.name for each in second.memories()])
            second.set_alias("live", f"made-{number}")
            second.drop_memory("wiki")
            harness.note(f"three changes with a replica away took {time.monotonic() - start:.1f} s")
            for client in (first, second):
                with self.assertRaises(mneme.NotFound):
                    client.memory("wiki").count()
                self.assertEqual(client.memory("live").count(), 0)
            with self.assertRaises(mneme.AlreadyExists):
                second.create_memory(f"made-{number}", 4, vocab_size=100)
            first.create_memory("wiki", 4, vocab_size=100).insert(np.eye(4, dtype=np.float32), np.arange(4))
            dead.start()
            deployment.await_even()
        names = {each.name for each in first.memories()}
        self.assertEqual(names, {"wiki", "made-0", "made-1"})

    def test_a_replica_that_tells_names_and_lost_its_disk_has_them_from_their_log(self) -> None:
        deployment = self.start(front_ends=1)
        client = deployment.client
        for name in ("a", "b", "gone"):
            client.create_memory(name, 4, vocab_size=100).insert(np.eye(4, dtype=np.float32), np.arange(4))
        client.set_alias("live", "a")
        client.drop_memory("gone")
        topic = deployment.log.rsplit("/", 1)[1]
        for number, lost in enumerate(deployment.shards[0]):
            lost.kill()
            shutil.rmtree(lost.data_dir)
            client.create_memory(f"meanwhile-{number}", 4, vocab_size=100)
            if number == 1:  # from the other replica: the log does not begin at its first record any more
                self.kafka.delete_records(f"{topic}-catalogue", 0, 5)
            lost.start()
            self.assertEqual("names_taken" in lost.tail_of_log(), number == 1)
            deployment.await_even()
            # By its names alone.
            deployment.shards[0][1 - number].kill()
            with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=20) as alone:
                names = {each.name for each in alone.memories()}
                self.assertEqual(names, {"a", "b", *(f"meanwhile-{each}" for each in range(number + 1))})
                self.assertEqual(alone.memory("live").count(), 4)
                alone.create_memory("brief", 4, vocab_size=100)
                alone.drop_memory("brief")
            deployment.shards[0][1 - number].start()
            deployment.await_even()

    def test_a_lease_is_of_the_replica_that_gave_it(self) -> None:
        deployment = self.start(shards=1, front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        pinned = memory.lease(60)
        memory.delete(ids=[0])
        self.assertEqual((pinned.count(), memory.count()), (4, 3))
        held = [each.metrics()["mneme_leases"] for each in deployment.replicas]
        self.assertEqual(sorted(held), [0, 1])
        holder = deployment.replicas[held.index(1)]
        holder.kill()
        holder.start()
        with self.assertRaises(mneme.FailedPrecondition) as refused:
            pinned.count()
        self.assertEqual(refused.exception.reason, "LEASE_EXPIRED")
        self.assertEqual(memory.count(), 3)

    def test_what_does_not_belong_together_says_so(self) -> None:
        deployment = self.start(shards=1, front_ends=1)
        deployment.client.create_memory("wiki", 2).insert(np.eye(2, dtype=np.float32), [1, 2])
        second = deployment.shards[0][1]
        second.kill()
        addresses = deployment.addresses[0]
        with self.assertRaisesRegex(harness.ServerDied, "cannot be opened without --log"):
            harness.Server(
                second.data_dir, "--role", "shard", "--shard-number", "0", "--shard-addresses", addresses[0]
            )
        deployment.shards[0][0].kill()
        # Another topic's names are not those of the directory.
        with self.assertRaisesRegex(harness.ServerDied, "log of names"):
            cluster.ReplicaProcess(second.data_dir, (0, 0), deployment.addresses, self.topic(1))
        # An empty topic for entries, and none for names.
        bare = f"mneme-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topic(bare, 1)
        with self.assertRaisesRegex(harness.ServerDied, f"{bare}-catalogue"):
            cluster.ReplicaProcess(self.scratch / "bare", (0, 0), deployment.addresses, self.kafka.url(bare))
        with self.assertRaisesRegex(harness.ServerDied, "--log kafka://"):
            two = [[addresses[0]], [addresses[1]]]
            cluster.ReplicaProcess(self.scratch / "none", (1, 0), two, self.kafka.url("nobody-made-it"))
        for replica in deployment.shards[0]:
            replica.start()
        wiki = deployment.client.memory("wiki")
        self.assertEqual(wiki.count(), 2)  # once the front end is told names again


class Faults(KafkaTest):
    """What brokers do to it. In full: random kills of everything, round after round."""

    BROKERS = 3
    ROUNDS = 12

    def freeze(self, process: Any) -> Callable[[], None]:
        os.kill(process.pid, signal.SIGSTOP)
        return lambda: os.kill(process.pid, signal.SIGCONT)

    def written_through(self, faults: Callable[[cluster.ReplicatedCluster], None]) -> cluster.ReplicatedCluster:
        """Two writers write while faults happen; then everything that was acknowledged is there once."""
        deployment = self.start()
        deployment.client.create_memory("wiki", 4, vocab_size=100)
        writers = [Writer(deployment.front_ends[at:] + deployment.front_ends[:at], "wiki", 240.0) for at in range(2)]
        for writer in writers:
            writer.start()
        time.sleep(0.5)
        faults(deployment)
        time.sleep(1.0)
        ids = np.concatenate([writer.end() for writer in writers])
        self.check(deployment, "wiki", ids)
        again, slowest = sum(each.again for each in writers), max(each.slowest for each in writers)
        harness.note(f"{len(ids) // BATCH} batches, {again} asked again, the slowest took {slowest:.1f} s")
        return deployment

    def leader(self, deployment: cluster.ReplicatedCluster) -> Any:
        return self.kafka.leader(deployment.log.rsplit("/", 1)[1], 1)

    def test_a_broker_that_is_killed_costs_nothing_acknowledged(self) -> None:
        def faults(deployment: cluster.ReplicatedCluster) -> None:
            for _ in range(2):
                leader = self.leader(deployment)
                leader.kill()
                time.sleep(8)
                leader.start()
                self.kafka.await_in_sync(deployment.log.rsplit("/", 1)[1], 3)

        self.written_through(faults)

    def test_a_broker_that_sleeps_costs_nothing_acknowledged(self) -> None:
        def faults(deployment: cluster.ReplicatedCluster) -> None:
            leader = self.leader(deployment)
            leader.freeze()
            time.sleep(12)
            leader.thaw()
            self.kafka.await_in_sync(deployment.log.rsplit("/", 1)[1], 3)

        self.written_through(faults)

    def test_without_a_majority_of_brokers_nothing_is_acknowledged_and_reads_go_on(self) -> None:
        deployment = self.start()
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        gone = self.kafka.brokers[:2]
        for broker in gone:
            broker.kill()
        try:
            with mneme.connect(deployment.front_ends[0].address, timeout=90, attempts=1) as client:
                with self.assertRaises(AGAIN):
                    client.memory("wiki").insert(np.ones((1, 4), np.float32), [1], ids=[9])
                self.assertEqual(client.memory("wiki").count(), 4)
        finally:
            for broker in gone:
                broker.start()
            self.kafka.await_in_sync(deployment.log.rsplit("/", 1)[1], 3)
        with mneme.connect(deployment.front_ends[1].address, timeout=90, attempts=30) as client:
            client.memory("wiki").insert(np.ones((1, 4), np.float32), [1], ids=[10])
            # The one that was not acknowledged may be there by now, or not.
            self.assertIn(client.memory("wiki").count(), (5, 6))

    def test_random_kills_of_everything(self) -> None:
        rounds = random.Random(harness.SEED)

        def faults(deployment: cluster.ReplicatedCluster) -> None:
            for number in range(self.ROUNDS):
                broker = rounds.choice(self.kafka.brokers)
                process = rounds.choice([*deployment.replicas, *deployment.front_ends])
                kind = rounds.choice(["kill", "freeze"])
                harness.note(f"round {number + 1}: broker {broker.number}, {kind} of {process.data_dir.name}")
                broker.kill()
                if kind == "freeze":
                    thaw = self.freeze(process)
                    time.sleep(rounds.uniform(0.5, 4.0))
                    thaw()
                else:
                    process.kill()
                    time.sleep(rounds.uniform(0.0, 2.0))
                    process.start()
                broker.start()
                self.kafka.await_in_sync(deployment.log.rsplit("/", 1)[1], 3)

        self.written_through(faults)


if not harness.FULL:
    del Faults  # minutes, and three brokers


if __name__ == "__main__":
    harness.main()
