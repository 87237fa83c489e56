"""Replicas are added, moved and drained by `mneme cluster` while everything serves: writers lose nothing, readers hear
next to nothing of it, and no front end is restarted."""

from __future__ import annotations

import subprocess
import threading
import time
from typing import Any

import cluster
import harness
import mneme
import numpy as np
from kafka_test import KafkaTest, Writer, content

READ_ERRORS = 0.001


class Reader(threading.Thread):
    """Asks the front ends in turn for what never changes; `failed` has what was refused."""

    def __init__(self, front_ends: list[harness.Server], memory: str, row: int, key: Any) -> None:
        super().__init__()
        self.clients = [mneme.connect(front.address, timeout=30, attempts=1) for front in front_ends]
        self.memory, self.row, self.key = memory, row, key
        self.asked = 0
        self.failed: list[str] = []
        self.wrong: list[Any] = []
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.is_set():
            memory = self.clients[self.asked % len(self.clients)].memory(self.memory)
            self.asked += 1
            try:
                found = memory.query(self.key[None], 1, exact=True, partitions=0).ids.tolist()
                if found != [self.row]:
                    self.wrong.append(found)
            except mneme.MnemeError as error:
                self.failed.append(str(error))
            time.sleep(0.002)

    def end(self) -> None:
        self._stop_asked.set()
        self.join(60)
        for client in self.clients:
            client.close()


