"""Deployments of several processes, and the brokers of their logs, as the system tests start them: one JSON object a
line (harness/process.py). A process of its own: those tests have a `harness`, too.

  {"op": "cluster", "folder": DIR, "shards": N, "flags": [..]}       a front end over shards with logs of their own
  {"op": "brokers", "folder": DIR, "count": 3}                       of Kafka
  {"op": "topic", "name": ..}                                        of one partition
  {"op": "replicated", "folder": DIR, "topic": .., "replicas": N}    a front end over one shard that applies it
  {"op": "watch", "folder": DIR}                                     begins to look at how far its replicas are behind
  {"op": "watched"}                                                  the most since then; waits until none is
  {"op": "kill", "folder": DIR}                                      ends a deployment

Everything ends with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import sys
import threading
import time
from typing import Any, Optional, TextIO, Union

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "system"))

import cluster  # noqa: E402
import kafka_brokers  # noqa: E402

BACKLOG = "mneme_log_backlog"
LOOK_SECONDS = 0.5
DRAIN_SECONDS = 120.0
# What a topic keeps, of either side of a ratio: a run of a minute is gigabytes, three times.
KEPT = {"retention_bytes": str(1 << 30), "segment_bytes": str(1 << 26), "file_delete_delay_ms": "1000"}

Deployment = Union[cluster.Cluster, cluster.ReplicatedCluster]


class Backlog(threading.Thread):
    """Looks at what the replicas of a deployment have seen of their log and not applied."""

    def __init__(self, deployment: cluster.ReplicatedCluster) -> None:
        super().__init__(daemon=True)
        self.most = 0.0
        self._deployment = deployment
        self.failure: Optional[Exception] = None
        self._over = threading.Event()

    def run(self) -> None:
        try:
            while not self._over.wait(LOOK_SECONDS):
                self.most = max(self.most, self.now())
        except Exception as error:  # for `end`
            self.failure = error

    def now(self) -> float:
        return max(replica.metrics()[BACKLOG] for replica in self._deployment.replicas)

    def end(self) -> dict[str, float]:
        self._over.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        last, start = self.now(), time.monotonic()
        while self.now() > 0:
            if time.monotonic() - start > DRAIN_SECONDS:
                raise RuntimeError(f"a replica is {self.now():.0f} records behind after {DRAIN_SECONDS} s")
            time.sleep(0.05)
        return {"most": max(self.most, last), "last": last, "drained_seconds": time.monotonic() - start}


class Deployments:
    def __init__(self, ending: contextlib.ExitStack) -> None:
        self._ending = ending
        self._started: dict[str, Deployment] = {}
        self._brokers: Optional[kafka_brokers.KafkaBrokers] = None
        self._watch: Optional[Backlog] = None

    def cluster(self, folder: str, shards: int, flags: list[str]) -> dict[str, Any]:
        return self._take(folder, cluster.Cluster(pathlib.Path(folder), shards, 1, *flags))

    def brokers(self, folder: str, count: int) -> dict[str, Any]:
        self._brokers = kafka_brokers.KafkaBrokers(
            pathlib.Path(folder), count, log_retention_check_interval_ms="5000"
        )
        self._ending.callback(self._brokers.kill)
        return {"addresses": self._brokers.addresses}

    def topic(self, name: str) -> dict[str, Any]:
        assert self._brokers is not None
        self._brokers.create_topic(name, 1, **KEPT)
        self._brokers.create_topic(f"{name}-catalogue", 1)
        return {}

    def replicated(self, folder: str, topic: str, replicas: int) -> dict[str, Any]:
        assert self._brokers is not None
        log = self._brokers.url(topic)
        return self._take(folder, cluster.ReplicatedCluster(pathlib.Path(folder), log, 1, replicas, 1))

    def watch(self, folder: str) -> dict[str, Any]:
        started = self._started[folder]
        assert isinstance(started, cluster.ReplicatedCluster) and self._watch is None
        self._watch = Backlog(started)
        self._watch.start()
        return {}

    def watched(self) -> dict[str, Any]:
        assert self._watch is not None
        watch, self._watch = self._watch, None
        return watch.end()

    def kill(self, folder: str) -> dict[str, Any]:
        self._started.pop(folder).kill()
        return {}

    def _take(self, folder: str, deployment: Deployment) -> dict[str, Any]:
        self._started[folder] = deployment
        self._ending.callback(deployment.kill)
        front_end = deployment.front_ends[0]
        return {"address": front_end.address, "pid": front_end.pid}


def serve(answers: TextIO) -> None:
    with contextlib.ExitStack() as ending:
        deployments = Deployments(ending)
        print(json.dumps({"ready": True}), file=answers, flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = getattr(deployments, command.pop("op"))(**command)
            except Exception as error:  # for whoever asked
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    # What else is printed is no answer.
    with os.fdopen(os.dup(1), "w") as given:
        os.dup2(2, 1)
        serve(given)
