"""P13: the cost of a query as a memory grows."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.report import Case, Row, alternate

NAME = "P13"
TITLE = "cost(4n) / cost(n) at equal recall, CPU of the server for one query of a batch"
SIZES = ("100k", "400k", "1600k", "6400k")
DIMENSION = 128
K = 100


def run(bench: Bench, row: Row) -> None:
    sizes = SIZES[:2] if bench.quick else SIZES
    for small, large in zip(sizes, sizes[1:]):
        costs = {}
        for size in (small, large):
            store = bench.store(f"synthetic-{size}x{DIMENSION}-i16")
            search, reached = store.search_for(K, 0.95)

            def cost(store=store, search=search) -> float:  # type: ignore[no-untyped-def]
                result = store.load(k=K, batch=64, seconds=bench.seconds, warm_up=0.0, **search)
                return 1e6 * float(result["server_cpu_seconds"]) / float(result["rows"])

            costs[size] = (cost, reached, search)
        sides = alternate(bench.rounds, {size: costs[size][0] for size in costs})
        details = {f"us_{size}": median(sides[size]) for size in sides}
        details |= {f"recall_{size}": costs[size][1] for size in sides} | {"raw": sides}
        grown = [b / a for a, b in zip(sides[small], sides[large])]
        row.add(Case(f"{large} / {small}", grown, bar=2.4, aim=2.1, at_most=True, details=details))
