"""What is done to a replicated deployment on a working day, under load: everything is restarted, one process after the
other; a replica is made from nothing while a thousand entries arrive each second; a replica moves to another place.
Clients that honour health hear of none of it."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import Any

import cluster
import fault_cluster
import fault_load
import grpc
import harness
import mneme
import numpy as np
import processes
import soak_model
from fault_cluster import BROKER_NAMES, FRONT_NAMES, REPLICA_NAMES

PASSES = 5 if harness.FULL else 1
ENTRIES = 400_000 if harness.FULL else 20_000  # that a replica from nothing has to copy
PER_SECOND = 1_000
LEAST, MOST = 50, 10_000  # of one batch
STREAM = "stream"
DRAIN = ("--drain-delay", "1s")
SERVING = b"\x08\x01"  # a grpc.health.v1.HealthCheckResponse
READ_ERRORS = 0.001


class Health:
    """Which front ends say that they serve, as their health tells who watches it; and a client of each, on the channel
    of its watch: gRPC's own clients do both on one, and so know of a connection what its health knows."""

    def __init__(self, addresses: list[str], going: threading.Event) -> None:
        self.addresses, self._going = addresses, going
        self.clients = {address: mneme.connect(address, timeout=30, attempts=1) for address in addresses}
        self._serving = {address: False for address in addresses}
        self.threads = [threading.Thread(target=self._watch, args=(each,), daemon=True) for each in addresses]
        for thread in self.threads:
            thread.start()

    def serving(self) -> list[str]:
        return [address for address in self.addresses if self._serving[address]]

    def _watch(self, address: str) -> None:
        watch = self.clients[address]._channel.unary_stream("/grpc.health.v1.Health/Watch")
        while self._going.is_set():
            with contextlib.suppress(grpc.RpcError):
                for status in watch(b"", timeout=300):
                    self._serving[address] = status == SERVING
            self._serving[address] = False
            time.sleep(0.02)


class HealthyClient(soak_model.Thread):
    """Calls each once at a front end that says it serves; `failed` has what was refused all the same. Every fourth call
    is a write, whose entry is read by the next through whichever front end, with its version."""

    def __init__(self, number: int, health: Health, going: threading.Event) -> None:
        self.health = health
        super().__init__(number, health.addresses, going)
        self.failed: list[tuple[float, str]] = []
        self.took: list[tuple[float, float]] = []
        self.reads = self.read_failures = 0
        self._written: tuple[int, bytes] = (-1, b"")

    def connect(self, addresses: Any) -> Any:
        return self.health.clients

    def step(self) -> None:
        serving = self.health.serving()
        if not serving:
            time.sleep(0.005)
            return
        address = serving[self.steps % len(serving)]
        memory = self.client[address].memory(fault_load.ANCHORS)
        begin, writes = time.monotonic(), self.steps % 4 == 0
        self.reads += not writes
        try:
            (self._write if writes else self._read)(memory)
        except mneme.MnemeError as error:
            self.read_failures += not writes
            self.failed.append((time.monotonic(), f"{address}: {error}"))
        self.took.append((begin, time.monotonic()))
        time.sleep(0.005)

    def _write(self, memory: mneme.Memory) -> None:
        # In a partition of its own, so that what others look for never changes.
        written = self.steps
        key = np.full((1, fault_load.ANCHOR_DIMENSION), written, np.float32)
        told = memory.insert(key, [written % 7], ids=[written], partition=self.number)
        self._written = (written, told.version)

    def _read(self, memory: mneme.Memory) -> None:
        written, version = self._written
        if written >= 0 and self.steps % 4 == 1:
            got = memory.get([written], partition=self.number, version=version)
            assert got.ids.tolist() == [written], f"{written} was acknowledged, and {got.ids.tolist()} is there"
            return
        row = int(self.random.integers(fault_load.ANCHOR_ROWS))
        found = memory.query(fault_load.anchors()[row][None], 1, exact=True, partitions=0)
        assert found.ids.tolist() == [row], f"asked for {row}, was told {found.ids.tolist()}"


