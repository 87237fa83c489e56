"""P11: searching while entries arrive."""

from __future__ import annotations

import threading
from statistics import median
from typing import Any

from harness.bench import Bench
from harness.report import Case, Row, column, ratios
from harness.store import Store, generate

NAME = "P11"
TITLE = "while inserting at 25 % of the maximum / quiet: QPS; p99; longest stall"
K = 100
SHARE = 0.25
BATCH = 256


def run(bench: Bench, row: Row) -> None:
    store = bench.own_store(bench.main)
    search, reached = store.search_for(K, 0.95)
    next_id = 1 << 40

    def insert(**options: Any) -> dict[str, Any]:
        nonlocal next_id
        next_id += 1 << 32
        return generate(
            "insert", store.server, store.server.unix, store.memory, keys=store.data.keys, values=store.data.values,
            batch=BATCH, first_id=next_id, **options,
        )  # fmt: skip

    def ask() -> dict[str, Any]:
        return store.load(k=K, batch=64, seconds=bench.seconds, **search)

    def ask_beside(rate: float) -> dict[str, Any]:
        # Longer than the search on both sides.
        beside = threading.Thread(target=lambda: insert(rate=rate, seconds=bench.seconds + 0.6, warm_up=0.0))
        beside.start()
        result = ask()
        beside.join()
        return result

    most = insert(seconds=bench.seconds)["rows_per_second"]
    settle(store)
    quiet, busy = [], []
    for _ in range(bench.rounds):
        quiet.append(ask())
        busy.append(ask_beside(SHARE * most))
        settle(store)
    details = {"recall": reached, "inserts_per_second": SHARE * most, "qps": median(column(busy, "rows_per_second"))}
    details |= {"quiet_qps": median(column(quiet, "rows_per_second")), "raw": {"quiet": quiet, "busy": busy}}
    rates = ratios(column(busy, "rows_per_second"), column(quiet, "rows_per_second"))
    row.add(Case("QPS, batch 64, k 100", rates, bar=0.6, aim=0.75, details=details))
    waits = ratios(column(busy, "p99_us"), column(quiet, "p99_us"))
    row.add(Case("p99", waits, bar=3, aim=2, at_most=True, details={"p99_ms": median(column(busy, "p99_us")) / 1000}))
    stalls = column(busy, "longest_gap_ms")
    quiet_stall = {"quiet_ms": median(column(quiet, "longest_gap_ms"))}
    row.add(Case("longest stall", stalls, bar=50, aim=20, at_most=True, unit="ms", details=quiet_stall))
    bench.stop(store.server)


def settle(store: Store) -> None:
    """The rounds must not search a tail that grows from one to the next."""
    store.server.wait_until_idle(store.memory)
    store.server.cli("build", store.memory)
    store.server.wait_until_idle(store.memory)
