"""P21: a memory of four times the ram that its server may have, pages of files included.

Ram and store are those of `mneme plan`: the codec is one whose codes, ids and centroids fit a quarter of the store
(`plan`: "at least ... with the keys left on disk"), which int8 codes do not. A call that is not answered within
DEADLINE_MS counts as an error, and none may be.
"""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.machine import tree_bytes
from harness.ram_group import RamGroup
from harness.report import Case, Row, column

NAME = "P21"
TITLE = "QPS with a quarter of the store's bytes as ram / with all of it; p99 (no bar: must answer)"
TIMES = 4
INDEX = "rabitq:4"
DEADLINE_MS = 20_000.0


def run(bench: Bench, row: Row) -> None:
    store = bench.own_store("synthetic-1mx256-i16" if bench.quick else "synthetic-4mx256-i16", bench.index or INDEX)
    server = store.server
    # Every answer is to be searched for.
    server.flags += ["--answer-cache", "0"]
    asks = {k: store.search_for(k, 0.95) for k in (10, 100, 1024)}

    def ask() -> dict[int, list[dict[str, float]]]:
        """After a start, so that nothing is in ram but what queries bring there."""
        bench.drop_caches()
        server.start()
        return {
            k: [
                store.load(k=k, batch=64, seconds=bench.seconds, deadline_ms=DEADLINE_MS, **search)
                for _ in range(bench.rounds)
            ]
            for k, (search, _) in asks.items()
        }

    server.stop()
    stored = tree_bytes(server.data_dir)
    quiet = ask()
    server.stop()
    server.ram_group = group = RamGroup(stored // TIMES)
    try:
        short = ask()
        recalls = {k: store.recall_of(k, deadline_ms=DEADLINE_MS, **search) for k, (search, _) in asks.items()}
    finally:
        bench.stop(server)
        group.close()
    for k, (_, reached) in asks.items():
        unanswered = sum(sum(one["errors"].values()) for one in short[k])
        if unanswered:
            raise RuntimeError(f"k {k}: {unanswered} calls were not answered in {DEADLINE_MS / 1e3:.0f} s")
        rates = [a / b for a, b in zip(column(short[k], "rows_per_second"), column(quiet[k], "rows_per_second"))]
        details = {"stored_mb": stored / 1e6, "ram_mb": stored / TIMES / 1e6, "recall": recalls[k]}
        details |= {"recall_all": reached, "raw": {"short": short[k], "all": quiet[k]}}
        for name, loads in (("", short[k]), ("_all", quiet[k])):
            details[f"qps{name}"] = median(column(loads, "rows_per_second"))
            details[f"p99_ms{name}"] = median(column(loads, "p99_us")) / 1e3
        row.add(Case(f"{store.data.name}, k {k}", rates, details=details))
