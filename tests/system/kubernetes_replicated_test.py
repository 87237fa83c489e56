"""The pods of deploy/kubernetes.replicated, as processes over a real broker: started from the environment of the
manifests and of the image, probed as the manifests say, with topics from the Job that makes them there. Those of
deploy/kubernetes.secure have their files checked by the server."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import unittest

import harness
import numpy as np
import yaml
from compose_replicated_test import services, topic_arguments
from credentials import Authority, make_token, run_cli
from kafka_brokers import KafkaBrokers
from pods import DEPLOY, Manifests, Pod, PodsTest

JOB = "mneme-topics"
SHARDS = ("mneme-shard-0", "mneme-shard-1")


class ReplicatedPods(PodsTest):
    FOLDER = "kubernetes.replicated"

    def start_broker(self) -> None:
        """One, in the place of three: compose_replicated_test.py has as many, with the same settings."""
        kafka = KafkaBrokers(self.scratch / "kafka", 1)
        self.addCleanup(kafka.kill)
        for container in self.manifests.named("Job", JOB)["spec"]["template"]["spec"]["containers"]:
            made, settings = topic_arguments(container["args"])
            given = {key.replace(".", "_"): value for key, value in settings.items()}
            given["min_insync_replicas"] = "1"
            kafka.create_topic(made["topic"], int(made["partitions"]), **given)
        brokers = self.manifests.named("ConfigMap", "kafka")["data"]["brokers"]
        self.addresses |= {address: kafka.addresses for address in brokers.split(",")}

    def cluster(self, *words: str) -> str:
        done = run_cli("--server", self.pods["mneme-front-end-0"].address, "cluster", *words)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_pods_are_one_memory_that_is_disrupted_and_grows_and_shrinks(self) -> None:
        replicas = [f"{shard}-{index}" for shard in SHARDS for index in range(2)]
        front_ends = ["mneme-front-end-0", "mneme-front-end-1"]
        self.assertEqual(list(self.pods), replicas + front_ends)
        self.start_broker()
        self.start(*front_ends, *reversed(replicas))
        self.wait_for("started", *self.pods)
        self.wait_for("ready", *self.pods)

        first, second = self.client("mneme-front-end-0"), self.client("mneme-front-end-1")
        first.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(400, 8)).astype(np.float32)

        def write(begin: int, end: int) -> None:
            numbers = np.arange(begin, end)
            version = first.memory("wiki").insert(keys[begin:end], numbers % 100, ids=numbers).version
            found = second.memory("wiki").query(keys[begin:end], 1, exact=True, version=version)
            self.assertEqual(found.ids.tolist(), numbers.tolist())

        write(0, 100)
        # What the budgets let one drain of nodes take, and what comes back in its place.
        gone = ["mneme-shard-0-0", "mneme-shard-1-1"]
        self.delete(*gone)
        self.assertFalse(any(self.pods[name].ready() or self.pods[name].alive() for name in gone))
        write(100, 200)
        self.start(*gone)
        self.wait_for("started", *gone)
        self.wait_for("ready", *gone)

        # As docs/operations.md has it: one more address, one more pod, and then it is added.
        shard = self.manifests.named("StatefulSet", "mneme-shard-1")
        addresses = self.manifests.named("ConfigMap", "shard-addresses")["data"]
        addresses["MNEME_SHARD_ADDRESSES"] += "|mneme-shard-1-2.mneme-shards.mneme.svc:7700"
        self.add(shard, shard["spec"]["replicas"])
        third = "mneme-shard-1-2"
        self.start(third)
        self.cluster("add", "1", self.pods[third].address)
        self.wait_for("ready", third)
        for name in ("mneme-shard-1-0", "mneme-shard-1-1"):
            self.pods[name].kill()
        write(200, 300)
        self.start("mneme-shard-1-0", "mneme-shard-1-1")
        self.wait_for("ready", "mneme-shard-1-0", "mneme-shard-1-1")

        # The last one goes: drained, and then as the StatefulSet takes it.
        self.cluster("drain", self.pods[third].address)
        self.delete(third)
        write(300, 400)
        self.assertNotIn(self.pods[third].address, self.cluster("show"))

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        self.assert_every_variable_is_read()


class SecurePods(PodsTest):
    FOLDER = "kubernetes.secure"

    def secrets(self) -> dict[str, dict[str, pathlib.Path]]:
        """The files of each Secret, made as kustomization.yaml says."""
        inside, outside = Authority(self.scratch / "inside"), Authority(self.scratch / "outside")
        certificate, key = inside.issue("processes", "DNS:*.mneme-shards.mneme.svc")
        token = self.scratch / "token"
        token.write_text(make_token(self.scratch / "inside" / "tokens", "front-ends", more=("--peer",)))
        server, server_key = outside.issue("server", "DNS:mneme.mneme.svc")
        make_token(self.scratch / "outside" / "tokens", "ops", "admin:*")
        settings, client = self.scratch / "log-settings", self.scratch / "client.properties"
        settings.write_text("security.protocol=ssl\n")
        client.write_text("security.protocol=SSL\n")
        return {
            "mneme-inside": {"tls.crt": certificate, "tls.key": key, "ca.crt": inside.ca},
            "mneme-peer": {"tokens": self.scratch / "inside" / "tokens", "token": token},
            "mneme-outside": {"tls.crt": server, "tls.key": server_key},
            "mneme-tokens": {"tokens": self.scratch / "outside" / "tokens"},
            "mneme-log": {"log-settings": settings, "client.properties": client},
        }

    def mounted(self, pod: Pod, secrets: dict[str, dict[str, pathlib.Path]]) -> dict[str, pathlib.Path]:
        """What lies where in the pod."""
        mounts = {each["name"]: each for each in pod.container["volumeMounts"]}
        out: dict[str, pathlib.Path] = {}
        for volume in pod.template["spec"]["volumes"]:
            if "secret" not in volume:
                continue
            self.assertEqual(volume["secret"]["defaultMode"], 0o440)
            self.assertTrue(mounts[volume["name"]]["readOnly"])
            for name, path in secrets[volume["secret"]["secretName"]].items():
                out[f"{mounts[volume['name']]['mountPath']}/{name}"] = path
        return out

    def test_the_server_takes_its_secrets_and_encrypts_every_way(self) -> None:
        secrets = self.secrets()
        for pod in self.pods.values():
            self.assertEqual(pod.template["spec"]["securityContext"]["fsGroup"], 65532)
            files = self.mounted(pod, secrets)
            given = {
                name: str(files[value]) if value.startswith("/secrets/") else value for name, value in pod.given.items()
            }
            command = [harness.BIN / "mneme-server", "--check-config"]
            done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, f"{pod.name}: {done.stderr}")
            taken = json.loads(done.stdout)
            self.assertFalse(taken["insecure_listen"], pod.name)
            self.assertFalse(taken["insecure_admin_listen"], pod.name)
            for name in ("MNEME_TLS_CERTIFICATE", "MNEME_TOKENS", "MNEME_SHARD_TLS_CA", "MNEME_LOG_SETTINGS"):
                self.assertIn(given[name], done.stdout, f"{pod.name}: {name}")

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        self.assert_every_variable_is_read()

    def test_the_tool_speaks_to_the_brokers_as_its_secret_says(self) -> None:
        spec = self.manifests.named("Job", JOB)["spec"]["template"]["spec"]
        (client,) = [volume for volume in spec["volumes"] if volume["name"] == "client"]
        self.assertEqual(client["secret"]["secretName"], "mneme-log")
        self.assertNotIn("configMap", client)


class ReplicatedManifests(unittest.TestCase):
    def setUp(self) -> None:
        self.manifests = Manifests("kubernetes.replicated")

    def test_shards_are_the_same_but_for_their_numbers(self) -> None:
        first = (DEPLOY / "kubernetes.replicated" / "shard-0.yaml").read_text()
        second = (DEPLOY / "kubernetes.replicated" / "shard-1.yaml").read_text()
        anew = first.replace("mneme-shard-0", "mneme-shard-1").replace('mneme.shard: "0"', 'mneme.shard: "1"')
        self.assertEqual(list(yaml.safe_load_all(anew)), list(yaml.safe_load_all(second)))

    def test_no_node_has_two_replicas_of_a_shard(self) -> None:
        for name in SHARDS:
            spec = self.manifests.named("StatefulSet", name)["spec"]["template"]
            labels = {"matchLabels": spec["metadata"]["labels"]}
            terms = spec["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            self.assertEqual(terms, [{"topologyKey": "kubernetes.io/hostname", "labelSelector": labels}])
            (spread,) = spec["spec"]["topologySpreadConstraints"]
            self.assertEqual(spread["labelSelector"], labels)

    def test_a_start_may_take_as_long_as_a_copy(self) -> None:
        for name in SHARDS:
            (container,) = self.manifests.named("StatefulSet", name)["spec"]["template"]["spec"]["containers"]
            start, alive = container["startupProbe"], container["livenessProbe"]
            # A terabyte, by docs/operations.md.
            self.assertGreater(start["periodSeconds"] * start["failureThreshold"], 2.5 * 3600)
            self.assertGreaterEqual(alive["periodSeconds"] * alive["failureThreshold"], 300)

    def test_topics_are_those_of_the_log_and_set_as_elsewhere(self) -> None:
        kafka = self.manifests.named("ConfigMap", "kafka")["data"]
        log = self.manifests.named("ConfigMap", "shard-addresses")["data"]["MNEME_LOG"]
        spec = self.manifests.named("Job", JOB)["spec"]["template"]["spec"]
        compose = services()
        for container, other in zip(spec["containers"], ("kafka-topic", "kafka-topic-catalogue"), strict=True):
            made, settings = topic_arguments(container["args"])
            wanted, wanted_settings = topic_arguments(compose[other]["command"])
            self.assertEqual(made.pop("bootstrap-server"), "$(BROKERS)")
            self.assertEqual(made.pop("command-config"), "/client/client.properties")
            del wanted["bootstrap-server"]
            self.assertEqual(made, wanted)
            # Brokers that are not ours may have another default.
            self.assertEqual(settings, {**wanted_settings, "unclean.leader.election.enable": "false"})
            self.assertEqual(container["image"], compose[other]["image"])
            self.assertEqual(container["command"], compose[other]["entrypoint"])
            variables = {each["name"]: each for each in container["env"]}
            brokers = variables["BROKERS"]["valueFrom"]["configMapKeyRef"]
            self.assertEqual(brokers, {"name": "kafka", "key": "brokers"})
        entries, _ = topic_arguments(spec["containers"][0]["args"])
        self.assertEqual(log, f"kafka://{kafka['brokers']}/{entries['topic']}")
        self.assertEqual(int(entries["partitions"]), len(self.manifests.of_kind("StatefulSet")))
        self.assertGreaterEqual(len(kafka["brokers"].split(",")), 3)


if __name__ == "__main__":
    harness.main()
