"""Milvus Lite as a server on loopback, and a client of it: answers one JSON object a line (harness/process.py).

  {"op": "load", "keys": .., "queries": .., "truth": .., "scratch": DIR}   serves, inserts and indexes
  {"op": "tune", "k": .., "target": .95}                                   the cheapest setting, its best batch
  {"op": "run", "k": .., "setting": .., "batch": .., "seconds": ..}        rows a second, p50, p99
"""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np
import pymilvus

IN_FLIGHT = 4
INSERT_ROWS = 5000
BATCHES = (64, 256)
COLLECTION = "bench"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Worker:
    def __init__(self) -> None:
        self._server: Any = None

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        keys = np.load(command["keys"]).astype(np.float32)
        self._queries = np.load(command["queries"]).astype(np.float32)
        self._truth = np.load(command["truth"])
        self._lists = round(4 * len(keys) ** 0.5)
        port = free_port()
        program = pathlib.Path(sys.executable).parent / "milvus-lite"
        self._server = subprocess.Popen(
            [program, "server", "--data-dir", command["scratch"], "--host", "127.0.0.1", "--port", str(port)],
            stdout=sys.stderr,
        )
        self._client = self._connect(f"http://127.0.0.1:{port}")
        schema = self._client.create_schema()
        schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("key", pymilvus.DataType.FLOAT_VECTOR, dim=keys.shape[1])
        self._client.create_collection(COLLECTION, schema=schema)
        start = time.monotonic()
        for first in range(0, len(keys), INSERT_ROWS):
            rows = [{"id": first + i, "key": key} for i, key in enumerate(keys[first : first + INSERT_ROWS])]
            self._client.insert(COLLECTION, rows)
        inserted = time.monotonic() - start
        params = self._client.prepare_index_params()
        params.add_index("key", index_type="IVF_FLAT", metric_type="L2", params={"nlist": self._lists})
        self._client.create_index(COLLECTION, params)
        self._client.load_collection(COLLECTION)
        return {"insert_seconds": inserted, "seconds": time.monotonic() - start}

    def tune(self, command: dict[str, Any]) -> dict[str, Any]:
        k, probes = command["k"], 1
        while (reached := self._recall(k, probes)) < command["target"]:
            if probes >= self._lists:
                return {"reached": False}
            probes = min(self._lists, max(probes + 1, probes * 5 // 4))
        rates = {batch: self._rate(k, probes, batch, IN_FLIGHT, 1.0)["rows_per_second"] for batch in BATCHES}
        best = max(rates, key=lambda batch: rates[batch])
        return {"reached": True, "index": "IVF_FLAT", "setting": probes, "recall": reached, "batch": best, "rates": rates}

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        in_flight = command.get("in_flight", IN_FLIGHT)
        return self._rate(command["k"], command["setting"], command["batch"], in_flight, command["seconds"])

    def close(self) -> None:
        if self._server is not None:
            self._server.terminate()
            self._server.wait(30)

    def _connect(self, address: str) -> Any:
        for _ in range(200):
            try:
                return pymilvus.MilvusClient(uri=address)
            except pymilvus.MilvusException:
                time.sleep(0.1)
        raise RuntimeError(f"no Milvus at {address}")

    def _search(self, queries: np.ndarray, k: int, probes: int) -> Any:
        return self._client.search(
            COLLECTION, data=list(queries), anns_field="key", limit=k,
            search_params={"metric_type": "L2", "params": {"nprobe": probes}},
        )  # fmt: skip

    def _recall(self, k: int, probes: int, count: int = 500) -> float:
        hits = 0
        for first in range(0, count, 100):
            answers = self._search(self._queries[first : first + 100], k, probes)
            for answer, truth in zip(answers, self._truth[first : first + 100, :k]):
                hits += len({hit["id"] for hit in answer} & set(truth.tolist()))
        return hits / (count * k)

    def _rate(self, k: int, probes: int, batch: int, in_flight: int, seconds: float) -> dict[str, Any]:
        begin = time.monotonic()

        def client(number: int) -> tuple[int, list[float]]:
            rows, waits, first = 0, [], number * batch
            while time.monotonic() - begin < seconds or not waits:
                first = first if first + batch <= len(self._queries) else 0
                start = time.monotonic()
                self._search(self._queries[first : first + batch], k, probes)
                waits.append(1e6 * (time.monotonic() - start))
                rows, first = rows + batch, first + batch * in_flight
            return rows, waits

        with concurrent.futures.ThreadPoolExecutor(in_flight) as pool:
            done = list(pool.map(client, range(in_flight)))
        elapsed = time.monotonic() - begin
        waits = np.concatenate([waits for _, waits in done])
        return {
            "rows_per_second": sum(rows for rows, _ in done) / elapsed,
            "p50_us": float(np.percentile(waits, 50)),
            "p99_us": float(np.percentile(waits, 99)),
            "calls": len(waits),
        }


def main() -> None:
    worker = Worker()
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


main()
