"""P16: what a second search thread is worth."""

from __future__ import annotations

from harness.bench import Bench
from harness.report import Row, alternate, throughput

NAME = "P16"
TITLE = "2 search threads / 1, in process"


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    one, two = bench.engine(store, threads=1), bench.engine(store, threads=2)
    for k in (10, 100, 1024):
        search, reached = store.search_for(k, 0.95)
        ask = {"k": k, "batch": 64, "in_flight": 4, "seconds": bench.seconds, **search}
        sides = alternate(bench.rounds, {"two": lambda: two.ask(**ask), "one": lambda: one.ask(**ask)})
        row.add(throughput(f"k {k}", sides, "two", "one", 1.7, 1.9, recall=reached))
    bench.end(one)
    bench.end(two)