class Arrivals(soak_model.Thread):
    """A thousand entries each second, by the clock: what came meanwhile is one batch. One that was not acknowledged is
    written again with its request id."""

    def __init__(self, number: int, addresses: Any, going: threading.Event) -> None:
        super().__init__(number, addresses, going)
        self.memory = self.client.memory(STREAM)
        self.ids: list[Any] = []
        self.written = 0
        self.begin = time.monotonic()

    def connect(self, addresses: Any) -> Any:
        return fault_load.Anywhere(addresses)

    def step(self) -> None:
        due = int((time.monotonic() - self.begin) * PER_SECOND) - self.written
        if due < LEAST:
            time.sleep((LEAST - due) / PER_SECOND)
            return
        count = min(due, MOST)
        keys = np.full((count, fault_load.ANCHOR_DIMENSION), len(self.ids), np.float32)
        self.ids.append(self.memory.insert(keys, np.full(count, len(self.ids) % 100)).ids)
        self.written += count

    def rate(self) -> float:
        return self.written / (time.monotonic() - self.begin)


class Rolling(fault_cluster.FaultTest):
    FRONT_FLAGS = DRAIN

    def test_everything_is_restarted_one_after_the_other(self) -> None:
        self.begin()
        clients = self.healthy_clients(2)
        failed = {"front ends": 0, "replicas": 0, "brokers": 0}
        for name in PASSES * [*FRONT_NAMES, *REPLICA_NAMES, *BROKER_NAMES]:
            kind = {"front": "front ends", "shard": "replicas", "broker": "brokers"}[name.split("-")[0]]
            before, begin = sum(len(client.failed) for client in clients), time.monotonic()
            self.restart(name)
            self.note_time(begin, time.monotonic())
            failed[kind] += sum(len(client.failed) for client in clients) - before
        self.tell(clients, failed)
        self.finish(f"{PASSES} restarts of everything")
        self.assertEqual(failed["front ends"], 0, [client.failed[:3] for client in clients])
        # A replica is stopped without a word to front ends: a call or two finds out for the others.
        reads = sum(client.reads for client in clients)
        self.assertLess((failed["replicas"] + failed["brokers"]) / reads, READ_ERRORS)

    def restart(self, name: str) -> None:
        process = self.deployment.process(name)
        if isinstance(process, harness.Server):
            self.assertEqual(process.stop(), 0, process.tail_of_log())
        else:
            process.stop()
        process.start()
        self.await_recovery()

    def healthy_clients(self, count: int) -> list[HealthyClient]:
        going = threading.Event()
        going.set()
        self.addCleanup(going.clear)
        health = Health([front.address for front in self.deployment.front_ends], going)
        self.assertTrue(processes.await_true(lambda: len(health.serving()) == 2, 10))
        clients = [HealthyClient(100 + number, health, going) for number in range(count)]
        for client in clients:
            client.start()
        return clients

    def tell(self, clients: list[HealthyClient], failed: dict[str, int]) -> None:
        clients[0].going.clear()
        for client in clients:
            client.join(60)
            self.assertIsNone(client.failure)
        reads, failures = sum(each.reads for each in clients), sum(each.read_failures for each in clients)
        calls = sum(len(each.took) for each in clients)
        longest = max(end - begin for each in clients for begin, end in each.took)
        gap = max(later[1] - one[1] for each in clients for one, later in zip(each.took, each.took[1:]))
        told = ", ".join(f"{count} of {kind}" for kind, count in failed.items())
        harness.note(
            f"clients that honour health: {calls:,} calls, failed while restarting: {told}; {failures} of {reads:,} "
            f"reads; the longest call {longest:.2f} s, the longest time without an answer {gap:.2f} s"
        )
        for each in clients:
            for moment, error in each.failed[:3]:
                harness.note(f"failed: {error[:300]}")


