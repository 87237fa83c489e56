"""P20: what the Python client costs beside the C++ client, on the same server and the same rows."""

from __future__ import annotations

import itertools
import sys
import time
from statistics import median
from typing import Any, Callable, Sequence

import grpc
import numpy as np
from harness import machine
from harness.bench import Bench
from harness.inserts import Sink
from harness.report import Case, Row, alternate, column, throughput
from harness.store import Store

sys.path.insert(0, str(machine.ROOT / "client" / "python"))

import generate_stubs  # noqa: E402

if generate_stubs.stale():
    generate_stubs.generate()

import mneme  # noqa: E402
from mneme import requests  # noqa: E402

NAME = "P20"
TITLE = "Python client / C++ client: rows inserted; p50 of a query of 64 rows, what is added"
BATCH = 8192  # entries of 256 f16 components: 4 MiB, as `import_rows` cuts them
ADDED_US = 150.0


def run(bench: Bench, row: Row) -> None:
    inserts(bench, row, bench.main if bench.quick else "synthetic-100kx256")
    queries(bench, row, bench.store(bench.main))


def inserts(bench: Bench, row: Row, name: str) -> None:
    sink = Sink(bench, name)
    keys, values = np.load(sink.data.keys), np.load(sink.data.values)
    batch = min(BATCH, len(keys))
    count = len(keys) // batch * batch  # what the load generator sends
    with mneme.connect(sink.server.unix) as client:

        def insert() -> dict[str, Any]:
            sink.renew()
            start = time.monotonic()
            client.memory("sink").import_rows(keys[:count], values[:count])
            return {"rows_per_second": count / (time.monotonic() - start)}

        def insert_by_cpp() -> dict[str, Any]:
            sink.renew()
            return sink.insert(batch=batch, stream=True, once=True)

        sides = alternate(bench.rounds, {"python": insert, "c++": insert_by_cpp})
    row.add(throughput(f"insert {count} x {sink.data.dimension} f16, stream", sides, "python", "c++", 0.8, 1.0))
    sink.close()


def queries(bench: Bench, row: Row, store: Store) -> None:
    keys = np.load(store.data.queries)
    batches = [keys[i : i + 64] for i in range(0, len(keys) // 64 * 64, 64)]
    with mneme.connect(store.server.unix) as client, grpc.insecure_channel(store.server.unix) as channel:
        memory, send = client.memory(store.memory), channel.unary_unary("/mneme.v1.MemoryService/Query")
        for k, read_out in ((10, "neighbours"), (1024, "distribution")):
            search, reached = store.search_for(k, 0.95)
            asked = {"k": k, "batch": 64, "in_flight": 1, "read_out": read_out, "with_values": True, **search}
            ask = memory.distribution if read_out == "distribution" else memory.query

            def python() -> dict[str, Any]:
                return p50(bench, lambda batch: ask(batch, k, **search), batches)

            def transport() -> dict[str, Any]:
                return p50(bench, send, [packed(store.memory, batch, k, read_out, search) for batch in batches])

            sides = alternate(
                bench.rounds,
                {"python": python, "grpc": transport, "c++": lambda: store.load(seconds=bench.seconds, **asked)},
            )
            ours, theirs = column(sides["python"], "p50_us"), column(sides["c++"], "p50_us")
            details = {"recall": reached, "python_us": median(ours), "c++_us": median(theirs), "raw": sides}
            added = [a - b for a, b in zip(ours, theirs)]
            row.add(Case(f"{read_out}, k {k}", added, ADDED_US, at_most=True, unit="us", details=details))
            # The same bytes through Python's gRPC alone, neither made nor read.
            alone = [a - b for a, b in zip(column(sides["grpc"], "p50_us"), theirs)]
            row.add(Case(f"{read_out}, k {k}: of which gRPC for Python", alone, unit="us"))


def p50(bench: Bench, ask: Callable[[Any], Any], asked: Sequence[Any]) -> dict[str, Any]:
    waits, end = [], time.monotonic() + bench.seconds
    for each in itertools.cycle(asked):
        start = time.perf_counter()
        ask(each)
        waits.append(time.perf_counter() - start)
        if time.monotonic() > end:
            return {"p50_us": 1e6 * median(waits), "calls": len(waits)}
    raise ValueError("nothing to ask")


def packed(memory: str, keys: np.ndarray, k: int, read_out: str, search: dict[str, Any]) -> bytes:
    """The request that the client would send."""
    request = requests.query(memory, keys, k, requests.search(read_out, search, None))
    if read_out == "distribution":
        request.distribution.CopyFrom(requests.distribution())
    return request.SerializeToString()
