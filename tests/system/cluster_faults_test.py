"""Two shards of two replicas, two front ends and three brokers under load while processes are killed, sleep, lose each
other and have no room on their disk: nothing acknowledged is lost or there twice, no answer is wrong, reads go on, and
everything comes back without a person. In full 50 rounds, 10 of each kind, with pauses of 35 s.

One replica's disk is a tmpfs in a mount namespace of this program alone, as in disk_full_test.py."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import time
from typing import Callable

import fault_cluster
import harness
import numpy as np
from cluster_partitions_test import CONDUCTS
from disk_full_test import enter_namespace
from fault_cluster import BROKER_NAMES, FRONT_NAMES, REPLICA_NAMES, TELLERS

ROUNDS = 50 if harness.FULL else 5
PAUSE_S = 35.0 if harness.FULL else 4.0
LEADER_PAUSE_S = 35.0 if harness.FULL else 5.0  # beyond the three seconds after which another one leads
CUT_S = 10.0 if harness.FULL else 3.0
SMALL_DISK, DISK_MB = "shard-1-1", 3_000 if harness.FULL else 512
MB = 1 << 20
WIDE, WIDE_DIMENSION, MOST_WRITTEN_MB = "wide", 1_024, 400
KINDS = ("killed", "slept", "leader_slept", "cut", "disk_filled")


class Faults(fault_cluster.FaultTest):
    REPLICA_FLAGS = {SMALL_DISK: ("--disk-reserve", "0")}  # it is to be full

    def test_nothing_is_lost_and_no_answer_wrong_while_parts_fail(self) -> None:
        self.rng = random.Random(harness.SEED)
        self.mount_small_disk()
        self.begin()
        self.let_run(1.0)
        order: list[str] = []
        while len(order) < ROUNDS:
            order += self.rng.sample(KINDS, len(KINDS))
        for number, kind in enumerate(order[:ROUNDS]):
            told = getattr(self, kind)()
            self.check()
            harness.note(f"round {number + 1}, {told}")
        self.finish(f"{ROUNDS} rounds")

    # --- kinds of faults: each ends with everything healed, and returns what happened ---

    def killed(self) -> str:
        """One process at random, then one of each kind at once."""
        one = self.rng.choice([*FRONT_NAMES, *REPLICA_NAMES, *BROKER_NAMES])
        told = self.through(f"kill -9 of {one}", [one], self.kill, self.rng.uniform(0.0, 2.0))
        each = [self.rng.choice(names) for names in (FRONT_NAMES, REPLICA_NAMES, BROKER_NAMES)]
        all_told = self.through(f"of {', '.join(each)} at once", each, self.kill, self.rng.uniform(0.0, 2.0))
        return f"{told}; {all_told}"

    def slept(self) -> str:
        asleep = self.rng.choice([*FRONT_NAMES, *REPLICA_NAMES])
        return self.through(f"{asleep} slept {PAUSE_S:.0f} s", [asleep], self.freeze, PAUSE_S)

    def leader_slept(self) -> str:
        leader = self.kafka.leader(self.topic, self.rng.randrange(fault_cluster.SHARDS)).name
        return self.through(f"{leader}, which led, slept {LEADER_PAUSE_S:.0f} s", [leader], self.freeze, LEADER_PAUSE_S)

    def cut(self) -> str:
        one, other = self.rng.choice(self.network.pairs())
        conduct = self.rng.choice(CONDUCTS)
        return self.through(
            f"{one} - {other} {conduct} for {CUT_S:.0f} s",
            [other],
            lambda name: self.network.cut(one, name, conduct),
            CUT_S,
        )

    def disk_filled(self) -> str:
        """The replica says that it serves no more, the other of its shard goes on. It is started again when there is
        room, as whoever supervises a process that is not ready does."""
        begin = time.monotonic()
        replica = self.deployment.process(SMALL_DISK)
        assert isinstance(replica, harness.Server)
        ballast = self.data / "ballast"
        with open(ballast, "wb") as file, contextlib.suppress(OSError):
            for at in range(0, 2 * DISK_MB * MB, MB // 4):
                os.posix_fallocate(file.fileno(), at, MB // 4)
        written = self.write_until(lambda: not fault_cluster.ready(replica))
        self.let_run(1.0)
        alive, healed = replica.alive(), time.monotonic()
        ballast.unlink()
        replica.kill()
        self.revive()
        took = self.await_recovery(healed)
        self.note_time(begin, time.monotonic())
        self.deployment.client.drop_memory(WIDE)
        how = "not ready" if alive else "ended"
        return f"{SMALL_DISK} without room after {written} MB: {how}; everything answers {took:.2f} s after it had some"

    def write_until(self, noticed: Callable[[], bool]) -> int:
        """What RocksDB has set aside for its log is filled first. The writes are acknowledged all the same: the other
        replica of the shard has room. Returns megabytes."""
        memory = self.deployment.client.create_memory(WIDE, WIDE_DIMENSION)
        rows = 1_000_000 // (4 * WIDE_DIMENSION)
        for written in range(MOST_WRITTEN_MB):
            keys = self.random.normal(size=(rows, WIDE_DIMENSION)).astype(np.float32)
            memory.insert(keys, np.zeros(rows, np.uint32))
            self.load.assert_well()
            if noticed():
                return written
        raise AssertionError(f"a replica without room for {MOST_WRITTEN_MB} MB that it applies is ready")

    def through(self, what: str, names: list[str], fault: Callable[[str], None], seconds: float) -> str:
        begin = time.monotonic()
        for name in names:
            fault(name)
        self.let_run(seconds)
        healed = time.monotonic()
        for name in names:
            if fault == self.freeze:
                self.thaw(name)
        self.revive()
        took = self.await_recovery(healed)
        self.note_time(begin, time.monotonic())
        return f"{what}: everything answers after {took:.2f} s"

    def mount_small_disk(self) -> None:
        self.data = self.scratch / "cluster" / SMALL_DISK
        self.data.mkdir(parents=True, mode=0o700)
        self.mount("-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=0700", "tmpfs", str(self.data))

    def mount(self, *arguments: str) -> None:
        subprocess.run(["mount", *arguments], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", arguments[-1]], check=True)


if __name__ == "__main__":
    enter_namespace()
    harness.main()