class Replicas(fault_cluster.FaultTest):
    FRONT_FLAGS = DRAIN

    def test_a_replica_is_made_from_nothing_while_entries_arrive(self) -> None:
        arrivals = self.begin_with_arrivals()
        lost = self.deployment.shards[1][1]
        lost.kill()
        shutil.rmtree(lost.data_dir)
        # The log keeps nothing of what it has to have, so that it must copy.
        handled = int(self.deployment.shards[1][0].metrics()["mneme_log_handled"])
        self.kafka.delete_records(self.topic, 1, handled)
        begin = time.monotonic()
        lost.start()
        took = time.monotonic() - begin
        self.assertIn("checkpoint_copied", lost.tail_of_log())
        self.end_with_arrivals(arrivals, begin, f"a replica from nothing serves after {took:.2f} s")

    def test_a_replica_moves_under_load(self) -> None:
        arrivals = self.begin_with_arrivals()
        begin = time.monotonic()
        deployment, old = self.deployment, self.deployment.shards[1][1]
        # Add a replica, wait,
        deployment.addresses[1].append(f"127.0.0.1:{cluster.free_ports(1)[0]}")
        moved = deployment.replica(1, 2)
        deployment.shards[1].append(moved)
        self.restart_fronts()
        self.await_recovery()
        # drop the old one: out of the lists of the front ends first.
        deployment.shards[1].remove(old)
        deployment.addresses[1].pop(1)
        self.restart_fronts()
        self.assertEqual(old.stop(), 0, old.tail_of_log())
        self.await_recovery()
        took = time.monotonic() - begin
        self.end_with_arrivals(arrivals, begin, f"a replica has moved after {took:.2f} s")

    def begin_with_arrivals(self) -> Arrivals:
        self.begin()
        memory = self.deployment.client.create_memory(STREAM, fault_load.ANCHOR_DIMENSION, vocab_size=100)
        self.filled = ENTRIES
        for first in range(0, ENTRIES, 10_000):
            keys = self.random.normal(size=(10_000, fault_load.ANCHOR_DIMENSION)).astype(np.float32)
            memory.insert(keys, np.arange(10_000) % 100)
        arrivals = Arrivals(50, [front.address for front in self.deployment.front_ends], self.load.going)
        arrivals.start()
        self.load.threads.append(arrivals)
        self.let_run(3.0)
        return arrivals

    def end_with_arrivals(self, arrivals: Arrivals, begin: float, told: str) -> None:
        self.await_recovery()
        self.note_time(begin, time.monotonic())
        self.let_run(1.0)
        rate = arrivals.rate()
        harness.note(f"{told}; {rate:.0f} entries arrived each second, {arrivals.client.again} calls asked again")
        self.finish("then")
        ids = np.concatenate(arrivals.ids)
        self.assertEqual(len(np.unique(ids)), len(ids), "an id was given twice")
        memory = self.deployment.client.memory(STREAM)
        stored = np.concatenate([page.ids for page in memory.scan()])
        self.assertEqual(len(np.unique(stored)), len(stored), "an entry is there twice")
        self.assertEqual(len(np.setdiff1d(ids, stored)), 0, "acknowledged and not there")
        self.assertEqual(len(stored), self.filled + len(ids))
        reads = self.load.reader.between(begin, time.monotonic())
        failed = sum(not answered for _, _, answered in reads)
        self.assertLess(failed / len(reads), READ_ERRORS)
        self.assertGreater(rate, 0.9 * PER_SECOND)

    def restart_fronts(self) -> None:
        """With the list as it is now, one at a time."""
        for number, front in enumerate(self.deployment.front_ends):
            self.assertEqual(front.stop(), 0, front.tail_of_log())
            front.flags = self.deployment.front_flags(f"front-{number}")
            front.start()
            self.await_recovery()


if __name__ == "__main__":
    harness.main()
