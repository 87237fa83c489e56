"""A deployment of several processes: shards, each with a directory of its own, and front ends that keep nothing."""

from __future__ import annotations

import pathlib
import random
import socket
import time
from typing import Any, Optional

import harness
import mneme
import numpy as np


FIRST_PORT, LAST_PORT = 10000, 32000  # below the ports that Linux gives to outgoing connections (32768 and up)
_reserved: list[socket.socket] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody has, nor gets before this process ends: one that a test may stop listening on and take again.

    Ports that the kernel chooses are those of outgoing connections: another process may have one by the time a server
    that was stopped comes back. What keeps tests that run at once apart is an abstract socket with the port's name.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.SystemRandom().randint(FIRST_PORT, LAST_PORT)
        reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            reservation.bind(f"\0mneme-test-port-{port}")
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            reservation.close()
            continue
        _reserved.append(reservation)
        ports.append(port)
    return ports


class Steady(harness.Server):
    """On one port for all its lives, so that clients find it again."""

    def start(self) -> None:
        if self.listen.endswith(":0"):
            self.listen = f"127.0.0.1:{free_ports(1)[0]}"
        super().start()


class ShardProcess(harness.Server):
    """One shard. Clients have nothing to ask of it."""

    def __init__(self, data_dir: pathlib.Path, number: int, addresses: list[str], *flags: str) -> None:
        self.number, self.addresses = number, addresses
        super().__init__(
            data_dir,
            *("--role", "shard", "--shard-number", str(number), "--shard-addresses", ",".join(addresses), *flags),
        )

    def start(self) -> None:
        self.listen = self.addresses[self.number]
        self._launch()


