"""Prometheus, its alerts and the dashboard of deploy/monitoring ask for nothing that no process exports: every metric
and label of every expression is looked up in /metrics of running processes of the role that it names."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess
import time
import unittest
import urllib.request
from typing import Any, Iterator

import cluster
import harness
import mneme
import numpy as np
import promql
import yaml

FOLDER = harness.ROOT / "deploy" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "dashboards" / "mneme.json"
PROVISIONING = FOLDER / "grafana" / "provisioning"
COMPOSE = yaml.safe_load((harness.ROOT / "deploy" / "compose.yaml").read_text())
PROMETHEUS = yaml.safe_load((FOLDER / "prometheus.yaml").read_text())
ALERTS = yaml.safe_load((FOLDER / "alerts.yaml").read_text())
REPLICATED_ALERTS = yaml.safe_load((FOLDER / "alerts.replicated.yaml").read_text())
SERVER_CODE = (harness.ROOT / "server" / "metrics.cc").read_text()

ROLES = {"mneme-shard": "shard", "mneme-front-end": "frontend"}
# What Prometheus adds to every series of a target.
TARGET = {"job", "instance"}
# What others export of which something is asked: prom/node-exporter 1.8.
FOREIGN = {
    "node_filesystem_avail_bytes": {"device", "fstype", "mountpoint"},
    "node_filesystem_size_bytes": {"device", "fstype", "mountpoint"},
    "node_memory_MemAvailable_bytes": set(),
    "node_memory_MemTotal_bytes": set(),
}
SERIES = re.compile(r"^(\w+)(?:\{(.*)\})?$")


class Exported:
    """The metrics of one process: names, their labels, and the values that these have."""

    def __init__(self, metrics: dict[str, float]) -> None:
        self.values: dict[str, dict[str, set[str]]] = {}
        for series in metrics:
            found = SERIES.match(series)
            assert found is not None, series
            labels = self.values.setdefault(found[1], {})
            for label, value in re.findall(r'(\w+)="([^"]*)"', found[2] or ""):
                labels.setdefault(label, set()).add(value)


def rules(alerts: dict[str, Any] = ALERTS) -> Iterator[dict[str, Any]]:
    for group in alerts["groups"]:
        yield from group["rules"]


def panels() -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return listed


def expressions() -> Iterator[tuple[str, str, str]]:
    """(where it stands, expression, text that may name labels)"""
    for rule in rules():
        texts = [text for text in rule["annotations"].values()]
        labels = " ".join(re.findall(r"\$labels\.\w+", " ".join(texts))).replace("$labels.", "")
        yield f"alert {rule['alert']}", rule["expr"], labels
    for panel in panels():
        for target in panel.get("targets", ()):
            text = target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")
            yield f"panel {panel['title']!r}", text, " ".join(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))


class Queries(harness.SystemTest):
    def exported(self) -> dict[str, Exported]:
        """By job, of processes of which each has answered, refused and failed something."""
        processes = self.start()
        client = processes.client
        client.create_memory("wiki", 8, vocab_size=100)
        memory = client.memory("wiki")
        keys = self.random.normal(size=(300, 8)).astype(np.float32)
        memory.insert(keys, np.arange(300) % 100)
        memory.query(keys[:2], 3)
        with self.assertRaises(mneme.NotFound):
            client.memory("none").query(keys[:1], 1)
        with self.assertRaises(mneme.ResourceExhausted):
            for _ in range(257):
                memory.lease(600)
        of_shard, of_front_end = processes.shards[0].metrics(), processes.front_ends[0].metrics()
        return {"mneme-shard": Exported(of_shard), "mneme-front-end": Exported(of_front_end)}

    def start(self) -> cluster.Cluster:
        started = cluster.Cluster(self.scratch / "cluster", 1, 1)
        self.addCleanup(started.kill)
        return started

    def test_every_query_asks_for_what_is_exported(self) -> None:
        jobs = self.exported()
        count = 0
        for where, text, shown in expressions():
            with self.subTest(where):
                expression = promql.parse(text)
                self.assertTrue(expression.selectors, text)
                known = set(TARGET)
                for selector in expression.selectors:
                    known |= self.check(selector, jobs)
                self.assertLessEqual(expression.named, known, text)
                self.assertLessEqual(set(shown.split()), expression.kept or known, f"shown, but not there: {text}")
                count += 1
        harness.note(f"{count} expressions")
        self.assertGreater(count, 50)

    def check(self, selector: promql.Selector, jobs: dict[str, Exported]) -> set[str]:
        """Its labels."""
        name = selector.name
        asked = {job for job in (*jobs, "node") if self.takes(selector, "job", job)}
        self.assertTrue(asked, f"{name}: no job is called so")
        if name == "up":
            return self.labels_known(selector, TARGET)
        if name in FOREIGN:
            self.assertIn("node", asked)
            return self.labels_known(selector, FOREIGN[name] | TARGET)
        having = [jobs[job] for job in asked if job in jobs and name in jobs[job].values]
        self.assertTrue(having, f"{name} is not exported by {sorted(asked)}")
        if any(label == "job" for label, _, _ in selector.matchers):
            self.assertEqual(len(having), len(asked), f"{name} is not exported by each of {sorted(asked)}")
        labels: dict[str, set[str]] = {}
        for each in having:
            for label, values in each.values[name].items():
                labels.setdefault(label, set()).update(values)
        for label, operation, value in selector.matchers:
            if label in labels and operation in ("=", "=~", "!="):
                for one in value.split("|"):
                    self.assertIn(one, self.possible(label, labels[label]), f"{name}{{{label}}}")
        return self.labels_known(selector, set(labels) | TARGET)

    def labels_known(self, selector: promql.Selector, labels: set[str]) -> set[str]:
        for label, _, _ in selector.matchers:
            self.assertIn(label, labels, selector.name)
        return labels

    def possible(self, label: str, seen: set[str]) -> set[str]:
        if label != "grpc_code":
            return seen
        # Not all of them happen here.
        block = re.search(r"kCodeNames\[kCodes\] = \{(.*?)\}", SERVER_CODE, re.S)
        assert block is not None
        return set(re.findall(r'"(\w+)"', block[1]))

    @staticmethod
    def takes(selector: promql.Selector, label: str, value: str) -> bool:
        for name, operation, pattern in selector.matchers:
            if name == label:
                same = re.fullmatch(pattern, value) is not None if "~" in operation else pattern == value
                if same != (operation[0] == "="):
                    return False
        return True

    def test_a_process_that_does_not_serve_yet_is_seen(self) -> None:
        listen, admin, nobody = cluster.free_ports(3)
        command = [harness.BIN / "mneme-server", "--role", "frontend", "--shard-addresses", f"127.0.0.1:{nobody}"]
        command += ["--listen", f"127.0.0.1:{listen}", "--admin-listen", f"127.0.0.1:{admin}"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as waiting:
            self.addCleanup(waiting.kill)
            page = self.await_metrics(admin)
            waiting.kill()
        self.assertIn("\nmneme_serving 0\n", page)
        processes = self.start()
        for each in (*processes.shards, *processes.front_ends):
            self.assertEqual(each.metrics()["mneme_serving"], 1)

    def await_metrics(self, port: int) -> str:
        end = time.monotonic() + harness.START_SECONDS
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
                    return str(page.read().decode())
            except OSError:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)


class Files(unittest.TestCase):
    def test_prometheus_asks_every_process_of_compose(self) -> None:
        admin = re.search(r"MNEME_ADMIN_LISTEN=\S+:(\d+)", (harness.ROOT / "Dockerfile").read_text())
        assert admin is not None
        wanted: dict[str, set[str]] = {job: set() for job in ROLES}
        for name, service in COMPOSE["services"].items():
            for job, role in ROLES.items():
                if service.get("environment", {}).get("MNEME_ROLE") == role:
                    wanted[job].add(f"{name}:{admin[1]}")
        wanted["node"] = {"node-exporter:9100"}
        asked = {each["job_name"]: set(each["static_configs"][0]["targets"]) for each in PROMETHEUS["scrape_configs"]}
        self.assertEqual(asked, wanted)

    def test_monitors_are_pinned_bounded_and_find_their_files(self) -> None:
        monitors = {name: each for name, each in COMPOSE["services"].items() if "profiles" in each}
        self.assertEqual(set(monitors), {"prometheus", "grafana", "node-exporter"})
        mounted = {}
        for name, service in monitors.items():
            self.assertEqual(service["profiles"], ["monitoring"], name)
            self.assertRegex(service["image"], r"^[\w/-]+:v?\d+\.\d+\.\d+$")
            self.assertIn("mem_limit", service, name)
            for port in service.get("ports", ()):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name} publishes {port}")
            for volume in service["volumes"]:
                source, target = volume.split(":")[:2]
                if source.startswith("."):
                    path = harness.ROOT / "deploy" / source
                    self.assertTrue(path.exists(), source)
                    mounted[target] = path
                elif source != "/":
                    self.assertIn(source, COMPOSE["volumes"])
        for file in PROMETHEUS["rule_files"]:
            self.assertEqual(mounted[file], harness.ROOT / "deploy" / "monitoring" / "alerts.yaml")
        provider = yaml.safe_load((PROVISIONING / "dashboards" / "mneme.yaml").read_text())["providers"][0]
        self.assertEqual(mounted[provider["options"]["path"]].resolve(), DASHBOARD.parent)
        home = pathlib.Path(monitors["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
        self.assertTrue((mounted[str(home.parent)] / home.name).is_file())

    def test_every_alert_has_a_line_in_the_operations_guide(self) -> None:
        guide = (harness.ROOT / "docs" / "operations.md").read_text()
        section = re.search(r"^## Alerts$(.*?)^## ", guide, re.M | re.S)
        assert section is not None
        described = re.findall(r"^\| `(\w+)` \|", section[1], re.M)
        listed = [*rules(), *rules(REPLICATED_ALERTS)]
        alerts = [rule["alert"] for rule in listed]
        self.assertEqual(len(alerts), len(set(alerts)))
        self.assertEqual(described, alerts)
        for rule in listed:
            self.assertEqual(rule["annotations"]["runbook"], "docs/operations.md#alerts")
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))

    def test_the_dashboard_has_the_shape_that_grafana_reads(self) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        source = yaml.safe_load((PROVISIONING / "datasources" / "prometheus.yaml").read_text())["datasources"][0]
        self.assertEqual((dashboard["uid"], dashboard["title"]), ("mneme", "Mneme"))
        self.assertGreaterEqual(dashboard["schemaVersion"], 36)
        ids = [panel["id"] for panel in panels()]
        self.assertEqual(len(ids), len(set(ids)))
        taken: set[tuple[int, int]] = set()
        for panel in panels():
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {
                (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
            }
            self.assertFalse(cells & taken, f"{panel['title']} lies on another")
            taken |= cells
            if panel["type"] == "row":
                continue
            self.assertIn(panel["type"], ("timeseries", "stat"))
            self.assertTrue(panel["fieldConfig"]["defaults"]["unit"], panel["title"])
            self.assertTrue(panel["targets"], panel["title"])
            letters = [target["refId"] for target in panel["targets"]]
            self.assertEqual(len(letters), len(set(letters)))
            for each in (panel, *panel["targets"]):
                self.assertEqual(each["datasource"], {"type": "prometheus", "uid": source["uid"]})
        variables = {each["name"] for each in dashboard["templating"]["list"]} | {"__rate_interval"}
        used = set(re.findall(r"\$(\w+)", " ".join(t["expr"] for p in panels() for t in p.get("targets", ()))))
        self.assertEqual(used, variables)

    def test_what_is_no_query_is_noticed(self) -> None:
        one = promql.parse('a{b="c|d", e=~"f"}').selectors[0]
        self.assertEqual(one.matchers, [("b", "=", "c|d"), ("e", "=~", "f")])
        nested = promql.parse("sum by (x) (rate(a_total[5m] offset 1h)) / on (y) group_left (z) b > 0.5 unless c")
        self.assertEqual([each.name for each in nested.selectors], ["a_total", "b", "c"])
        self.assertEqual((nested.kept, nested.named), ({"x"}, {"x", "y", "z"}))
        for text in ("rat(a[5m])", "sum(a", 'a{b}', "a ? b"):
            with self.assertRaises(ValueError, msg=text):
                promql.parse(text)


if __name__ == "__main__":
    harness.main()
