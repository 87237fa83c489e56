"""The processes of deploy/compose.replicated.yaml, brokers included, started from its environment variables and those
of the Dockerfile, and its topics from the commands that make them there, so that none of them can rot."""

from __future__ import annotations

import re
import time
from typing import Any

import cluster
import containers
import harness
import mneme
import numpy as np
import yaml
from compose_test import Service
from kafka_brokers import MAX_RECORD_BYTES, PROPERTIES, KafkaBrokers

COMPOSE = harness.ROOT / "deploy" / "compose.replicated.yaml"
MONITORING = harness.ROOT / "deploy" / "monitoring"
# What a container gets from its network, its volumes and its image.
PLACED = {
    "KAFKA_NODE_ID",
    "KAFKA_LISTENERS",
    "KAFKA_ADVERTISED_LISTENERS",
    "KAFKA_CONTROLLER_QUORUM_VOTERS",
    "KAFKA_LOG_DIRS",
    "KAFKA_HEAP_OPTS",
}
# Of the brokers that tests start, too, whose losses they measure.
QUICK = [
    "broker.session.timeout.ms",
    "broker.heartbeat.interval.ms",
    "controller.quorum.election.timeout.ms",
    "controller.quorum.fetch.timeout.ms",
]
TOPICS = ["kafka-topic", "kafka-topic-catalogue"]
REPLICAS = ["shard-0-0", "shard-0-1", "shard-1-0", "shard-1-1"]
FRONT_ENDS = ["front-end-0", "front-end-1"]


def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


