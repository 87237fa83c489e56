"""A replicated deployment between whose processes every connection may be cut, under load, and what must hold once it
was healed: nothing that was acknowledged is lost or there twice, no answer was wrong, replicas hold the same."""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import signal
import tempfile
import time
import uuid
from typing import Any, Optional, Union

import cluster
import fault_load
import harness
import mneme
import numpy as np
import processes
import soak_model
import tcp_proxy
from kafka_brokers import Broker, KafkaBrokers

SHARDS, REPLICAS, FRONT_ENDS, BROKERS = 2, 2, 2, 3
FRONT_NAMES = [f"front-{number}" for number in range(FRONT_ENDS)]
REPLICA_NAMES = [f"shard-{number}-{replica}" for number in range(SHARDS) for replica in range(REPLICAS)]
BROKER_NAMES = [f"broker-{number + 1}" for number in range(BROKERS)]
# They tell names: while all of them are away front ends answer for two seconds more (docs/architecture.md).
TELLERS = [name for name in REPLICA_NAMES if name.startswith("shard-0-")]
# From when a fault is over until everything answers, without a person.
RECOVERY_S = 60.0
READS_ANSWERED = 0.99
PROBE, PROBE_S = "probe", 5.0

Process = Union[harness.Server, Broker]


class LinkedCluster(cluster.ReplicatedCluster):
    """Whose processes reach each other, and the brokers, through a network's links."""

    def __init__(
        self,
        folder: pathlib.Path,
        network: tcp_proxy.Network,
        kafka: KafkaBrokers,
        topic: str,
        of_fronts: tuple[str, ...],
        of_replicas: dict[str, tuple[str, ...]],
    ) -> None:
        self.network, self.kafka, self.topic = network, kafka, topic
        self.of_fronts, self.of_replicas = of_fronts, of_replicas
        super().__init__(folder, kafka.url(topic), SHARDS, REPLICAS, FRONT_ENDS)

    def addresses_for(self, name: str) -> list[list[str]]:
        return [
            [self._reached(name, f"shard-{number}-{replica}", address) for replica, address in enumerate(replicas)]
            for number, replicas in enumerate(self.addresses)
        ]

    def front_flags(self, name: str, addresses: Optional[list[list[str]]] = None) -> tuple[str, ...]:
        return (*super().front_flags(name, addresses), *self.of_fronts)

    def log_for(self, name: str) -> str:
        return self.kafka.url(self.topic, name)

    def flags_for(self, name: str) -> tuple[str, ...]:
        return self.of_replicas.get(name, ())

    def _reached(self, name: str, target: str, address: str) -> str:
        # Replicas speak to those that tell names, and to those of their own shard.
        spoken_to = name in FRONT_NAMES or target in TELLERS or name.rsplit("-", 1)[0] == target.rsplit("-", 1)[0]
        if name in TELLERS and target in TELLERS:
            # They are to have the same list, so each goes by the address at which the other reaches it.
            name = next(each for each in TELLERS if each != target)
        if name == target or not spoken_to or name not in (*FRONT_NAMES, *REPLICA_NAMES):
            return address
        return self.network.address(name, target, int(address.rsplit(":", 1)[1]))

    def process(self, name: str) -> Process:
        kind, *numbers = name.split("-")
        if kind == "broker":
            return self.kafka.brokers[int(numbers[0]) - 1]
        if kind == "front":
            return self.front_ends[int(numbers[0])]
        return self.shards[int(numbers[0])][int(numbers[1])]


