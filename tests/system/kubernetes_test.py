"""The pods of deploy/kubernetes, as processes: started from the environment of the manifests and of the image, probed
as the manifests say, and on the same volume after they were deleted; and what all manifests must be. Those with a log
are in kubernetes_replicated_test.py."""

from __future__ import annotations

import re
import time
import unittest
from typing import Any, Iterator

import containers
import harness
import numpy as np
from pods import Manifest, Manifests, PodsTest, selects

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
FOLDERS = ("kubernetes", "kubernetes.replicated", "kubernetes.secure")


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def gibibytes(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(Gi|Mi)(?:B)?", text).groups()  # type: ignore[union-attr]
    return int(number) / (1 if unit == "Gi" else 1024)


class Pods(PodsTest):
    FOLDER = "kubernetes"

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
            self.delete(name)
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

    def test_every_variable_is_one_that_the_server_reads(self) -> None:
        self.assert_every_variable_is_read()


class EveryManifest(unittest.TestCase):
    """Of every folder."""

    def setUp(self) -> None:
        self.folders = [Manifests(folder) for folder in FOLDERS]

    def workloads(self) -> Iterator[tuple[str, Manifests, Manifest, Manifest]]:
        for manifests in self.folders:
            for name, workload, template in manifests.workloads():
                yield f"{manifests.folder.name}: {name}", manifests, workload, template

    def test_shards_are_as_many_as_their_addresses(self) -> None:
        for manifests in self.folders:
            wanted: list[list[str]] = []
            for shard in manifests.of_kind("StatefulSet"):
                name, spec = shard["metadata"]["name"], shard["spec"]
                service, count = spec["serviceName"], spec["replicas"]
                headless = manifests.named("Service", service)
                self.assertEqual(headless["spec"]["clusterIP"], "None")
                self.assertTrue(headless["spec"]["publishNotReadyAddresses"])
                self.assertTrue(selects(headless["spec"]["selector"], spec["template"]))
                if manifests.folder.name == "kubernetes":  # a pod for each shard
                    wanted += [[f"{name}-{index}.{service}:7700"] for index in range(count)]
                else:  # a pod for each replica
                    self.assertEqual(spec["template"]["metadata"]["labels"]["mneme.shard"], str(len(wanted)))
                    wanted.append([f"{name}-{index}.{service}.mneme.svc:7700" for index in range(count)])
                # All start at once, and none is replaced by itself.
                self.assertEqual(spec["podManagementPolicy"], "Parallel")
                self.assertEqual(spec["updateStrategy"], {"type": "OnDelete"})
                self.assertEqual(set(spec["persistentVolumeClaimRetentionPolicy"].values()), {"Retain"})
            given = manifests.named("ConfigMap", "shard-addresses")["data"]["MNEME_SHARD_ADDRESSES"]
            self.assertEqual([shard.strip().split("|") for shard in given.split(",")], wanted)
            (namespace,) = manifests.of_kind("Namespace")
            self.assertEqual(namespace["metadata"]["name"], "mneme")

    def test_selectors_and_ports_meet(self) -> None:
        for name, manifests, workload, template in self.workloads():
            labels = template["metadata"]["labels"]
            self.assertEqual(workload["spec"]["selector"]["matchLabels"], labels, name)
            for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
                specs = [each["spec"] for each in manifests.of_kind(kind)]
                found = [spec for spec in specs if selects(spec.get("podSelector", spec.get("selector")), template)]
                self.assertEqual(len(found), 1, f"{name}: {kind}")
            ports = {each["name"]: each["containerPort"] for each in template["spec"]["containers"][0]["ports"]}
            self.assertEqual(ports, {"grpc": 7700, "admin": 7701})
        for manifests in self.folders:
            for each in (*manifests.of_kind("Service"), *manifests.of_kind("NetworkPolicy")):
                rules = each["spec"].get("ingress") or [each["spec"]]
                for port in (port for rule in rules for port in rule["ports"]):
                    self.assertIn(port.get("targetPort", port["port"]), ("grpc", "admin"))

    def test_a_disruption_takes_one_pod_of_what_stands_for_the_other(self) -> None:
        for manifests in self.folders:
            for budget in manifests.of_kind("PodDisruptionBudget"):
                chosen = [
                    workload
                    for _, workload, template in manifests.workloads()
                    if selects(budget["spec"]["selector"], template)
                ]
                self.assertEqual(len(chosen), 1, f"{manifests.folder.name}: {budget['metadata']['name']}")
                count, spec = chosen[0]["spec"]["replicas"], budget["spec"]
                self.assertEqual(spec.get("maxUnavailable", count - spec.get("minAvailable", count)), 1)

    def test_probes_ask_a_port_that_is_there_in_its_own_words(self) -> None:
        for name, _, _, template in self.workloads():
            (container,) = template["spec"]["containers"]
            variables = {each["name"]: each.get("value") for each in container["env"]}
            encrypted = "MNEME_TLS_CERTIFICATE" in variables
            self.assertEqual(variables["MNEME_INSECURE_LISTEN"], "false" if encrypted else "true", name)
            ports = {each["name"]: each["containerPort"] for each in container["ports"]}
            probes = {key: value for key, value in container.items() if key.endswith("Probe")}
            self.assertLessEqual({"readinessProbe", "livenessProbe"}, set(probes), name)
            for probe, said in probes.items():
                self.assertEqual(len({"grpc", "httpGet"} & set(said)), 1, f"{name}: {probe}")
                self.assertLess(said["timeoutSeconds"], said["periodSeconds"], f"{name}: {probe}")
                if "grpc" in said:
                    self.assertFalse(encrypted, f"{name}: {probe} speaks no TLS")
                    self.assertEqual(said["grpc"]["port"], ports["grpc"])
                else:
                    self.assertIn(said["httpGet"]["port"], ports)
                    self.assertEqual(said["httpGet"].get("scheme"), "HTTPS" if encrypted else None, f"{name}: {probe}")

    def test_pods_are_bounded_and_may_do_little(self) -> None:
        for name, _, workload, template in self.workloads():
            spec = template["spec"]
            (container,) = spec["containers"]
            self.assertEqual(container["image"], "mneme")
            user = re.search(r"^USER (\d+):(\d+)$", containers.DOCKERFILE.read_text(), re.M)
            assert user is not None
            self.assertEqual(spec["securityContext"]["runAsUser"], int(user[1]))
            # Links to services would set variables that the server may take for its own.
            self.assertFalse(spec["enableServiceLinks"])
            variables = {each["name"]: each.get("value") for each in container["env"]}
            delay = seconds(variables.get("MNEME_DRAIN_DELAY") or "0s")
            self.assertGreater(spec["terminationGracePeriodSeconds"], delay + 8 + 5, name)
            mounts = self.mounts(name, container, workload)
            if variables["MNEME_ROLE"] == "shard":
                self.assertEqual(mounts["/data"], "data")
                self.assertTrue(variables["MNEME_DATA_DIR"].startswith("/data/"))
                limit = gibibytes(container["resources"]["limits"]["memory"])
                self.assertLessEqual(gibibytes(variables["MNEME_RAM_LIMIT"]), limit / 2)
            else:
                self.assertNotIn("/data", mounts)
        for manifests in self.folders:
            self.assertEqual(manifests.named("Namespace", "mneme")["metadata"]["labels"], RESTRICTED)
            for each in manifests.of_kind("Job") + [workload for _, workload, _ in manifests.workloads()]:
                self.check_restricted(f"{manifests.folder.name}: {each['metadata']['name']}", each)

    def mounts(self, name: str, container: Manifest, workload: Manifest) -> dict[str, str]:
        """Volume by path."""
        volumes = {each["name"] for each in workload["spec"]["template"]["spec"]["volumes"]}
        volumes |= {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", [])}
        mounts = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
        self.assertLessEqual(set(mounts.values()), volumes, name)
        return mounts

    def check_restricted(self, name: str, workload: Manifest) -> None:
        """As the namespace enforces it, and more."""
        spec = workload["spec"]["template"]["spec"]
        self.assertFalse(spec["automountServiceAccountToken"], name)
        self.assertTrue(spec["securityContext"]["runAsNonRoot"], name)
        self.assertEqual(spec["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"}, name)
        for container in spec["containers"]:
            self.mounts(name, container, workload)
            self.assertEqual(set(container["resources"]["limits"]), {"cpu", "memory"}, name)
            little: dict[str, Any] = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            self.assertEqual(container["securityContext"], little, name)


if __name__ == "__main__":
    harness.main()
