"""The pods of deploy/kubernetes, as processes: started from the environment of the manifests and of the image, probed
as the manifests say, and on the same volume after they were deleted. No cluster is needed, and none is asked."""

from __future__ import annotations

import pathlib
import re
import time
import unittest
from typing import Any, Iterator

import cluster
import containers
import grpc
import harness
import mneme
import numpy as np
import yaml

FOLDER = harness.ROOT / "deploy" / "kubernetes"
Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((FOLDER / name).read_text())]


def of_kind(kind: str) -> list[Manifest]:
    return [each for each in manifests() if each["kind"] == kind]


def only(kind: str) -> Manifest:
    (found,) = of_kind(kind)
    return found


def workloads() -> Iterator[tuple[str, Manifest, Manifest]]:
    """(name, the workload, the template of its pods)"""
    for each in (only("StatefulSet"), only("Deployment")):
        yield each["metadata"]["name"], each, each["spec"]["template"]


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def gibibytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Gi|Mi)(?:B)?", text).groups()  # type: ignore[union-attr]
    return int(number) / (1 if unit == "Gi" else 1024)


class Pod(containers.Container):
    def __init__(
        self, name: str, index: int, template: Manifest, scratch: pathlib.Path, ports: tuple[int, int]
    ) -> None:
        (self.container,) = template["spec"]["containers"]
        super().__init__(name, self.variables(index), scratch, ports)

    def variables(self, index: int) -> dict[str, str]:
        """As the kubelet makes them."""
        out: dict[str, str] = {}
        for source in self.container["envFrom"]:
            named = source["configMapRef"]["name"]
            (found,) = [each for each in of_kind("ConfigMap") if each["metadata"]["name"] == named]
            out.update(found["data"])
        for variable in self.container["env"]:
            if "value" in variable:
                out[variable["name"]] = variable["value"]
            elif "fieldRef" in variable["valueFrom"]:
                path = variable["valueFrom"]["fieldRef"]["fieldPath"]
                assert path == "metadata.labels['apps.kubernetes.io/pod-index']", path
                out[variable["name"]] = str(index)
            else:
                resource = variable["valueFrom"]["resourceFieldRef"]
                assert (resource["resource"], resource["divisor"]) == ("limits.cpu", "1")
                out[variable["name"]] = self.container["resources"]["limits"]["cpu"]
        return out

    def ready(self) -> bool:
        """By the readiness probe: gRPC's health of the whole server."""
        assert self.container["readinessProbe"]["grpc"] == {"port": 7700}
        with grpc.insecure_channel(self.address) as channel:
            check = channel.unary_unary("/grpc.health.v1.Health/Check")
            try:
                return bool(check(b"", timeout=3) == b"\x08\x01")  # status: SERVING
            except grpc.RpcError:
                return False

    def alive(self) -> bool:
        """By the liveness probe."""
        probe = self.container["livenessProbe"]["httpGet"]
        assert probe["port"] == "admin"
        try:
            return self.page(probe["path"]) == "ok\n"
        except OSError:
            return False


class Pods(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        shards, front_ends = only("StatefulSet"), only("Deployment")
        names = [(shards, index) for index in range(shards["spec"]["replicas"])]
        names += [(front_ends, index) for index in range(front_ends["spec"]["replicas"])]
        ports = iter(cluster.free_ports(2 * len(names)))
        self.pods: dict[str, Pod] = {}
        self.addresses: dict[str, str] = {}
        for workload, index in names:
            name = f"{workload['metadata']['name']}-{index}"
            pod = Pod(name, index, workload["spec"]["template"], self.scratch, (next(ports), next(ports)))
            self.addCleanup(pod.kill)
            self.pods[name] = pod
            if workload is shards:
                self.addresses[f"{name}.{shards['spec']['serviceName']}:7700"] = pod.address

    def start(self, *names: str) -> None:
        for name in names:
            self.pods[name].start(self.addresses)

    def wait_for(self, what: str, *names: str) -> None:
        end = time.monotonic() + harness.START_SECONDS
        for name in names:
            while not getattr(self.pods[name], what)():
                self.assertLess(time.monotonic(), end, f"{name}: {self.pods[name].log.read_text()[-3000:]}")
                time.sleep(0.05)

    def client(self, name: str) -> mneme.Client:
        client = mneme.connect(self.pods[name].address, timeout=60)
        self.addCleanup(client.close)
        return client

    def test_pods_are_one_memory_and_keep_it_on_their_volumes(self) -> None:
        names = list(self.pods)
        self.assertEqual(names, ["mneme-shard-0", "mneme-shard-1", "mneme-front-end-0", "mneme-front-end-1"])
        # Whoever waits for shard 0 is alive and not ready: it must not be killed for that.
        self.start(*names[1:])
        self.wait_for("alive", *names[1:])
        time.sleep(0.5)
        self.assertFalse(any(self.pods[name].ready() for name in names))
        self.start("mneme-shard-0")
        self.wait_for("ready", *names)

        first, second = self.client("mneme-front-end-0"), self.client("mneme-front-end-1")
        first.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(500, 8)).astype(np.float32)
        version = second.memory("wiki").insert(keys, np.arange(500) % 100, ids=np.arange(500)).version
        found = first.memory("wiki").query(keys[:20], 1, exact=True, version=version)
        self.assertEqual(found.ids.tolist(), list(range(20)))

        # A pod that is deleted ends within its grace, and the next one of its name goes on with its volume.
        for name in names:
            grace = self.grace(name)
            self.assertEqual(self.pods[name].stop(grace), 0, name)
            self.start(name)
            self.wait_for("ready", name)
        self.assertEqual(self.client("mneme-front-end-1").memory("wiki").count(), 500)

        # Front ends go out of their service while shard 0 is away, and stay alive.
        self.pods["mneme-shard-0"].kill()
        end = time.monotonic() + harness.START_SECONDS
        while any(self.pods[name].ready() for name in names[2:]):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.05)
        self.assertTrue(all(self.pods[name].alive() for name in names[1:]))
        self.start("mneme-shard-0")
        self.wait_for("ready", *names)

    def grace(self, name: str) -> int:
        template = next(pods for workload, _, pods in workloads() if name.startswith(workload))
        return int(template["spec"]["terminationGracePeriodSeconds"])

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        known = containers.known_variables()
        for pod in self.pods.values():
            self.assertLessEqual(set(pod.given), known, pod.name)


