"""P3: what the network leaves of the engine's speed, the same read-out on both sides."""

from __future__ import annotations

from harness.bench import Bench
from harness.report import Row, alternate, throughput

NAME = "P3"
TITLE = "remote batch of 64 / own engine in process"
# Transport, read-out, bar. Neighbours are the largest answers: 12 bytes of id and distance and 4 of token each.
WAYS = (("unix", "distribution", 0.90), ("tcp", "distribution", 0.80), ("unix", "neighbours", 0.70))


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    engine = bench.engine(store)
    for k in (10, 100, 1024):
        search, reached = store.search_for(k, 0.95)
        for transport, read_out, bar in WAYS:
            ask = {"k": k, "batch": 64, "read_out": read_out, "seconds": bench.seconds, **search}
            sides = alternate(
                bench.rounds,
                {
                    "remote": lambda: store.load(transport, with_values=True, **ask),
                    "engine": lambda: engine.ask(in_flight=4, **ask),
                },
            )
            bars = (bar, 0.95) if k > 10 else (None, None)
            row.add(throughput(f"k {k}, {transport}, {read_out}", sides, "remote", "engine", *bars, recall=reached))
    bench.end(engine)