class Moves(KafkaTest):
    maxDiff = 4_000
    joined = 0

    def free_address(self) -> str:
        return f"127.0.0.1:{cluster.free_ports(1)[0]}"

    def join(self, deployment: cluster.ReplicatedCluster, number: int, address: str) -> cluster.ReplicaProcess:
        """A process that is to be a replica of a shard, on an empty directory, with a list of its own that has it."""
        self.joined += 1
        known = [list(each) for each in deployment.addresses]
        known[number].append(address)
        place = (number, len(known[number]) - 1)
        process = cluster.ReplicaProcess(
            self.scratch / f"joined-{self.joined}", place, known, deployment.log, own=address
        )
        self.addCleanup(process.kill)
        return process

    def leave(self, deployment: cluster.ReplicatedCluster, number: int, address: str) -> None:
        """What was drained is stopped, and forgotten."""
        at = deployment.addresses[number].index(address)
        self.assertEqual(deployment.shards[number][at].stop(), 0)
        del deployment.addresses[number][at], deployment.shards[number][at]

    def take(self, deployment: cluster.ReplicatedCluster, number: int, process: cluster.ReplicaProcess) -> None:
        deployment.addresses[number].append(process.own)
        deployment.shards[number].append(process)

    def change(self, front: harness.Server, *words: str) -> list[str]:
        """The replicas of the shard afterwards."""
        told: dict[str, Any] = front.cli("cluster", *words)
        self.assertGreaterEqual(told["seconds"], 0)
        return [each for each in told["replicas"] if each]

    def refused(self, front: harness.Server, why: str, *words: str) -> None:
        with self.assertRaisesRegex(AssertionError, why):
            front.cli("cluster", *words)

    def shown(self, front: harness.Server, *flags: str) -> list[dict[str, Any]]:
        replicas: list[dict[str, Any]] = front.cli("cluster", "show", *flags)["replicas"]
        return replicas

    def check_digests(self, deployment: cluster.ReplicatedCluster) -> None:
        """All front ends have the same replicas, each serves, and those of a shard hold the same."""
        for front in deployment.front_ends:
            self.assertEqual(
                [sorted(each["address"] for each in self.shown(front) if each["shard"] == number) for number in (0, 1)],
                [sorted(each) for each in deployment.addresses],
            )
        replicas = self.shown(deployment.front_ends[0], "--digest")
        self.assertEqual({each["state"] for each in replicas}, {"serving"}, replicas)
        for number in range(2):
            told = {(each.get("digest"), each.get("digest_applied")) for each in replicas if each["shard"] == number}
            self.assertEqual(len(told), 1, replicas)
            self.assertNotIn((None, None), told)

    def test_replicas_are_added_moved_and_drained_under_load(self) -> None:
        deployment = self.start(front_ends=2)
        front, other = deployment.front_ends
        memory, keys = cluster.fill(deployment.client, self.random)
        deployment.client.create_memory("stream", 4, vocab_size=100)
        row = 201  # whose key nothing else has, and which was not deleted
        began_with = [list(each) for each in deployment.addresses]
        self.assertEqual(memory.query(keys[row][None], 1, exact=True, partitions=0).ids.tolist(), [row])
        writers = [Writer(deployment.front_ends[at:] + deployment.front_ends[:at], "stream") for at in range(2)]
        readers = [Reader(deployment.front_ends, "wiki", row, keys[row]) for _ in range(2)]
        for thread in (*writers, *readers):
            thread.start()

        # Grow: it is asked for before it is there, and copies another, since the log has lost its front.
        handled = min(int(each.metrics()["mneme_log_handled"]) for each in deployment.shards[1])
        self.assertGreater(handled, 0)
        self.kafka.delete_records(deployment.log.rsplit("/", 1)[1], 1, handled)
        address = self.free_address()
        lists: list[list[str]] = []
        adding = threading.Thread(target=lambda: lists.append(self.change(other, "add", "1", address)))
        adding.start()
        time.sleep(1.0)
        self.assertTrue(adding.is_alive(), "nothing answers there yet")
        process = self.join(deployment, 1, address)
        adding.join(harness.START_SECONDS)
        self.assertEqual(lists, [[*deployment.addresses[1], address]])
        self.assertIn("checkpoint_copied", process.tail_of_log())
        self.take(deployment, 1, process)
        # Once more is no more.
        self.assertEqual(self.change(front, "add", "1", address), deployment.addresses[1])

        # Move both that there were at first, of each shard.
        for number in (1, 0):
            for moved in list(deployment.addresses[number])[:2]:
                address = self.free_address()
                process = self.join(deployment, number, address)
                told = self.change(front, "move", moved, address)
                self.take(deployment, number, process)
                self.leave(deployment, number, moved)
                self.assertEqual(sorted(told), sorted(deployment.addresses[number]))
                # Who did not hear that it was done asks again.
                self.assertEqual(sorted(self.change(other, "move", moved, address)), sorted(told))

        promises_end = time.monotonic() + 8.5

        # Shrink.
        drained = deployment.addresses[1][0]
        self.change(other, "drain", drained)
        self.leave(deployment, 1, drained)

        time.sleep(1.0)
        for reader in readers:
            reader.end()
        ids = np.concatenate([writer.end() for writer in writers])
        asked, failed = sum(reader.asked for reader in readers), [each for reader in readers for each in reader.failed]
        self.assertEqual([reader.wrong for reader in readers], [[], []])
        harness.note(
            f"{len(ids)} entries, of which none failed; {asked} reads, of which {len(failed)} failed; the slowest "
            f"batch took {max(writer.slowest for writer in writers):.2f} s"
        )
        self.assertLess(len(failed), max(1.0, READ_ERRORS * asked), failed[:5])
        self.check(deployment, "stream", ids)
        self.check_digests(deployment)

        # Names are changed and told by those that there are now, none of which was there at first.
        time.sleep(max(0.0, promises_end - time.monotonic()))
        begin = time.monotonic()
        deployment.client.create_memory("late", 4, vocab_size=100)
        self.assertLess(time.monotonic() - begin, 1.5, "nobody waits for who has left")
        self.assertEqual(content(front.client, "wiki"), content(other.client, "wiki"))
        # Where options begin is with shard 0; of the others the log says what is there.
        other.flags = deployment.front_flags("front-1", [deployment.addresses[0], began_with[1]])
        other.restart()
        self.check_digests(deployment)
        self.assertEqual(content(front.client, "wiki"), content(other.client, "wiki"))

    def test_what_must_not_be_is_refused(self) -> None:
        deployment = self.start(front_ends=1)
        front = deployment.front_ends[0]
        cluster.fill(deployment.client, self.random)
        (zero, second_zero), (one, second_one) = deployment.addresses
        nobody = self.free_address()
        self.refused(front, "no shard has a replica at", "drain", nobody)
        self.refused(front, "must be below the 2", "add", "7", nobody)
        self.refused(front, "must be HOST:PORT", "add", "1", "nowhere")
        self.refused(front, "is a replica of shard 0", "add", "1", zero)
        self.refused(front, "is no replica of shard 1", "add", "1", front.address)
        otherwise = one.replace("127.0.0.1", "localhost")
        self.assertNotEqual(otherwise, one)
        self.refused(front, "by its own --shard-addresses", "add", "1", otherwise)
        strange = self.start_other()
        self.refused(front, "another deployment", "add", "1", strange)
        # The last that serves stays, and so does one whose other is away.
        deployment.shards[1][1].kill()
        self.refused(front, "only while another replica of shard 1 serves", "drain", one)
        self.assertEqual(self.change(front, "drain", second_one), [one])
        self.refused(front, "it is the only one", "drain", one)
        # A lease on what is drained is over, and what it held is read by others.
        memory = deployment.client.memory("wiki")
        pinned = memory.lease(60)
        held = [int(each.metrics()["mneme_leases"]) for each in deployment.shards[0]]
        holder = deployment.addresses[0][held.index(1)]
        self.change(front, "drain", holder)
        with self.assertRaises(mneme.FailedPrecondition) as over:
            pinned.count()
        self.assertEqual(over.exception.reason, "LEASE_EXPIRED")
        self.assertGreater(memory.count(), 0)
        # One that was drained does not come back by itself, whatever its options say.
        process = deployment.shards[0][held.index(1)]
        process.kill()
        process.start()
        self.assertIn("replica_not_listed", process.tail_of_log())
        left = zero if holder == second_zero else second_zero
        self.assertEqual([each["address"] for each in self.shown(front) if each["shard"] == 0], [left])
        time.sleep(8.5)  # what it may have lent is over
        begin = time.monotonic()
        deployment.client.create_memory("more", 2)
        self.assertLess(time.monotonic() - begin, 1.5)
        self.assertEqual(sorted(self.change(front, "add", "0", holder)), sorted([zero, second_zero]))

    def test_a_move_that_was_cut_is_asked_for_again(self) -> None:
        deployment = self.start(shards=1, front_ends=2)
        front, other = deployment.front_ends
        cluster.fill(deployment.client, self.random)
        moved, address = deployment.addresses[0][0], self.free_address()
        cut = subprocess.Popen(
            [str(harness.BIN / "mneme"), "--server", front.address, "cluster", "move", moved, address],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(1.0)
        front.kill()
        self.assertNotEqual(cut.wait(30), 0)
        process = self.join(deployment, 0, address)
        told = self.change(other, "move", moved, address)
        self.assertEqual(sorted(told), sorted([deployment.addresses[0][1], address]))
        self.take(deployment, 0, process)
        self.leave(deployment, 0, moved)
        front.start()
        self.assertGreater(deployment.client.memory("wiki").count(), 0)

    def start_other(self) -> str:
        """The address of a replica of shard 1 of another deployment."""
        other = cluster.ReplicatedCluster(self.scratch / "other", self.topic(2), 2, 1, 0)
        self.addCleanup(other.kill)
        return other.addresses[1][0]


if __name__ == "__main__":
    harness.main()
