"""A server whose wall clock somebody sets while it works, by an hour, by ten years, to and fro, or that stands still:
entries and sessions go when their time has come by that clock and not before, nothing else goes, and what lasts a while
(deadlines, leases, connections) lasts as long as it was to. tests/system/shifted_clock.cc is what sets it."""

from __future__ import annotations

import itertools
import pathlib
import signal
import struct
import threading
import time
import uuid
from typing import Any, Callable, Optional

import cluster
import harness
import kafka_test
import mneme
import numpy as np
import processes
from mneme import working

HOUR, YEAR = 3_600, 365 * 24 * 3_600
LIBRARY = harness.BIN / "shifted_clock.so"
# What any call has here; and what a call that takes a moment may take beside other work.
CALL_S, LATE_S = 10.0, 5.0
SWEPT_S = 30.0  # what expired goes within ten seconds (docs/architecture.md)
STORM_S = 20.0 if harness.FULL else 2.0
ROUNDS = 5 if harness.FULL else 1


class WallClock:
    """That of the servers that are given its `environment`."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self._write(0, 0)
        self.environment = {"LD_PRELOAD": str(LIBRARY), "SHIFTED_CLOCK": str(path)}

    def set(self, seconds: float) -> None:
        """So far ahead of this machine's, and going."""
        self._write(int(seconds * 1e9), 0)

    def stop(self) -> None:
        self._write(0, time.time_ns())

    def _write(self, shift_ns: int, stands_at_ns: int) -> None:
        # In place: it is mapped.
        with open(self.path, "r+b" if self.path.exists() else "w+b", buffering=0) as file:
            file.write(struct.pack("<qq", shift_ns, stands_at_ns))


class Load(threading.Thread):
    """Writes batches and counts, each with what it asks of them, one call at a time: each has to be answered."""

    def __init__(self, address: str, memory: str) -> None:
        super().__init__()
        self.client = mneme.connect(address, timeout=CALL_S, attempts=1)
        self.memory = self.client.memory(memory)
        self.batches, self.slowest = 0, 0.0
        self.failure: Optional[BaseException] = None
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self.step()
                self.batches += 1
        except BaseException as error:  # for whoever joins it
            self.failure = error

    def step(self) -> None:
        ids = np.arange(10) + 10 * self.batches
        keys, values = np.full((10, 4), self.batches, np.float32), np.full(10, self.batches % 100)
        request_id = str(uuid.uuid4())
        for again in (False, True):
            got = self.timed(lambda: self.memory.insert(keys, values, ids=ids, request_id=request_id))
            assert got.replayed == again, f"asked {'again' if again else 'first'}: replayed is {got.replayed}"
        found = self.timed(lambda: self.memory.query(keys[:1], 1, exact=True, version=got.version))
        assert found.values.tolist() == [self.batches % 100], found
        counter = self.memory.session("load")
        state = self.timed(lambda: counter.put("done", str(self.batches).encode()))
        assert state.version == self.batches + 1, f"a put made version {state.version}, the {self.batches + 1}th"
        count = self.timed(self.memory.count)
        assert count == 10 * (self.batches + 1), f"{count} of {10 * (self.batches + 1)} entries"

    def timed(self, call: Callable[[], Any]) -> Any:
        begin = time.monotonic()
        told = call()
        self.slowest = max(self.slowest, time.monotonic() - begin)
        return told

    def end(self) -> None:
        self._stop_asked.set()
        self.join(60)
        self.client.close()
        if self.failure is not None:
            raise self.failure


