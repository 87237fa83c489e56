"""P5: queued single queries that form batches by themselves.

In process, where the largest batch can be set; the same 32 clients over the network are told beside it.
"""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.report import Case, Row, alternate, column, ratios, throughput

NAME = "P5"
TITLE = "32 clients of one query each, exact, k 10: batching / largest batch 1; p50 when idle, with / without"


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    batching, single = bench.engine(store), bench.engine(store, 0, "--max-batched-rows", 1)
    ask = {"k": 10, "batch": 1, "exact": True, "seconds": bench.seconds}
    sides = alternate(
        bench.rounds,
        {
            "batching": lambda: batching.ask(in_flight=32, **ask),
            "single": lambda: single.ask(in_flight=32, **ask),
            "idle": lambda: batching.ask(in_flight=1, **ask),
            "idle_single": lambda: single.ask(in_flight=1, **ask),
        },
    )
    row.add(throughput("32 in flight, in process", sides, "batching", "single", 2.0, 3.0))
    ours, theirs = column(sides["idle"], "p50_us"), column(sides["idle_single"], "p50_us")
    details = {"p50_us": median(ours), "single_p50_us": median(theirs)}
    row.add(Case("idle, p50", ratios(ours, theirs), bar=1.05, at_most=True, details=details))
    bench.end(batching)
    bench.end(single)
    remote = [store.load(clients=32, in_flight=1, **ask) for _ in range(bench.rounds)]
    row.add(Case("32 clients over the network", column(remote, "rows_per_second"), unit="QPS", details={"raw": remote}))
