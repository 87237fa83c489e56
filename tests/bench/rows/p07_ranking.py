"""P7: what the exact ranking of candidates costs."""

from __future__ import annotations

from harness.bench import Bench
from harness.report import Row, alternate, throughput

NAME = "P7"
TITLE = "exact-distance ranking / approximate distances, QPS"


def run(bench: Bench, row: Row) -> None:
    sets = [bench.main] if bench.quick else [bench.main, "synthetic-200kx768", "synthetic-200kx1024"]
    for name in sets:
        store = bench.store(name)
        for k in (10, 100, 1024):
            search, reached = store.search_for(k, 0.95)
            ask = {"k": k, "batch": 64, **search}
            sides = alternate(
                bench.rounds,
                {
                    "exact": lambda: store.load(seconds=bench.seconds, **ask),
                    "approximate": lambda: store.load(seconds=bench.seconds, approximate_distances=True, **ask),
                },
            )
            rough = store.recall_of(k, approximate_distances=True, **search)
            details = {"recall": reached, "approximate_recall": rough}
            row.add(throughput(f"{name}, k {k}", sides, "exact", "approximate", 0.7, 0.85, **details))