class ClockTest(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        self.clock = WallClock(self.scratch / "clock")

    def shifted(self, *flags: str) -> harness.Server:
        class Shifted(harness.Server):
            environment = self.clock.environment

        server = Shifted(self.scratch / "data", *flags)
        self.addCleanup(server.kill)
        return server

    def await_expired(self, server: harness.Server, **wanted: int) -> None:
        """Until the server has removed so many since it started."""

        def told() -> dict[str, int]:
            metrics = server.metrics()
            return {name: int(metrics[f"mneme_expired_{name}_total"]) for name in wanted}

        processes.await_true(lambda: told() == wanted, SWEPT_S)
        self.assertEqual(told(), wanted)


class Expiring:
    """Ten entries, a session and a register for each of some times, and as many that never expire."""

    TIMES = {"half": HOUR / 2, "five": 5 * YEAR, "twenty": 20 * YEAR, "never": None}

    def __init__(self, client: mneme.Client) -> None:
        self.now_ms = int(time.time() * 1_000)
        self.wiki = client.create_memory("wiki", 4, vocab_size=100)
        for number, (name, seconds) in enumerate(self.TIMES.items()):
            expiry = {} if seconds is None else {"expiries_ms": self.now_ms + int(seconds * 1_000)}
            self.wiki.insert(np.full((10, 4), number, np.float32), np.arange(10), ids=self.ids(name), **expiry)
            session = {} if seconds is None else {"session_expiry_ms": self.now_ms + int(seconds * 1_000)}
            self.wiki.apply([working.put(name, "cell", b"1")], **session)
            stored = 0 if seconds is None else self.now_ms + int(seconds * 1_000)
            self.wiki.session("registers").put(name, b"2", expiry_ms=stored)

    def ids(self, name: str) -> Any:
        return 100 * list(self.TIMES).index(name) + np.arange(10)

    def there(self, client: mneme.Client) -> list[str]:
        """Of which times everything is there; of the others nothing may be."""
        wiki, there = client.memory("wiki"), []
        stored = np.sort(np.concatenate([page.ids for page in wiki.scan()]))
        for number, name in enumerate(self.TIMES):
            near = wiki.query(np.full((1, 4), number, np.float32), 10, exact=True)
            told = [
                len(np.intersect1d(stored, self.ids(name))) / 10,
                len(np.intersect1d(near.ids, self.ids(name))) / 10,
                float(wiki.session(name).get("cell").found),
                float(wiki.session("registers").get(name).found),
            ]
            assert told in ([0.0] * 4, [1.0] * 4), f"{name}: {told} of entries, the nearest, session and register"
            there += [name] if told[0] else []
        assert wiki.count() == len(stored) == 10 * len(there), f"{wiki.count()}, {stored}"
        return there


class Clocks(ClockTest):
    def test_what_expires_goes_by_the_clock_and_nothing_else_does(self) -> None:
        server = self.shifted("--shards", "2")
        server.client.create_memory("load", 4, vocab_size=100)
        load = Load(server.address, "load")
        expiring = Expiring(server.client)
        everything = ["half", "five", "twenty", "never"]
        load.start()
        try:
            for shift, there, gone in (
                (0, everything, 0),
                (-HOUR, everything, 0),
                (-10 * YEAR, everything, 0),
                (0, everything, 0),
                (HOUR, everything[1:], 1),
                (0, everything[1:], 1),  # what went is not back
                (-10 * YEAR, everything[1:], 1),
                (10 * YEAR, everything[2:], 2),
                (-HOUR, everything[2:], 2),
                (0, everything[2:], 2),
            ):
                with self.subTest(shift=shift):
                    self.clock.set(shift)
                    self.assertEqual(expiring.there(server.client), there)
                    self.await_expired(server, entries=10 * gone, sessions=gone, states=gone)
                    self.assertEqual(expiring.there(server.client), there)
                    self.assertTrue(server.ready())
            self.clock.stop()
            time.sleep(1.5)  # a clock that stands still for a while
            self.assertEqual(expiring.there(server.client), everything[2:])
        finally:
            load.end()
        harness.note(f"{load.batches} batches of the load, the slowest call took {load.slowest:.2f} s")
        self.assertLess(load.slowest, LATE_S)
        self.assertEqual(server.stop(), 0, "while the clock stands still")
        for shift in (10 * YEAR, -10 * YEAR, 0):
            with self.subTest("opened", shift=shift):
                self.clock.set(shift)
                server.start()
                self.assertEqual(expiring.there(server.client), everything[2:])
                memory = server.client.memory("load")
                self.assertEqual(memory.count(), 10 * load.batches)
                memory.insert(np.ones((1, 4), np.float32), [1], ids=[0])  # over one that is there
                self.assertTrue(server.ready())
                self.assertEqual(server.stop(), 0)

    def test_calls_keep_their_deadlines_while_the_clock_goes_to_and_fro(self) -> None:
        server = self.shifted()
        memory = server.client.create_memory("load", 4, vocab_size=100)
        version = memory.insert(np.zeros((1, 4), np.float32), [0], ids=[0]).version
        load = Load(server.address, "load")
        load.start()
        end, shifts, waits = time.monotonic() + STORM_S, itertools.cycle([HOUR, 0, -HOUR, 10 * YEAR, -10 * YEAR]), []

        def wait_in_vain() -> None:
            """For a version that never comes, each time a second."""
            while time.monotonic() < end:
                begin = time.monotonic()
                try:
                    memory.query(np.zeros((1, 4), np.float32), 1, version=far_ahead(version), timeout=1.0)
                except mneme.DeadlineExceeded:
                    waits.append(time.monotonic() - begin)

        waiter = threading.Thread(target=wait_in_vain)
        waiter.start()
        jumps = 0
        while time.monotonic() < end:
            self.clock.set(next(shifts))
            jumps += 1
            time.sleep(0.004)  # so that many calls are under way when it is set
        self.clock.set(-HOUR)
        waiter.join(60)
        load.end()
        self.assertGreater(load.batches, 0)
        self.assertLess(load.slowest, LATE_S)
        self.assertGreater(len(waits), 0)
        self.assertGreaterEqual(min(waits), 0.9)
        self.assertLess(max(waits), 1.0 + LATE_S)
        self.assertEqual(server.metrics()["mneme_expired_entries_total"], 0)
        harness.note(
            f"{jumps} jumps under {load.batches} batches, the slowest call took {load.slowest:.2f} s; of "
            f"{len(waits)} calls that had a second the longest took {max(waits):.2f} s"
        )
        self.assertEqual(server.stop(), 0, "with a clock that was set back")

    def test_a_write_that_is_asked_for_again_after_a_jump_is_made_once(self) -> None:
        server = self.shifted("--shards", "2")
        memory = server.client.create_memory("wiki", 4, vocab_size=100)
        add = [working.count("agent", "seen", [1], [1])]
        first_ids, first_count = None, None
        for shift in (0, HOUR, 0, -HOUR, 10 * YEAR, -10 * YEAR, 0):
            with self.subTest(shift=shift):
                self.clock.set(shift)
                told = memory.insert(np.ones((20, 4), np.float32), np.arange(20), request_id="entries")
                count = memory.apply(add, request_id="counter")
                first_ids = told.ids if first_ids is None else first_ids
                first_count = count if first_count is None else first_count
                self.assertEqual(told.ids.tolist(), first_ids.tolist())
                self.assertEqual(count, first_count)
                self.assertEqual(memory.count(), 20)

    def test_a_lease_lasts_as_long_as_it_was_given_for(self) -> None:
        server = self.shifted()
        memory = server.client.create_memory("wiki", 4, vocab_size=100)
        expiry = int((time.time() + HOUR / 2) * 1_000)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4), expiries_ms=[expiry, 0, 0, 0])
        with memory.lease(60) as pinned:
            memory.delete(ids=[1])
            for shift in (HOUR, 10 * YEAR, -10 * YEAR, 0):
                self.clock.set(shift)
                self.assertEqual(pinned.count(), 4, "what expires is judged when it was taken")
            self.assertEqual(server.metrics()["mneme_leases"], 1)
        for shift in (-HOUR, -10 * YEAR):
            with self.subTest(shift=shift):
                self.clock.set(0)
                short = memory.lease(1)
                begin = time.monotonic()
                self.clock.set(shift)
                processes.await_true(lambda: server.metrics()["mneme_leases"] == 0, 1.0 + LATE_S)
                self.assertGreaterEqual(time.monotonic() - begin, 0.8)
                with self.assertRaises(mneme.FailedPrecondition) as ended:
                    short.count()
                self.assertEqual(ended.exception.reason, "LEASE_EXPIRED")

    def test_the_bytes_of_a_deletion_wait_no_longer_for_a_clock_that_was_set_back(self) -> None:
        server = self.shifted("--erase-after", "5")
        memory = server.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.eye(4, dtype=np.float32), np.arange(4), ids=np.arange(4))
        receipt = memory.delete(ids=[1]).receipt
        self.assertEqual(memory.receipt(receipt).state, "hidden")
        self.clock.set(-10 * YEAR)
        processes.await_true(lambda: memory.receipt(receipt).state != "hidden", SWEPT_S)
        self.assertNotEqual(memory.receipt(receipt).state, "hidden")


