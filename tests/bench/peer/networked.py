"""A vector database over loopback, measured by a client of its own: one JSON object a line (harness/process.py).

  {"op": "load", "keys": .., "queries": .., "truth": .., "scratch": DIR}   serves, inserts and indexes
  {"op": "tune", "k": .., "target": .95}                                   the cheapest setting, its best batch
  {"op": "run", "k": .., "setting": .., "batch": .., "seconds": ..}        rows a second, p50, p99
"""

from __future__ import annotations

import abc
import concurrent.futures
import json
import socket
import subprocess
import sys
import time
from typing import Any, Sequence

import numpy as np
from ladder import fewest

IN_FLIGHT = 4
BATCHES = (64, 256)
TUNE_QUERIES = 500


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Database(abc.ABC):
    """What a peer must say of itself; `search` may be called from several threads."""

    index = ""

    @abc.abstractmethod
    def serve(self, scratch: str, port: int) -> list[Any]:
        """The command that serves."""

    @abc.abstractmethod
    def fill(self, port: int, keys: np.ndarray) -> None:
        """Connects, inserts row i under the id i, and indexes."""

    @abc.abstractmethod
    def settings(self, k: int) -> list[int]:
        """From the cheapest to the dearest."""

    @abc.abstractmethod
    def use(self, setting: int) -> None:
        """Of the searches from now on."""

    @abc.abstractmethod
    def search(self, queries: np.ndarray, k: int) -> Sequence[Sequence[int]]:
        """Ids of each query."""


class Worker:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._server: Any = None

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        keys = np.load(command["keys"]).astype(np.float32)
        self._queries = np.load(command["queries"]).astype(np.float32)
        self._truth = np.load(command["truth"])
        port = free_port()
        self._server = subprocess.Popen(self._database.serve(command["scratch"], port), stdout=sys.stderr)
        start = time.monotonic()
        self._database.fill(port, keys)
        return {"seconds": time.monotonic() - start, "index": self._database.index}

    def tune(self, command: dict[str, Any]) -> dict[str, Any]:
        k = command["k"]
        steps = [(setting, 1) for setting in self._database.settings(k)]
        found = fewest(steps, lambda step: self._recall(k, step[0]) >= command["target"])
        if found is None:
            return {"reached": False}
        reached = self._recall(k, found[0])
        rates = {batch: self._rate(k, batch, IN_FLIGHT, 1.0)["rows_per_second"] for batch in BATCHES}
        best = max(rates, key=lambda batch: rates[batch])
        return {"reached": True, "index": self._database.index, "setting": found[0], "recall": reached, "batch": best,
                "rates": rates}  # fmt: skip

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        self._database.use(command["setting"])
        return self._rate(command["k"], command["batch"], command.get("in_flight", IN_FLIGHT), command["seconds"])

    def close(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(30)

    def _recall(self, k: int, setting: int) -> float:
        self._database.use(setting)
        hits = 0
        for first in range(0, TUNE_QUERIES, 100):
            answers = self._database.search(self._queries[first : first + 100], k)
            for answer, truth in zip(answers, self._truth[first : first + 100, :k]):
                hits += len(set(answer) & set(truth.tolist()))
        return hits / (TUNE_QUERIES * k)

    def _rate(self, k: int, batch: int, in_flight: int, seconds: float) -> dict[str, Any]:
        begin = time.monotonic()

        def client(number: int) -> tuple[int, list[float]]:
            rows, waits, first = 0, [], number * batch
            while time.monotonic() - begin < seconds or not waits:
                first = first if first + batch <= len(self._queries) else 0
                start = time.monotonic()
                self._database.search(self._queries[first : first + batch], k)
                waits.append(1e6 * (time.monotonic() - start))
                rows, first = rows + batch, first + batch * in_flight
            return rows, waits

        with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
            done = list(pool.map(client, range(in_flight)))
        elapsed = time.monotonic() - begin
        waits = np.concatenate([waits for _, waits in done])
        rows = sum(rows for rows, _ in done)
        return {
            "rows": rows,
            "rows_per_second": rows / elapsed,
            "p50_us": float(np.percentile(waits, 50)),
            "p99_us": float(np.percentile(waits, 99)),
            "calls": len(waits),
        }


def main(database: Database) -> None:
    worker = Worker(database)
    print(json.dumps({"ready": True}), flush=True)
    try:
        for line in sys.stdin:
            command = json.loads(line)
            try:
                answer = getattr(worker, command["op"])(command)
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"[:500]}
            print(json.dumps(answer), flush=True)
    finally:
        worker.close()
