"""P21: a memory of four times the ram that its server may have, pages of files included."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.machine import tree_bytes
from harness.ram_group import RamGroup
from harness.report import Case, Row, column

NAME = "P21"
TITLE = "QPS with a quarter of the store's bytes as ram / with all of it; p99 (no bar: must answer)"
TIMES = 4


def run(bench: Bench, row: Row) -> None:
    store = bench.own_store("synthetic-1mx256-i16" if bench.quick else "synthetic-4mx256-i16", bench.index or "int8")
    server = store.server
    asks = {k: store.search_for(k, 0.95) for k in (10, 100, 1024)}

    def ask() -> dict[int, list[dict[str, float]]]:
        """After a start, so that nothing is in ram but what queries bring there."""
        bench.drop_caches()
        server.start()
        return {
            k: [store.load(k=k, batch=64, seconds=bench.seconds, **search) for _ in range(bench.rounds)]
            for k, (search, _) in asks.items()
        }

    server.stop()
    stored = tree_bytes(server.data_dir)
    quiet = ask()
    server.stop()
    server.ram_group = group = RamGroup(stored // TIMES)
    short = ask()
    recalls = {k: store.recall_of(k, **search) for k, (search, _) in asks.items()}
    bench.stop(server)
    group.close()
    for k, (_, reached) in asks.items():
        rates = [a / b for a, b in zip(column(short[k], "rows_per_second"), column(quiet[k], "rows_per_second"))]
        details = {"stored_mb": stored / 1e6, "ram_mb": stored / TIMES / 1e6, "recall": recalls[k]}
        details |= {"recall_all": reached, "raw": {"short": short[k], "all": quiet[k]}}
        details["p99_ms"] = median(column(short[k], "p99_us")) / 1e3
        details["p99_ms_all"] = median(column(quiet[k], "p99_us")) / 1e3
        row.add(Case(f"{store.data.name}, k {k}", rates, details=details))
