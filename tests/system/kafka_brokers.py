"""Real brokers of Apache Kafka on this machine, each a process of its own (KRaft, no other service), which a test may
kill, freeze and start again. Their jars are fetched from Maven Central once, into build/kafka, and compared with
tests/system/kafka/jars.sha256; `python3 tests/system/kafka_brokers.py` fetches them, and `--write` writes that list."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import functools
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Callable, Iterator, Optional, Sequence

import cluster
import harness
import kafka_protocol
import tcp_proxy

HERE = harness.ROOT / "tests" / "system" / "kafka"
CACHE = harness.ROOT / "build" / "kafka"
JARS = CACHE / "jars"
LIST = HERE / "jars.sha256"
# What a broker takes of a record: kMaxLogRecordBytes and kLogFramingBytes of common/limits.h.
MAX_RECORD_BYTES = 8 * 1024 * 1024 + 64 * 1024
# A broker is a JVM that starts within seconds by itself, and with three of them and a build beside it within a minute.
START_SECONDS = 180.0
STEP_SECONDS = 10.0

# Of every broker. One that is gone is noticed within seconds instead of ten to thirty of them, and threads are few.
PROPERTIES = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controller.quorum.election.timeout.ms": "500",
    "controller.quorum.fetch.timeout.ms": "1000",
    "replica.lag.time.max.ms": "5000",
    "replica.fetch.wait.max.ms": "100",
    "message.max.bytes": str(MAX_RECORD_BYTES),
    "num.network.threads": "1",
    "num.io.threads": "2",
    "background.threads": "1",
    "num.replica.fetchers": "1",
    "log.cleaner.enable": "false",
}


def _digests(folder: pathlib.Path) -> dict[str, str]:
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in sorted(folder.glob("*.jar"))}


def _listed() -> dict[str, str]:
    lines = (line.split() for line in LIST.read_text().splitlines())
    return {name: digest for digest, name in lines}


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Of tests that run at once, one fetches."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch() -> None:
    for jar in JARS.glob("*.jar"):
        jar.unlink()
    command = ["mvn", "-q", "-B", "-f", HERE / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={JARS}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f"maven exited with {done.returncode}:\n{done.stdout.decode(errors='replace')[-3000:]}")


@functools.lru_cache(maxsize=None)
def jars() -> str:
    """The class path of a broker."""
    with _locked():
        listed = _listed()
        if _digests(JARS) != listed:
            _fetch()
            fetched = _digests(JARS)
            wrong = sorted(name for name in {*fetched, *listed} if fetched.get(name) != listed.get(name))
            if wrong:
                raise RuntimeError(f"these are not as {LIST.name} has them: {', '.join(wrong)}")
    return str(JARS / "*")


class Broker:
    """One process. `kill` is SIGKILL, `freeze` SIGSTOP, `stop` SIGTERM; `start` after any of them."""

    def __init__(self, folder: pathlib.Path, number: int, ports: tuple[int, int], properties: dict[str, str]) -> None:
        self.number, (self.port, self.controller_port) = number, ports
        self.name = f"broker-{number}"
        self.folder = folder / self.name
        self.log = folder / f"broker-{number}.log"
        self.frozen = False
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._properties = {
            **PROPERTIES,
            "node.id": str(number),
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "log.dirs": str(self.folder / "data"),
            **properties,
        }

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def set(self, properties: dict[str, str]) -> None:
        """Before it is formatted."""
        self._properties.update(properties)

    def format(self, cluster_id: str) -> None:
        """What Kafka's own tool writes in another two seconds."""
        data = pathlib.Path(self._properties["log.dirs"])
        data.mkdir(parents=True)
        _write(data / "meta.properties", {"version": "1", "cluster.id": cluster_id, "node.id": str(self.number)})
        _write(self.folder / "server.properties", self._properties)

    def start(self) -> None:
        command = [
            *("java", "-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            *(f"-Dlog4j.configuration=file:{HERE / 'log4j.properties'}", "-cp", jars()),
            *("kafka.Kafka", str(self.folder / "server.properties")),
        ]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.folder, env=_environment()
            )

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def running(self) -> bool:
        return self.alive() and not self.frozen

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        assert self._process is not None
        self.frozen = True
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self.frozen = False
        self._process.send_signal(signal.SIGCONT)

    def tail_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def _end(self, how: signal.Signals) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(how)
        self.thaw()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(60)
            raise AssertionError(f"broker {self.number} outlived {how.name}:\n{self.tail_of_log()}") from None


