"""P18: the decode loop of one model: one stream, one row or a beam of 32 at a step."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.report import Case, Row, column

NAME = "P18"
TITLE = "decode loop, one stream, k 1024, d 1024, recall .95, Unix socket: p50; p99; within 6 ms under a 5 ms budget"
K = 1024
# Rows of a step: p50 and p99 in ms.
BARS = {1: (3.0, 6.0), 32: (25.0, 50.0)}
BUDGET_MS, BOUND_MS = 5.0, 6.0


def run(bench: Bench, row: Row) -> None:
    store = bench.store("synthetic-100kx1024" if bench.quick else "synthetic-1mx1024")
    search, reached = store.search_for(K, 0.95)
    for rows, (p50, p99) in BARS.items():
        loop = {"k": K, "batch": rows, "stream": True, "read_out": "distribution", "seconds": bench.seconds, **search}
        runs = [store.load(**loop) for _ in range(bench.rounds)]
        for name, bar in (("p50", p50), ("p99", p99)):
            waits = [micros / 1000 for micros in column(runs, f"{name}_us")]
            details = {"recall": reached, "n": store.data.rows, "raw": runs}
            row.add(Case(f"{rows} rows a step, {name}", waits, bar, bar / 2, at_most=True, unit="ms", details=details))
    budget = {"k": K, "batch": 1, "in_flight": 1, "read_out": "distribution", "seconds": bench.seconds, **search}
    runs = [store.load(deadline_ms=BUDGET_MS, bound_ms=BOUND_MS, **budget) for _ in range(bench.rounds)]
    details = {"answered": median([1 - sum(run["errors"].values()) / run["calls"] for run in runs]), "raw": runs}
    row.add(Case("answered or given up in time", column(runs, "within_bound"), bar=0.999, details=details))