def topic_arguments(command: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """What the topic is made with, and its settings."""
    words = [word.removeprefix("--").partition("=") for word in command]
    settings = dict(value.split("=") for name, _, value in words if name == "config")
    return {name: value for name, _, value in words if name != "config"}, settings


class ReplicatedCompose(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        own = {name: each for name, each in services().items() if each["image"] == "mneme:latest"}
        ports = iter(cluster.free_ports(2 * len(own)))
        self.containers = {
            name: Service(name, service, self.scratch, (next(ports), next(ports))) for name, service in own.items()
        }

    def start_brokers(self) -> KafkaBrokers:
        given = services()["kafka-0"]["environment"]
        properties = {
            name.removeprefix("KAFKA_").lower(): value
            for name, value in given.items()
            if name.startswith("KAFKA_") and name not in PLACED
        }
        kafka = KafkaBrokers(self.scratch / "kafka", 3, **properties)
        self.addCleanup(kafka.kill)
        for service in TOPICS:
            made, settings = topic_arguments(services()[service]["command"])
            self.assertEqual(made["replication-factor"], "3")
            given = {key.replace(".", "_"): value for key, value in settings.items()}
            kafka.create_topic(made["topic"], int(made["partitions"]), **given)
        return kafka

    def start(self, *names: str) -> None:
        for name in names:
            self.containers[name].start(self.names)
            self.addCleanup(self.containers[name].kill)

    def await_health(self, *names: str) -> None:
        end = time.monotonic() + harness.START_SECONDS
        for name in names:
            while not self.containers[name].healthy():
                self.assertLess(time.monotonic(), end, f"{name}: {self.containers[name].log.read_text()[-3000:]}")
                time.sleep(0.1)

    def client(self, name: str) -> mneme.Client:
        client = mneme.connect(self.containers[name].address, timeout=60)
        self.addCleanup(client.close)
        return client

    def metric(self, name: str, metric: str) -> float:
        found = re.search(rf"^{metric} (\S+)$", self.containers[name].page("/metrics"), re.M)
        assert found is not None, metric
        return float(found[1])

    def test_its_processes_are_one_memory_that_no_single_loss_takes_away(self) -> None:
        self.assertEqual(list(self.containers), REPLICAS + FRONT_ENDS)
        kafka = self.start_brokers()
        self.names = {f"{name}:7700": each.address for name, each in self.containers.items()}
        self.names |= {f"kafka-{i}:9092": f"127.0.0.1:{broker.port}" for i, broker in enumerate(kafka.brokers)}
        # In the order in which nothing is ready.
        self.start(*FRONT_ENDS, *reversed(REPLICAS))
        self.await_health(*REPLICAS, *FRONT_ENDS)

        first, second = self.client("front-end-0"), self.client("front-end-1")
        first.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(600, 8)).astype(np.float32)

        def write(client: mneme.Client, begin: int, end: int) -> Any:
            numbers = np.arange(begin, end)
            return client.memory("wiki").insert(keys[begin:end], numbers % 100, ids=numbers).version

        version = write(second, 0, 200)
        found = first.memory("wiki").query(keys[:20], 1, exact=True, version=version)
        self.assertEqual(found.ids.tolist(), list(range(20)))
        self.assertEqual(first.statistics().shards, 2)

        # A replica of each shard, and a broker that leads one of them.
        lost = ["shard-0-1", "shard-1-0"]
        for name in lost:
            self.containers[name].kill()
        broker = kafka.leader("mneme", 0)
        broker.kill()
        version = write(first, 200, 400)
        for client in (first, second):
            found = client.memory("wiki").query(keys[380:400], 1, exact=True, version=version)
            self.assertEqual(found.ids.tolist(), list(range(380, 400)))

        # `restart: unless-stopped`; those that were away have what they missed before they serve, and are alone now.
        broker.start()
        self.start(*lost)
        self.await_health(*lost)
        for name in ("shard-1-1", "front-end-0"):
            self.containers[name].kill()
        version = write(second, 400, 600)
        found = second.memory("wiki").query(keys, 1, exact=True, version=version)
        self.assertEqual(found.ids.tolist(), list(range(600)))
        self.assertEqual(second.memory("wiki").count(), 600)

        rules = yaml.safe_load((MONITORING / "alerts.replicated.yaml").read_text())["groups"]
        named = {word for group in rules for rule in group["rules"] for word in re.findall(r"mneme_\w+", rule["expr"])}
        ahead = "mneme_clock_ahead_seconds"
        self.assertEqual(named, {ahead, "mneme_log_backlog", "mneme_log_failed", "mneme_log_lost"})
        self.assertLess(abs(self.metric("shard-1-0", ahead)), 60)
        for metric in named - {ahead}:
            self.assertGreaterEqual(self.metric("shard-1-0", metric), 0)

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        known = containers.known_variables()
        for each in self.containers.values():
            self.assertLessEqual(set(each.given), known, each.name)

    def test_volumes_limits_and_health_checks_are_there(self) -> None:
        for name, service in services().items():
            if "profiles" in service:
                continue
            keeps = name.startswith("shard-") or re.fullmatch(r"kafka-\d", name) is not None
            self.assertEqual("volumes" in service, keeps, name)
            wanted = {"mem_limit", "cpus", "restart", "cap_drop", "security_opt"}
            wanted |= set() if name in TOPICS else {"healthcheck"}
            wanted |= {"read_only"} if name in self.containers else set()
            self.assertLessEqual(wanted, set(service), name)
            if name in self.containers:
                self.assertEqual(self.containers[name].given["MNEME_SEARCH_THREADS"], str(service["cpus"]), name)

    def test_the_topic_has_a_partition_for_each_shard_and_keeps_what_was_acknowledged(self) -> None:
        made, settings = topic_arguments(services()["kafka-topic"]["command"])
        addresses = self.containers["front-end-0"].given["MNEME_SHARD_ADDRESSES"]
        self.assertEqual(int(made["partitions"]), len(addresses.split(",")))
        self.assertEqual(made["topic"], self.containers["front-end-0"].given["MNEME_LOG"].rsplit("/", 1)[1])
        self.assertEqual(int(settings["max.message.bytes"]), MAX_RECORD_BYTES)
        self.assertEqual(settings["min.insync.replicas"], "2")
        self.assertEqual((settings["retention.ms"], settings["retention.bytes"]), ("-1", "-1"))
        names, of_names = topic_arguments(services()["kafka-topic-catalogue"]["command"])
        self.assertEqual((names["topic"], names["partitions"]), (f"{made['topic']}-catalogue", "1"))
        self.assertEqual({**settings, **of_names}, settings, "they are kept as well as entries are")
        for name in ("kafka-0", "kafka-1", "kafka-2"):
            given = services()[name]["environment"]
            self.assertEqual(int(given["KAFKA_MESSAGE_MAX_BYTES"]), MAX_RECORD_BYTES)
            self.assertEqual(given["KAFKA_ADVERTISED_LISTENERS"], f"PLAINTEXT://{name}:9092")
            self.assertIn(f"{given['KAFKA_NODE_ID']}@{name}:9093", given["KAFKA_CONTROLLER_QUORUM_VOTERS"].split(","))

    def test_a_broker_that_is_gone_is_replaced_within_seconds(self) -> None:
        given = services()["kafka-0"]["environment"]
        for name in QUICK:
            self.assertEqual(given["KAFKA_" + name.upper().replace(".", "_")], PROPERTIES[name], name)

    def test_prometheus_asks_every_process(self) -> None:
        asked = yaml.safe_load((MONITORING / "prometheus.replicated.yaml").read_text())
        targets = {
            job["job_name"]: [each for config in job["static_configs"] for each in config["targets"]]
            for job in asked["scrape_configs"]
        }
        self.assertEqual(targets["mneme-shard"], [f"{name}:7701" for name in REPLICAS])
        self.assertEqual(targets["mneme-front-end"], [f"{name}:7701" for name in FRONT_ENDS])
        plain = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
        self.assertEqual(list(targets), [job["job_name"] for job in plain["scrape_configs"]])
        mounted = [volume.split(":")[1] for volume in services()["prometheus"]["volumes"]]
        self.assertLessEqual(set(asked["rule_files"]), set(mounted))


if __name__ == "__main__":
    harness.main()