class FaultTest(harness.SystemTest):
    """Brokers and links that the tests of a class share; each has a deployment under load of its own."""

    FRONT_FLAGS: tuple[str, ...] = ()
    REPLICA_FLAGS: dict[str, tuple[str, ...]] = {}  # by the name of the replica

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mneme-faults-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, ignore_errors=True)
        cls.network = tcp_proxy.Network()
        cls.addClassCleanup(cls.network.close)
        with harness.stopwatch(f"{BROKERS} brokers"):
            cls.kafka = KafkaBrokers(
                cls.folder / "brokers", BROKERS, cls.network, [*FRONT_NAMES, *REPLICA_NAMES]
            )
        cls.addClassCleanup(cls.kafka.kill)

    def begin(self) -> None:
        self.topic = f"mneme-{uuid.uuid4().hex[:8]}"
        self.kafka.create_topic(self.topic, SHARDS)
        self.kafka.create_topic(f"{self.topic}-catalogue", 1)
        folder = self.scratch / "cluster"
        self.deployment = LinkedCluster(
            folder, self.network, self.kafka, self.topic, self.FRONT_FLAGS, self.REPLICA_FLAGS
        )
        self.addCleanup(self.deployment.kill)
        self.addCleanup(self.network.heal)
        addresses = [front.address for front in self.deployment.front_ends]
        self.load = fault_load.Load(self.deployment.client, addresses)
        self.addCleanup(self.load.going.clear)
        self.deployment.client.create_memory(PROBE, 2)
        self.probes = [mneme.connect(address, timeout=PROBE_S, attempts=1) for address in addresses]
        self.recoveries: list[float] = []
        self.entries = 0
        # When reads are held to be answered, and when not: nobody was told names.
        self.served: list[tuple[float, float]] = []
        self.nameless: list[tuple[float, float]] = []

    # --- faults ---

    def kill(self, name: str) -> None:
        self.deployment.process(name).kill()

    def freeze(self, name: str) -> None:
        process = self.deployment.process(name)
        if isinstance(process, Broker):
            process.freeze()
        else:
            process.signal(signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        process = self.deployment.process(name)
        if isinstance(process, Broker):
            process.thaw()
        else:
            process.signal(signal.SIGCONT)

    def revive(self) -> None:
        """Heals every link, and starts whatever does not run: as whoever supervises processes would."""
        self.network.heal()
        for broker in self.kafka.brokers:
            if not broker.alive():
                broker.start()
        for server in (*self.deployment.replicas, *self.deployment.front_ends):
            if not server.alive():
                server.start()

    def let_run(self, seconds: float) -> None:
        """The load goes on; whatever it finds wrong is found at once."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.load.assert_well()
            time.sleep(0.05)

    # --- what must hold ---

    def await_recovery(self, healed: Optional[float] = None) -> float:
        """Until everything answers: reads, writes and reads of sessions through each front end, and every replica is
        ready. Returns how long that took since the moment `healed`, or now."""
        begin = time.monotonic() if healed is None else healed
        self.kafka.await_in_sync(self.topic, BROKERS)
        well = processes.await_true(self.is_well, RECOVERY_S)
        took = time.monotonic() - begin
        self.load.assert_well()
        unready = [each.data_dir.name for each in self.servers() if not ready(each)]
        self.assertTrue(well, f"after {took:.0f} s not everything answers; not ready: {unready}")
        self.recoveries.append(took)
        return took

    def is_well(self) -> bool:
        if not all(ready(each) for each in self.servers()):
            return False
        for client in self.probes:
            memory, sessions = client.memory(PROBE), client.memory(soak_model.STATES)
            try:
                written = memory.insert(np.ones((16, 2), np.float32), np.arange(16), ids=np.arange(16))  # of all shards
                memory.query(np.ones((1, 2), np.float32), 1, exact=True, version=written.version)
                for number in range(4):
                    sessions.session(f"probe{number}").get("cell")
            except fault_load.AGAIN:
                return False
        return True

    def servers(self) -> list[harness.Server]:
        return [*self.deployment.replicas, *self.deployment.front_ends]

    def check(self, whole: bool = True) -> None:
        """With every client between two steps: what the registers showed and, if `whole`, everything that is stored."""
        self.load.assert_well()
        with contextlib.ExitStack() as turns:
            for thread in self.load.threads:
                turns.enter_context(thread.turn)
            self.load.assert_well()
            self.load.registers.judge()
            if not whole:
                return
            self.deployment.await_even()
            for front in self.deployment.front_ends:
                self.entries = soak_model.check_all(front.client, list(self.load.workers))
            self.check_digests()

    def check_digests(self) -> None:
        """`mneme cluster show --digest` is content, and so are we: all serve, and those of a shard hold the same. One
        may be without its log for a moment, at any time: brokers move who leads it back to whom they prefer."""
        shown: list[dict[str, Any]] = []

        def serve() -> bool:
            shown[:] = self.deployment.front_ends[0].cli("cluster", "show", "--digest")["replicas"]
            return all(each["state"] == "serving" for each in shown)

        processes.await_true(serve, RECOVERY_S)
        self.assertEqual(len(shown), len(self.deployment.replicas))
        self.assertEqual({each["state"] for each in shown}, {"serving"}, shown)
        for number in range(SHARDS):
            digests = {each["digest"] for each in shown if each["shard"] == number}
            self.assertEqual(len(digests), 1, shown)
            self.assertNotIn("", digests)

    def note_time(self, begin: float, end: float, names_away: bool = False) -> None:
        """Of a fault and its healing: whether reads are held to their bar then."""
        (self.nameless if names_away else self.served).append((begin, end))

    def finish(self, what: str) -> None:
        """Ends the load, looks at everything once more, and tells."""
        self.load.end()
        self.check()
        harness.note(f"{what}: {self.load.told()}")
        for name, spans in (("with names", self.served), ("while names were away", self.nameless)):
            reads = [each for begin, end in spans for each in self.load.reader.between(begin, end)]
            if not reads:
                continue
            share = sum(answered for _, _, answered in reads) / len(reads)
            longest = max(end - begin for begin, end, _ in reads)
            harness.note(f"reads under faults {name}: {100 * share:.2f} % of {len(reads):,}, at most {longest:.2f} s")
            if name == "with names":
                self.assertGreaterEqual(share, READS_ANSWERED)
        harness.note(
            f"{len(self.recoveries)} recoveries, median {np.median(self.recoveries):.2f} s, at most "
            f"{max(self.recoveries):.2f} s; {self.entries:,} entries in the end: 0 lost, 0 back, 0 altered, 0 twice"
        )


def ready(server: harness.Server) -> bool:
    """Whether it says so; who does not answer within a moment is not."""
    with contextlib.suppress(OSError):
        return server.alive() and server.ready()
    return False
