"""P14: how soon a restarted server answers, and what a full rebuild takes."""

from __future__ import annotations

import pathlib
import time
from statistics import median

import numpy as np

from harness import machine
from harness.bench import Bench
from harness.report import Case, NotAvailable, Row, alternate, ratios
from harness.store import Store

NAME = "P14"
TITLE = "restart to first answer / one read of the index files; full rebuild / in-memory train + add"


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main if bench.quick else "synthetic-1mx128-i16")
    cold = bench.drop_caches()

    def restart() -> float:
        store.server.stop()
        bench.drop_caches()
        start = time.monotonic()
        store.server.start()
        store.load(k=10, batch=1, keys=one_query(bench, store), once=True)
        return time.monotonic() - start

    def read() -> float:
        # A running server has the files mapped, and what is mapped stays in the cache.
        store.server.stop()
        bench.drop_caches()
        start = time.monotonic()
        for path in index_files(store.server.data_dir):
            with open(path, "rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass
        seconds = time.monotonic() - start
        store.server.start()
        return seconds

    sides = alternate(bench.rounds, {"restart": restart, "read": read})
    details = {"restart_s": median(sides["restart"]), "read_s": median(sides["read"]), "cold": cold, "raw": sides}
    starts = ratios(sides["restart"], sides["read"])
    row.add(Case("restart to first answer", starts, bar=1.5, aim=0.2, at_most=True, details=details))
    rebuild(bench, row, store)


def rebuild(bench: Bench, row: Row, store: Store) -> None:
    peer = bench.peer("library.py", "faiss")
    store.truth(10)
    ask = {"keys": store.data.keys, "queries": store.data.queries, "truth": store.data.truth(10)}
    peer.ask(op="load", kept=machine.BUILD / "bench-data" / "peers" / store.data.name, **ask)
    lists = len(np.load(store.centroids_file(store.server.data_dir)))

    def ours() -> float:
        start = time.monotonic()
        store.server.cli("build", store.memory, "--retrain")
        return time.monotonic() - start

    def theirs() -> float:
        return float(peer.ask(op="train_add", lists=lists)["seconds"])

    sides = alternate(min(bench.rounds, 5), {"ours": ours, "faiss": theirs})
    bench.end(peer)
    details = {"rebuild_s": median(sides["ours"]), "faiss_s": median(sides["faiss"]), "lists": lists, "raw": sides}
    times = ratios(sides["ours"], sides["faiss"])
    row.add(Case("full rebuild", times, bar=1.4, aim=1.2, at_most=True, details=details))


def one_query(bench: Bench, store: Store) -> pathlib.Path:
    path = bench.scratch / "query.npy"
    np.save(path, np.load(store.data.queries)[:1])
    return path


def index_files(data_dir: pathlib.Path) -> list[pathlib.Path]:
    files = sorted(data_dir.glob("shard-*/index/*"))
    if not files:
        raise NotAvailable(f"index files below {data_dir}")
    return files
