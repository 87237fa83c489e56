"""P4: bytes on disk, at rest and at the peak of a retraining."""

from __future__ import annotations

import threading

from harness import machine
from harness.bench import Bench
from harness.inserts import entry_bytes
from harness.report import Case, Row

NAME = "P4"
TITLE = "bytes on disk / (n x (key + value)), at rest; peak while retraining"
POLL_SECONDS = 0.05


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    server, data = store.server, store.data
    server.wait_until_idle(store.memory)
    # A restart flushes and lets RocksDB drop its old logs.
    server.stop()
    server.start()
    server.wait_until_idle(store.memory)
    plain = data.rows * entry_bytes(data)
    rest = machine.tree_bytes(server.data_dir)
    told = server.statistics(store.memory)
    whole = server.statistics()
    details = {"index_bytes": told["index_bytes"], "store_bytes": whole["store_bytes"], "disk_bytes": rest}
    row.add(Case("at rest", [rest / plain], bar=2.3, aim=2.1, at_most=True, details=details))

    peak, done = rest, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(POLL_SECONDS):
            peak = max(peak, machine.tree_bytes(server.data_dir))

    watcher = threading.Thread(target=watch)
    watcher.start()
    server.cli("build", store.memory, "--retrain")
    done.set()
    watcher.join()
    row.add(Case("peak while retraining", [peak / plain], bar=3.3, aim=3.0, at_most=True, details={"disk_bytes": peak}))
