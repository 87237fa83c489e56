"""One point of the cost curves: a memory of so many clustered keys, and what it costs."""

from __future__ import annotations

import pathlib
import re
import sys
import time
from statistics import median
from typing import Any

import numpy as np

from . import machine
from .bench import Bench
from .store import Store

KS = (10, 100, 1024)
TARGET = 0.95
BATCH = 64
# Queries before ram is looked at.
ASKED = 10_000


def measure(bench: Bench, size: int, dimension: int) -> dict[str, Any]:
    """The point, in bytes, seconds, and microseconds of a query."""
    _tell("import")
    start = time.monotonic()
    store = bench.own_store(f"synthetic-{size}x{dimension}-i16")
    loaded = time.monotonic() - start
    _tell("build")
    builds = [_build(store) for _ in range(1 if size >= 1_000_000 else bench.rounds)]
    _tell("queries")
    queries = {str(k): _queries(bench, store, k) for k in KS}
    _tell("restart")
    cold = bench.drop_caches()
    restarts = [_restart(bench, store) for _ in range(bench.rounds)]
    _tell("ram and disk")
    ram = _ram(store, int(queries["100"]["nprobe"]))
    statistics = store.server.statistics(store.memory)
    disk = machine.tree_bytes(store.server.data_dir)
    return {
        "entries": size,
        "keys": store.data.story,
        "lists": len(np.load(store.centroids_file(store.server.data_dir))),
        "import_and_build_seconds": loaded,
        "build_seconds": median(builds),
        "queries": queries,
        "restart_seconds": median(restarts),
        "cold": cold,
        **ram,
        "disk_bytes": disk,
        "index_bytes": statistics["index_bytes"],
        "raw": {"builds": builds, "restarts": restarts},
    }


def _tell(step: str) -> None:
    print(f"   {step}", file=sys.stderr, flush=True)


def _build(store: Store) -> float:
    start = time.monotonic()
    store.server.cli("build", store.memory, "--retrain")
    return time.monotonic() - start


def _queries(bench: Bench, store: Store, k: int) -> dict[str, Any]:
    """One batch of 64 at a time over a Unix socket, with the fewest lists that reach the recall."""
    search, reached = store.search_for(k, TARGET)
    load = {"k": k, "batch": BATCH, "in_flight": 1, "seconds": bench.seconds, **search}
    runs = [store.load(**load) for _ in range(bench.rounds)]
    return {
        "recall": reached,
        **search,
        "us": median(run["p50_us"] / BATCH for run in runs),
        "server_cpu_us": median(1e6 * run["server_cpu_seconds"] / run["rows"] for run in runs),
        "raw": runs,
    }


def _restart(bench: Bench, store: Store) -> float:
    """To the first answer."""
    query = bench.scratch / "query.npy"
    np.save(query, np.load(store.data.queries)[:1])
    store.server.stop()
    bench.drop_caches()
    start = time.monotonic()
    store.server.start()
    store.load(k=10, batch=1, keys=query, once=True)
    return time.monotonic() - start


def _ram(store: Store, nprobe: int) -> dict[str, int]:
    """Of the server that has just started and then been asked, so that nothing of building is left in it."""
    asked = 0
    while asked < ASKED:
        asked += int(store.load(k=100, batch=BATCH, nprobe=nprobe, once=True)["rows"])
    status = pathlib.Path(f"/proc/{store.server.pid}/status").read_text()
    found = dict(re.findall(r"^(RssAnon|RssFile):\s+(\d+) kB", status, re.M))
    return {"anonymous_bytes": int(found["RssAnon"]) * 1024, "mapped_bytes": int(found["RssFile"]) * 1024}


def table(points: dict[str, dict[str, Any]]) -> str:
    """For people, and for docs/performance.md."""
    head = [*(f"k = {k}: us a query (recall)" for k in KS), "build, s", "restart, s"]
    head += ["anonymous ram, MB", "mapped and resident, MB", "disk, MB"]
    lines = ["| entries | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for point in sorted(points.values(), key=lambda point: int(point["entries"])):
        asked = [point["queries"][str(k)] for k in KS]
        cells = [f"{point['entries']:,}", *(f"{one['us']:.1f} ({one['recall']:.3f})" for one in asked)]
        cells += [f"{point['build_seconds']:.2f}", f"{point['restart_seconds']:.2f}"]
        cells += [f"{point[name] / 1e6:,.0f}" for name in ("anonymous_bytes", "mapped_bytes", "disk_bytes")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