class Cluster:
    """`shards` shard processes and `front_ends` front ends, under one directory."""

    def __init__(self, folder: pathlib.Path, shards: int = 2, front_ends: int = 1, *flags: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        addresses = [f"127.0.0.1:{port}" for port in free_ports(shards)]
        self.addresses = addresses
        self.shards: list[ShardProcess] = []
        self.front_ends: list[harness.Server] = []
        try:
            for number in range(shards):
                self.shards.append(ShardProcess(folder / f"shard-{number}", number, addresses, *flags))
            for number in range(front_ends):
                self.front_ends.append(self.front_end(folder / f"front-{number}"))
        except BaseException:
            self.kill()
            raise

    def front_end(self, data_dir: pathlib.Path) -> harness.Server:
        return harness.Server(data_dir, "--role", "frontend", "--shard-addresses", ",".join(self.addresses))

    @property
    def client(self) -> mneme.Client:
        return self.front_ends[0].client

    def kill(self) -> None:
        for process in (*self.front_ends, *self.shards):
            process.kill()


class ClusterServer(harness.Server):
    """A front end with its shards, which looks like one server: as many shards as its flags say, two unless they do."""

    def __init__(self, data_dir: pathlib.Path, *flags: str) -> None:
        self.shard_flags = list(flags)
        count = 2
        if "--shards" in self.shard_flags:
            at = self.shard_flags.index("--shards")
            count = int(self.shard_flags[at + 1])
            del self.shard_flags[at : at + 2]
        self.addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
        self.shards: list[Optional[ShardProcess]] = [None] * count
        data_dir.mkdir(parents=True, exist_ok=True)
        super().__init__(data_dir, "--role", "frontend", "--shard-addresses", ",".join(self.addresses))

    def start(self) -> None:
        for number, shard in enumerate(self.shards):
            if shard is None:
                folder = self.data_dir / f"shard-{number}"
                self.shards[number] = ShardProcess(folder, number, self.addresses, *self.shard_flags)
            elif not shard.alive():
                shard.start()
        super().start()

    def metrics(self) -> dict[str, float]:
        """The sums of the shards, which tell what they have."""
        sums: dict[str, float] = {}
        for shard in self.shards:
            assert shard is not None
            for name, value in shard.metrics().items():
                sums[name] = sums.get(name, 0.0) + value
        return sums

    def stop(self, timeout: float = 60.0) -> int:
        code = super().stop(timeout)
        for shard in self.shards:
            if shard is not None and shard.alive():
                code = code or shard.stop(timeout)
        return code

    def kill(self) -> None:
        super().kill()
        for shard in self.shards:
            if shard is not None:
                shard.kill()


class ReplicaProcess(harness.Server):
    """One replica of a shard, which applies a replicated log. It listens where `addresses` say, or at `own`, where
    others reach it by another way."""

    def __init__(
        self,
        data_dir: pathlib.Path,
        place: tuple[int, int],
        addresses: list[list[str]],
        log: str,
        *flags: str,
        own: str = "",
    ) -> None:
        self.number, self.replica = place
        self.addresses, self.own = addresses, own
        super().__init__(
            data_dir,
            *("--role", "shard", "--shard-number", str(self.number), "--replica", str(self.replica)),
            *("--shard-addresses", joined(addresses), "--log", log, *flags),
        )

    def start(self) -> None:
        self.listen = self.own or self.addresses[self.number][self.replica]
        self._launch()


def joined(addresses: list[list[str]]) -> str:
    """As --shard-addresses takes them."""
    return ",".join("|".join(replicas) for replicas in addresses)


class ReplicatedCluster:
    """`shards` shards of `replicas` processes each, which apply the log `log`, and `front_ends` front ends."""

    def __init__(
        self, folder: pathlib.Path, log: str, shards: int = 2, replicas: int = 2, front_ends: int = 2, *flags: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.log, self.flags = folder, log, flags
        ports = iter(free_ports(shards * replicas))
        self.addresses = [[f"127.0.0.1:{next(ports)}" for _ in range(replicas)] for _ in range(shards)]
        self.shards: list[list[ReplicaProcess]] = [[] for _ in range(shards)]
        self.front_ends: list[harness.Server] = []
        try:
            for number in range(shards):
                for replica in range(replicas):
                    self.shards[number].append(self.replica(number, replica))
            for number in range(front_ends):
                self.front_ends.append(self.front_end(f"front-{number}"))
        except BaseException:
            self.kill()
            raise

    def replica(self, number: int, replica: int) -> ReplicaProcess:
        name, own = f"shard-{number}-{replica}", self.addresses[number][replica]
        flags = (self.log_for(name), *self.flags_for(name))
        return ReplicaProcess(self.folder / name, (number, replica), self.addresses_for(name), *flags, own=own)

    def front_end(self, name: str, addresses: Optional[list[list[str]]] = None) -> harness.Server:
        """One of `addresses`, if it is not to know all replicas."""
        return Steady(self.folder / name, *self.front_flags(name, addresses))

    def front_flags(self, name: str, addresses: Optional[list[list[str]]] = None) -> tuple[str, ...]:
        known = joined(addresses or self.addresses_for(name))
        return ("--role", "frontend", "--shard-addresses", known, "--log", self.log_for(name))

    def addresses_for(self, name: str) -> list[list[str]]:
        """Where the process of this name reaches the replicas."""
        return self.addresses

    def log_for(self, name: str) -> str:
        """And where the log."""
        return self.log

    def flags_for(self, name: str) -> tuple[str, ...]:
        """What a replica is given besides."""
        return self.flags

    @property
    def client(self) -> mneme.Client:
        return self.front_ends[0].client

    @property
    def replicas(self) -> list[ReplicaProcess]:
        return [each for replicas in self.shards for each in replicas]

    def await_even(self, seconds: float = harness.START_SECONDS) -> None:
        """Until all replicas of each shard have applied the same; nobody writes meanwhile."""
        end = time.monotonic() + seconds
        while True:
            handled = [{each.metrics()["mneme_log_handled"] for each in replicas} for replicas in self.shards]
            if all(len(positions) == 1 for positions in handled):
                return
            assert time.monotonic() < end, f"replicas stand at {handled}"
            time.sleep(0.05)

    def kill(self) -> None:
        for process in (*self.front_ends, *self.replicas):
            process.kill()


class ClusterTest(harness.SystemTest):
    def start_cluster(self, shards: int = 2, front_ends: int = 1, *flags: str, name: str = "cluster") -> Cluster:
        cluster = Cluster(self.scratch / name, shards, front_ends, *flags)
        self.addCleanup(cluster.kill)
        return cluster


def fill(client: mneme.Client, generator: np.random.Generator) -> tuple[mneme.Memory, Any]:
    """A memory "wiki" with something of every kind, some of it gone again, and the keys that it was made of."""
    memory = client.create_memory("wiki", 4, vocab_size=100)
    keys = generator.normal(size=(3_000, 4)).astype(np.float32)
    memory.insert(keys, np.arange(3_000) % 100, ids=np.arange(3_000), labels=np.arange(3_000) % 5)
    memory.insert(keys[:200], np.arange(200) % 100)
    memory.insert(keys[:50], np.arange(50), ids=np.arange(50), partition=7)
    memory.delete(ids=np.arange(0, 3_000, 7))
    memory.delete(filter=mneme.Filter(labels=[3]))
    for number in range(20):
        memory.session(f"agent{number}").put("draft", f"text {number}".encode())
    return memory, keys


def plain(value: Any, ignored: frozenset[str] = frozenset()) -> Any:
    """An answer as something that can be compared to the byte; fields of these names are left out."""
    if hasattr(value, "__dataclass_fields__"):
        return {
            name: plain(getattr(value, name), ignored) for name in value.__dataclass_fields__ if name not in ignored
        }
    if hasattr(value, "tobytes"):
        return (str(value.dtype), tuple(value.shape), value.tobytes())
    if hasattr(value, "SerializeToString"):
        return value.SerializeToString(deterministic=True)
    if isinstance(value, dict):
        return {name: plain(each, ignored) for name, each in value.items() if name not in ignored}
    if isinstance(value, (list, tuple)):
        return [plain(each, ignored) for each in value]
    if value is None or isinstance(value, (bool, int, float, str, bytes)):
        return value
    return {name: plain(each, ignored) for name, each in vars(value).items() if name not in ignored}
