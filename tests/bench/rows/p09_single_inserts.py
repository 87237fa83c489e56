"""P9: many clients that insert one entry each, against as many threads that write one row each."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.inserts import Sink, raw_sync
from harness.report import Case, Row, alternate, column, ratios

NAME = "P9"
TITLE = "32 single-entry clients / raw 32-thread group commit"


def run(bench: Bench, row: Row) -> None:
    sink = Sink(bench, bench.main)
    sides = alternate(
        bench.rounds,
        {
            "raw": lambda: raw_sync(bench, sink.data, batch=1, threads=32),
            "ours": lambda: sink.insert(batch=1, clients=32, in_flight=1),
            "empty": lambda: sink.ping(clients=32, in_flight=1),
        },
    )
    ours, raw = column(sides["ours"], "rows_per_second"), column(sides["raw"], "rows_per_second")
    details = {"entries_per_second": median(ours), "raw_per_second": median(raw), "raw": sides}
    details["p99_ms"] = median(column(sides["ours"], "p99_us")) / 1000
    row.add(Case("entries per second", ratios(ours, raw), bar=0.6, aim=0.8, details=details))
    # What the transport alone lets through on these cores: no insert can be faster.
    empty = column(sides["empty"], "rows_per_second")
    row.add(Case("entries / empty calls", ratios(ours, empty), details={"calls_per_second": median(empty)}))
    row.add(Case("empty calls / raw", ratios(empty, raw)))
    sink.close()
