"""The processes of deploy/compose.yaml, started from its environment variables and those of the Dockerfile, so that
neither can rot: no flag is given, and what a container gets from its network and volumes is all that is put in."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import time

import cluster
import containers
import harness
import mneme
import numpy as np
import yaml
from credentials import Authority, make_token, run_cli

COMPOSE = harness.ROOT / "deploy" / "compose.yaml"
SECURE = harness.ROOT / "deploy" / "compose.secure.yaml"


class Service(containers.Container):
    def __init__(self, name: str, service: dict, scratch: pathlib.Path, ports: tuple[int, int]) -> None:
        super().__init__(name, service["environment"], scratch, ports)
        self.service = service

    def healthy(self) -> bool:
        """By the command of the health check."""
        command = [each.replace("127.0.0.1:7700", self.address) for each in self.service["healthcheck"]["test"][1:]]
        command[0] = str(harness.BIN / command[0])
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0


class Compose(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        services = yaml.safe_load(COMPOSE.read_text())["services"]
        # Those that run with no profile.
        services = {name: service for name, service in services.items() if "profiles" not in service}
        ports = iter(cluster.free_ports(2 * len(services)))
        self.containers = {
            name: Service(name, service, self.scratch, (next(ports), next(ports)))
            for name, service in services.items()
        }
        self.names = {f"{name}:7700": each.address for name, each in self.containers.items()}
        for each in self.containers.values():
            self.addCleanup(each.kill)

    def start(self, *names: str) -> None:
        for name in names:
            self.containers[name].start(self.names)

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

    def metrics(self, name: str) -> str:
        return self.containers[name].page("/metrics")

    def test_its_processes_are_one_memory_through_either_front_end(self) -> None:
        names = list(self.containers)
        self.assertEqual(names, ["shard-0", "shard-1", "front-end-0", "front-end-1"])
        # In the order in which nothing is ready: front ends and the second shard wait for the first.
        self.start("front-end-1", "front-end-0", "shard-1")
        time.sleep(0.5)
        self.assertFalse(any(self.containers[name].healthy() for name in names))
        self.start("shard-0")
        self.await_health(*names)

        first, second = self.client("front-end-0"), self.client("front-end-1")
        first.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(500, 8)).astype(np.float32)
        version = second.memory("wiki").insert(keys, np.arange(500) % 100, ids=np.arange(500)).version
        found = first.memory("wiki").query(keys[:20], 1, exact=True, version=version)
        self.assertEqual(found.ids.tolist(), list(range(20)))
        self.assertEqual(first.statistics().shards, 2)

        # Each role tells what it has.
        for name in ("shard-0", "shard-1"):
            entries = float(re.search(r"^mneme_entries (\S+)$", self.metrics(name), re.M)[1])
            self.assertGreater(entries, 100)
        self.assertIn("grpc_server_handled_total", self.metrics("front-end-0"))
        self.assertNotIn("mneme_entries ", self.metrics("front-end-0"))
        self.assertFalse(self.containers["front-end-0"].volume.exists(), "a front end keeps nothing")

        # `restart: unless-stopped` after a crash of each.
        for name in names:
            self.containers[name].kill()
            self.start(name)
            self.await_health(name)
        self.assertEqual(self.client("front-end-1").memory("wiki").count(), 500)

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        known = containers.known_variables()
        for each in self.containers.values():
            self.assertLessEqual(set(each.given), known, each.name)

    def test_the_image_does_not_start_unencrypted_unless_told_to(self) -> None:
        given = {**os.environ, **containers.image_environment(), "MNEME_DATA_DIR": str(self.scratch / "image")}
        done = subprocess.run([harness.BIN / "mneme-server"], env=given, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 2)
        self.assertIn('--listen is "0.0.0.0:7700"; must be of this machine', done.stderr)

    def test_the_secure_one_lets_in_who_has_a_token(self) -> None:
        secrets = self.scratch / "secrets"
        authority = Authority(secrets)
        authority.issue("server", "DNS:localhost", "IP:127.0.0.1", "DNS:memory.example.org")
        token = make_token(secrets / "tokens", "ops", "admin:*")
        service = yaml.safe_load(SECURE.read_text())["services"]["mneme"]
        self.assertNotIn("MNEME_INSECURE_LISTEN", {**containers.image_environment(), **service["environment"]})
        service["environment"] = {
            name: value.replace("/secrets", str(secrets)) for name, value in service["environment"].items()
        }
        ports = cluster.free_ports(2)
        secure = Service("secure", service, self.scratch, (ports[0], ports[1]))
        self.addCleanup(secure.kill)
        secure.start({})
        end = time.monotonic() + harness.START_SECONDS
        # The health check of the image, with what the container's environment says of the ca.
        while run_cli("--server", secure.address, "health", MNEME_TLS_CA=authority.ca).returncode != 0:
            self.assertLess(time.monotonic(), end, secure.log.read_text()[-3000:])
            time.sleep(0.1)
        asked = run_cli("--server", secure.address, "list", MNEME_TLS_CA=authority.ca, MNEME_TOKEN=token)
        self.assertEqual(asked.returncode, 0, asked.stderr)
        refused = run_cli("--server", secure.address, "list", MNEME_TLS_CA=authority.ca)
        self.assertEqual(refused.returncode, 64 + 16, refused.stderr)

    def test_volumes_limits_and_health_checks_are_there(self) -> None:
        for name, each in self.containers.items():
            role = each.service["environment"]["MNEME_ROLE"]
            self.assertEqual("volumes" in each.service, role == "shard", name)
            for key in ("healthcheck", "mem_limit", "cpus", "restart", "read_only"):
                self.assertIn(key, each.service, name)
            self.assertEqual(each.given["MNEME_SEARCH_THREADS"], str(each.service["cpus"]), name)


if __name__ == "__main__":
    harness.main()
