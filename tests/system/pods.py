"""The pods of the manifests under deploy, as processes: started from the environment that the kubelet would give them,
and probed as the manifests say. No cluster is needed, and none is asked."""

from __future__ import annotations

import pathlib
import re
import time
from typing import Any, Iterator

import cluster
import containers
import grpc
import harness
import mneme
import yaml

DEPLOY = harness.ROOT / "deploy"
Manifest = dict[str, Any]
# By what the elements of a list are told apart when a patch is merged into it.
KEYS = {"containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}
SERVING = b"\x08\x01"  # of grpc.health.v1.HealthCheckResponse


def rendered(folder: pathlib.Path) -> list[Manifest]:
    """As `kubectl kustomize` has it, of what these folders use: resources, and patches that are merged."""
    said = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert set(said) <= {"apiVersion", "kind", "namespace", "resources", "patches", "images"}, folder
    out: list[Manifest] = []
    for name in said["resources"]:
        path = folder / name
        out += rendered(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for patch in said.get("patches", []):
        text = patch["patch"] if "patch" in patch else (folder / patch["path"]).read_text()
        change = yaml.safe_load(text)
        wanted = patch.get("target", {"kind": change["kind"], "name": change["metadata"]["name"]})
        found = [each for each in out if wanted.items() <= {"kind": each["kind"], **each["metadata"]}.items()]
        assert found, f"{folder.name}: nothing is {wanted}"
        if change.pop("$patch", None) == "delete":
            out = [each for each in out if each not in found]
            continue
        del change["metadata"]
        for each in found:
            _merge(each, change)
    return out


def _merge(into: Manifest, change: Manifest) -> None:
    for name, value in change.items():
        if value is None:
            into.pop(name, None)
        elif isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        elif name in KEYS and name in into:
            for element in value:
                same = [each for each in into[name] if each[KEYS[name]] == element[KEYS[name]]]
                if same:
                    _merge(same[0], element)
                else:
                    into[name].append(element)
        else:
            into[name] = value


class Manifests:
    def __init__(self, folder: str) -> None:
        self.folder = DEPLOY / folder
        self.all = rendered(self.folder)

    def of_kind(self, kind: str) -> list[Manifest]:
        return [each for each in self.all if each["kind"] == kind]

    def named(self, kind: str, name: str) -> Manifest:
        (found,) = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found

    def workloads(self) -> Iterator[tuple[str, Manifest, Manifest]]:
        """(name, the workload, the template of its pods), shards first."""
        for each in self.of_kind("StatefulSet") + self.of_kind("Deployment"):
            yield each["metadata"]["name"], each, each["spec"]["template"]


def selects(selector: Manifest, template: Manifest) -> bool:
    return selector.get("matchLabels", selector).items() <= template["metadata"]["labels"].items()


class Pod(containers.Container):
    def __init__(
        self,
        manifests: Manifests,
        workload: Manifest,
        index: int,
        scratch: pathlib.Path,
        ports: tuple[int, int],
    ) -> None:
        self.workload, self.template = workload, workload["spec"]["template"]
        (self.container,) = self.template["spec"]["containers"]
        labels = {**self.template["metadata"]["labels"], "apps.kubernetes.io/pod-index": str(index)}
        name = f"{workload['metadata']['name']}-{index}"
        super().__init__(name, self.variables(manifests, labels), scratch, ports)

    def variables(self, manifests: Manifests, labels: dict[str, str]) -> dict[str, str]:
        """As the kubelet makes them."""
        out: dict[str, str] = {}
        for source in self.container["envFrom"]:
            out.update(manifests.named("ConfigMap", source["configMapRef"]["name"])["data"])
        for variable in self.container["env"]:
            if "value" in variable:
                out[variable["name"]] = variable["value"]
            elif "fieldRef" in variable["valueFrom"]:
                path = re.fullmatch(r"metadata\.labels\['(.+)'\]", variable["valueFrom"]["fieldRef"]["fieldPath"])
                assert path is not None, variable
                out[variable["name"]] = labels[path[1]]
            else:
                resource = variable["valueFrom"]["resourceFieldRef"]
                assert (resource["resource"], resource["divisor"]) == ("limits.cpu", "1")
                out[variable["name"]] = self.container["resources"]["limits"]["cpu"]
        return out

    def hosts(self) -> list[str]:
        """By what other pods reach it: short, and with the namespace."""
        service = self.workload["spec"].get("serviceName")
        return [] if service is None else [f"{self.name}.{service}", f"{self.name}.{service}.mneme.svc"]

    @property
    def grace(self) -> int:
        return int(self.template["spec"]["terminationGracePeriodSeconds"])

    def started(self) -> bool:
        return self._passes("startupProbe")

    def ready(self) -> bool:
        return self._passes("readinessProbe")

    def alive(self) -> bool:
        return self._passes("livenessProbe")

    def _passes(self, probe: str) -> bool:
        """One try. A pod without this probe passes it."""
        said = self.container.get(probe)
        if said is None:
            return True
        if "grpc" in said:
            assert said["grpc"] == {"port": 7700}, said
            with grpc.insecure_channel(self.address) as channel:
                check = channel.unary_unary("/grpc.health.v1.Health/Check")
                try:
                    return bool(check(b"", timeout=said["timeoutSeconds"]) == SERVING)
                except grpc.RpcError:
                    return False
        assert said["httpGet"]["port"] == "admin", said
        try:
            return self.page(said["httpGet"]["path"]) == "ok\n"
        except OSError:  # an answer that is an error, too
            return False


class PodsTest(harness.SystemTest):
    FOLDER = ""

    def setUp(self) -> None:
        super().setUp()
        self.manifests = Manifests(self.FOLDER)
        self.pods: dict[str, Pod] = {}
        self.addresses: dict[str, str] = {}
        for _, workload, _ in self.manifests.workloads():
            for index in range(workload["spec"]["replicas"]):
                self.add(workload, index)

    def add(self, workload: Manifest, index: int) -> Pod:
        first, second = cluster.free_ports(2)
        pod = Pod(self.manifests, workload, index, self.scratch, (first, second))
        self.addCleanup(pod.kill)
        self.pods[pod.name] = pod
        self.addresses |= {f"{host}:7700": pod.address for host in pod.hosts()}
        return pod

    def start(self, *names: str) -> None:
        for name in names:
            self.pods[name].start(self.addresses)

    def wait_for(self, what: str, *names: str) -> None:
        end = time.monotonic() + harness.START_SECONDS
        for name in names:
            while not getattr(self.pods[name], what)():
                self.assertLess(time.monotonic(), end, f"{name}: {self.pods[name].log.read_text()[-3000:]}")
                time.sleep(0.05)

    def delete(self, *names: str) -> None:
        """Each ends within its grace, by itself."""
        for name in names:
            self.assertEqual(self.pods[name].stop(self.pods[name].grace), 0, name)

    def client(self, name: str) -> mneme.Client:
        client = mneme.connect(self.pods[name].address, timeout=60)
        self.addCleanup(client.close)
        return client

    def assert_every_variable_is_read(self) -> None:
        known = containers.known_variables()
        for pod in self.pods.values():
            self.assertLessEqual(set(pod.given), known, pod.name)
