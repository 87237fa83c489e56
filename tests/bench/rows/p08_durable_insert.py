"""P8: durable inserts over the network against RocksDB alone."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.inserts import Sink, raw_sync
from harness.report import Case, Row, alternate, column, ratios

NAME = "P8"
TITLE = "durable insert, batches of 256 / raw RocksDB sync writes of the same bytes"


def run(bench: Bench, row: Row) -> None:
    sink = Sink(bench, bench.main)
    sides = alternate(
        bench.rounds,
        {
            "raw": lambda: raw_sync(bench, sink.data, batch=256, threads=1),
            "stream": lambda: sink.insert(batch=256, stream=True),
            "unary": lambda: sink.insert(batch=256, in_flight=4),
        },
    )
    raw = column(sides["raw"], "rows_per_second")
    for name, bar in (("stream", 0.75), ("unary", None)):
        ours = column(sides[name], "rows_per_second")
        details = {"entries_per_second": median(ours), "raw_per_second": median(raw), "raw": sides}
        label = "stream" if name == "stream" else "unary, 4 in flight"
        row.add(Case(label, ratios(ours, raw), bar=bar, aim=0.9 if bar else None, details=details))
    sink.close()