class FrontEndClocks(ClockTest):
    """Of several processes without a log, one front end's clock is set."""

    def start(self) -> cluster.Cluster:
        environment = self.clock.environment

        class Shifted(cluster.Cluster):
            def front_end(self, data_dir: pathlib.Path) -> harness.Server:
                class FrontEnd(harness.Server):
                    pass

                FrontEnd.environment = environment
                return FrontEnd(data_dir, "--role", "frontend", "--shard-addresses", ",".join(self.addresses))

        started = Shifted(self.scratch / "cluster")
        self.addCleanup(started.kill)
        return started

    def test_who_is_wrong_writes_nothing_and_reads_on(self) -> None:
        deployment = self.start()
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.ones((40, 4), np.float32), np.arange(40), ids=np.arange(40))
        for shift in (HOUR, -HOUR, 10 * YEAR, -10 * YEAR):
            with self.subTest(shift=shift):
                self.clock.set(shift)
                with self.assertRaisesRegex(mneme.FailedPrecondition, "clock"):
                    memory.insert(np.ones((40, 4), np.float32), np.arange(40), ids=np.arange(40, 80))
                self.assertEqual(memory.count(), 40)
                self.assertTrue(deployment.front_ends[0].ready())
                self.clock.set(0)
                memory.insert(np.ones((40, 4), np.float32), np.arange(40), ids=np.arange(40))
        self.assertEqual(deployment.front_ends[0].stop(), 0)

    def test_calls_to_shards_and_connections_keep_their_times_once_the_clock_was_set_back(self) -> None:
        deployment = self.start()
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        memory.insert(np.ones((40, 4), np.float32), np.arange(40), ids=np.arange(40))
        shard = deployment.shards[1]
        for shift in (-HOUR, -10 * YEAR):
            with self.subTest(shift=shift):
                time.sleep(0.5)  # whatever waits for a time waits by now
                self.clock.set(shift)
                shard.signal(signal.SIGSTOP)
                try:
                    # The front end has a fifth of a second of each call to tell what it has: a machine that is busy
                    # may take longer, and not always.
                    told = processes.await_true(lambda: self.missing_of(memory) == [1], 10.0)
                finally:
                    shard.signal(signal.SIGCONT)
                self.assertTrue(told, "no call to the shard ended in time")
                shard.kill()
                with self.assertRaises((mneme.Unavailable, mneme.DeadlineExceeded)):
                    memory.count(timeout=2.0)
                shard.start()
                begin = time.monotonic()
                there = processes.await_true(lambda: self.count_of(memory) == 40, 30.0)
                took = time.monotonic() - begin
                self.assertTrue(there, "the front end has not found the shard again")
                harness.note(f"the shard was found again {took:.2f} s after its start, the clock {shift} s behind")
        self.assertEqual(deployment.front_ends[0].stop(), 0)

    def missing_of(self, memory: mneme.Memory) -> Optional[list[int]]:
        try:
            found = memory.query(np.ones((1, 4), np.float32), 40, timeout=2.0, allow_partial=True)
            return list(found.coverage.missing_shards)
        except mneme.DeadlineExceeded:
            return None

    def count_of(self, memory: mneme.Memory) -> int:
        try:
            return memory.count(timeout=2.0)
        except (mneme.Unavailable, mneme.DeadlineExceeded):
            return -1