class KafkaBrokers:
    """`count` brokers, 1 or 3, that have started; `properties` are Kafka's own, with _ for each dot of a name.

    A topic has as many replicas as there are brokers, up to three, and an append waits for two of three. With a
    `network` each of `clients` reaches each broker through a link of its own, and so do the brokers each other.
    """

    def __init__(
        self,
        folder: pathlib.Path,
        count: int = 1,
        network: Optional[tcp_proxy.Network] = None,
        clients: Sequence[str] = (),
        **properties: str,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ports = cluster.free_ports(2 * count)
        voters = ",".join(f"{number + 1}@127.0.0.1:{ports[2 * number + 1]}" for number in range(count))
        self._network, self.clients = network, list(clients)
        self._own_ports: dict[tuple[str, int], int] = {}  # of the listener of a client, or of a broker, at a broker
        given = {
            "controller.quorum.voters": voters,
            "default.replication.factor": str(count),
            "min.insync.replicas": str(count // 2 + 1),
            "offsets.topic.replication.factor": str(count),
            **{name.replace("_", "."): value for name, value in properties.items()},
        }
        self.brokers = [
            Broker(folder, number + 1, (ports[2 * number], ports[2 * number + 1]), given) for number in range(count)
        ]
        if network is not None:
            self._link_all(network)
        cluster_id = base64.urlsafe_b64encode(os.urandom(16)).decode().rstrip("=")
        try:
            for broker in self.brokers:
                broker.format(cluster_id)
                broker.start()
            self._until(lambda: all(self._answers(broker) for broker in self.brokers), START_SECONDS, "start")
        except BaseException:
            self.kill()
            raise

    @property
    def addresses(self) -> str:
        return ",".join(f"127.0.0.1:{broker.port}" for broker in self.brokers)

    def url(self, topic: str, client: str = "") -> str:
        """What --log takes: of a `client` that has links, through these."""
        if self._network is None or client not in self.clients:
            return f"kafka://{self.addresses}/{topic}"
        reached = [
            self._network.address(client, broker.name, self._own_ports[(client, broker.number)])
            for broker in self.brokers
        ]
        return f"kafka://{','.join(reached)}/{topic}"

    def create_topic(self, name: str, partitions: int, **settings: str) -> None:
        """`settings` of the topic, with _ for each dot of a name. Returns once every partition is led and in sync."""
        given = {key.replace("_", "."): value for key, value in settings.items()}

        def created() -> bool:
            address = self._running()[0].address
            kafka_protocol.create_topic(address, name, partitions, len(self.brokers), given, STEP_SECONDS)
            return True

        self._until(created, START_SECONDS, f"make topic {name}")
        self.await_in_sync(name, len(self.brokers))

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Drops the front of a partition: the first offset that it keeps is `before`."""

        def deleted() -> bool:
            leader = self.leader(topic, partition).address
            return kafka_protocol.delete_records(leader, topic, partition, before, STEP_SECONDS) == before

        self._until(deleted, START_SECONDS, f"drop what {topic} {partition} has before {before}")

    def leader(self, topic: str, partition: int) -> Broker:
        """Waits for one."""
        found: list[int] = []

        def led() -> bool:
            found[:] = [each.leader for each in self.partitions(topic)[partition : partition + 1]]
            return bool(found) and found[0] > 0 and self.brokers[found[0] - 1] in self._running()

        self._until(led, START_SECONDS, f"lead {topic} {partition}")
        return self.brokers[found[0] - 1]

    def partitions(self, topic: str) -> list[kafka_protocol.Partition]:
        """As some broker that runs has it."""
        return kafka_protocol.partitions_of(self._running()[0].address, topic, STEP_SECONDS)

    def await_in_sync(self, topic: str, replicas: int) -> None:
        """Until each partition has a leader and so many replicas in sync, and every broker that runs says so."""

        def in_sync() -> bool:
            views = [kafka_protocol.partitions_of(each.address, topic, STEP_SECONDS) for each in self._running()]
            return all(view and view == views[0] for view in views) and all(
                each.leader > 0 and len(each.in_sync) == replicas for each in views[0]
            )

        self._until(in_sync, START_SECONDS, f"have {replicas} replicas of {topic} in sync")

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()

    def _link_all(self, network: tcp_proxy.Network) -> None:
        """A broker tells who asks the addresses of all brokers for the listener at which he asks. So everybody has a
        listener of his own at each broker, whose address there is that of his link. Voters are said to each by name."""
        names = [*(broker.name for broker in self.brokers), *self.clients]
        ports = iter(cluster.free_ports(len(names) * len(self.brokers)))
        for broker in self.brokers:
            listeners = {"PLAINTEXT": broker.port, "CONTROLLER": broker.controller_port}
            advertised = [f"PLAINTEXT://127.0.0.1:{broker.port}"]
            for name in names:
                port = self._own_ports[(name, broker.number)] = next(ports)
                reached = network.address(name, broker.name, port) if name != broker.name else f"127.0.0.1:{port}"
                listeners[_listener(name)] = port
                advertised.append(f"{_listener(name)}://{reached}")
            voters = [
                f"{each.number}@{network.address(broker.name, each.name, each.controller_port)}"
                if each is not broker
                else f"{each.number}@127.0.0.1:{each.controller_port}"
                for each in self.brokers
            ]
            broker.set(
                {
                    "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, port in listeners.items()),
                    "advertised.listeners": ",".join(advertised),
                    "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
                    "inter.broker.listener.name": _listener(broker.name),
                    "controller.quorum.voters": ",".join(voters),
                }
            )

    def _running(self) -> list[Broker]:
        running = [broker for broker in self.brokers if broker.running()]
        if not running:
            raise AssertionError("no broker runs")
        return running

    def _answers(self, broker: Broker) -> bool:
        if not broker.alive():
            raise AssertionError(f"broker {broker.number} has ended:\n{broker.tail_of_log()}")
        with contextlib.suppress(OSError):
            kafka_protocol.partitions_of(broker.address, "-", timeout=1.0)
            return True
        return False

    def _until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        end, last = time.monotonic() + seconds, ""
        while time.monotonic() < end:
            try:
                if holds():
                    return
            except (OSError, kafka_protocol.Refused) as error:
                last = str(error)
            time.sleep(0.1)
        logs = "\n".join(broker.tail_of_log() for broker in self.brokers)
        raise AssertionError(f"brokers did not {what} within {seconds} s: {last}\n{logs}")


def _listener(name: str) -> str:
    return name.replace("-", "_").upper()


def _write(path: pathlib.Path, properties: dict[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))


def _environment() -> dict[str, str]:
    """Without what would change how a JVM runs."""
    return {name: value for name, value in os.environ.items() if name not in ("JAVA_TOOL_OPTIONS", "CLASSPATH")}


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        with _locked():
            _fetch()
            LIST.write_text("".join(f"{digest}  {name}\n" for name, digest in _digests(JARS).items()))
    print(jars())