class Manifests(unittest.TestCase):
    def test_shards_are_as_many_as_their_addresses(self) -> None:
        shards = only("StatefulSet")
        name, service = shards["metadata"]["name"], shards["spec"]["serviceName"]
        addresses = only("ConfigMap")["data"]["MNEME_SHARD_ADDRESSES"].split(",")
        wanted = [f"{name}-{index}.{service}:7700" for index in range(shards["spec"]["replicas"])]
        self.assertEqual(addresses, wanted)
        (headless,) = [each for each in of_kind("Service") if each["metadata"]["name"] == service]
        self.assertEqual(headless["spec"]["clusterIP"], "None")
        self.assertTrue(headless["spec"]["publishNotReadyAddresses"])
        # All start at once, and none is replaced by itself.
        self.assertEqual(shards["spec"]["podManagementPolicy"], "Parallel")
        self.assertEqual(shards["spec"]["updateStrategy"], {"type": "OnDelete"})
        kept = shards["spec"]["persistentVolumeClaimRetentionPolicy"]
        self.assertEqual(set(kept.values()), {"Retain"})

    def test_selectors_and_ports_meet(self) -> None:
        for name, workload, template in workloads():
            labels = template["metadata"]["labels"]
            self.assertEqual(workload["spec"]["selector"]["matchLabels"], labels, name)
            for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
                selectors = [
                    spec.get("podSelector", spec.get("selector"))  # a Service has the labels themselves
                    for spec in (each["spec"] for each in of_kind(kind))
                ]
                self.assertIn(labels, [each.get("matchLabels", each) for each in selectors], f"{name}: {kind}")
            ports = {each["name"]: each["containerPort"] for each in template["spec"]["containers"][0]["ports"]}
            self.assertEqual(ports, {"grpc": 7700, "admin": 7701})
        for each in (*of_kind("Service"), *of_kind("NetworkPolicy")):
            rules = each["spec"].get("ingress") or [each["spec"]]
            for port in (port for rule in rules for port in rule["ports"]):
                self.assertIn(port.get("targetPort", port["port"]), ("grpc", "admin"))

    def test_pods_are_bounded_and_may_do_little(self) -> None:
        for name, _, template in workloads():
            spec = template["spec"]
            (container,) = spec["containers"]
            self.assertEqual(container["image"], "mneme")
            self.assertEqual(set(container["resources"]["limits"]), {"cpu", "memory"}, name)
            self.assertTrue(spec["securityContext"]["runAsNonRoot"])
            self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
            user = re.search(r"^USER (\d+):(\d+)$", containers.DOCKERFILE.read_text(), re.M)
            assert user is not None
            self.assertEqual(spec["securityContext"]["runAsUser"], int(user[1]))
            self.assertEqual(
                container["securityContext"],
                {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
            )
            self.assertFalse(spec["automountServiceAccountToken"])
            # Links to services would set variables that the server may take for its own.
            self.assertFalse(spec["enableServiceLinks"])
            variables = {each["name"]: each.get("value") for each in container["env"]}
            delay = seconds(variables.get("MNEME_DRAIN_DELAY") or "0s")
            self.assertGreater(spec["terminationGracePeriodSeconds"], delay + 8 + 5, name)
            volumes = {each["name"] for each in spec["volumes"]}
            claims = {each["metadata"]["name"] for each in only("StatefulSet")["spec"]["volumeClaimTemplates"]}
            mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
            self.assertLessEqual(set(mounts.values()), volumes | claims)
            if variables["MNEME_ROLE"] == "shard":
                self.assertEqual(mounts["/data"], "data")
                self.assertTrue(variables["MNEME_DATA_DIR"].startswith("/data/"))
                limit = gibibytes(container["resources"]["limits"]["memory"])
                self.assertLessEqual(gibibytes(variables["MNEME_RAM_LIMIT"]), limit / 2)
            else:
                self.assertNotIn("/data", mounts)


if __name__ == "__main__":
    harness.main()