class ReplicaClocks(kafka_test.KafkaTest):
    """Replicas over a log: one's clock is set, while two others that are right say so."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = WallClock(self.scratch / "clock")

    def test_a_replica_that_is_wrong_expires_nothing_and_the_others_go_on(self) -> None:
        deployment = self.start()
        client = deployment.client
        client.create_memory("load", 4, vocab_size=100)
        expiring = Expiring(client)
        everything = list(Expiring.TIMES)
        for number in (0, 1):  # one that tells names, one that watches them
            for shift in itertools.chain.from_iterable([(HOUR, -HOUR, 10 * YEAR, -10 * YEAR)] * ROUNDS):
                with self.subTest(shard=number, shift=shift):
                    self.round(deployment, number, shift, expiring, everything)
        deployment.front_ends[0].cli("cluster", "show", "--digest")  # exits with 1 when replicas of a shard differ

    def round(self, deployment: Any, number: int, shift: int, expiring: Expiring, everything: list[str]) -> None:
        victim = deployment.shards[number][1]
        victim.stop()
        self.clock.set(0)
        victim.environment = self.clock.environment
        victim.start()
        deployment.await_even()
        before = deployment.client.memory("load").count()
        writer = kafka_test.Writer(deployment.front_ends, "load")
        writer.start()
        time.sleep(1.0)
        self.clock.set(shift)
        end = time.monotonic() + 15.0  # longer than a sweep waits for
        while time.monotonic() < end:
            for front in deployment.front_ends:
                self.assertEqual(expiring.there(front.client), everything)
        self.assertTrue(all(each.alive() for each in deployment.replicas))
        self.clock.set(0)
        ids = writer.end()
        self.assertEqual(len(np.unique(ids)), len(ids))
        deployment.await_even()
        for front in deployment.front_ends:
            self.assertEqual(front.client.memory("load").count(), before + len(ids))
            self.assertEqual(expiring.there(front.client), everything)
        self.clock.set(shift)
        self.assertEqual(victim.stop(), 0)
        victim.environment = {}
        self.clock.set(0)
        victim.start()
        deployment.await_even()


def far_ahead(version: bytes) -> bytes:
    """A version that no write here comes to: every sequence a billion later (docs/formats.md)."""
    head, part = 13, struct.Struct("<HQ")
    return version[:head] + b"".join(
        part.pack(shard, sequence + 10**9) for shard, sequence in part.iter_unpack(version[head:])
    )


if not harness.FULL:
    del ReplicaClocks  # brokers, and a minute


if __name__ == "__main__":
    harness.main()
