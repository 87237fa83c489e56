"""P5: queued single queries that form batches by themselves."""

from __future__ import annotations

import re
from statistics import median

from harness.bench import Bench
from harness.report import Case, NotAvailable, Row, alternate, column, ratios
from harness.server import server_help

NAME = "P5"
TITLE = "32 clients of one query each, exact, k 10: batching / largest batch 1; p50 when idle, with / without"
# The server's option for the most queries that one search takes together.
OPTION = re.compile(r"--[a-z-]*batch[a-z-]*")


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    busy = {"k": 10, "batch": 1, "exact": True, "seconds": bench.seconds}
    option = OPTION.search(server_help())
    if option is None:
        rates = [store.load(clients=32, in_flight=1, **busy)["rows_per_second"] for _ in range(bench.rounds)]
        row.add(Case("32 clients", rates, unit="QPS"))
        raise NotAvailable("mneme-server has no option for the largest batch, so there is nothing to compare with")
    single = bench.server("single", option.group(0), "1")
    bench.stop(single)
    copied = store.server.copy_data(single.data_dir)
    assert copied == single.data_dir
    single.start()

    def load(server: object, **options: object) -> dict[str, object]:
        return store.load_on(server, **busy, **options)

    crowd, alone = {"clients": 32, "in_flight": 1}, {"clients": 1, "in_flight": 1}
    sides = alternate(
        bench.rounds,
        {
            "batching": lambda: load(store.server, **crowd),
            "single": lambda: load(single, **crowd),
            "idle": lambda: load(store.server, **alone),
            "idle_single": lambda: load(single, **alone),
        },
    )
    rates = {name: column(sides[name], "rows_per_second") for name in ("batching", "single")}
    idle = {name: column(sides[name], "p50_us") for name in ("idle", "idle_single")}
    details = {"qps": median(rates["batching"]), "single_qps": median(rates["single"]), "raw": sides}
    row.add(Case("32 clients, QPS", ratios(rates["batching"], rates["single"]), bar=2.0, aim=3.0, details=details))
    waits = {"p50_us": median(idle["idle"]), "single_p50_us": median(idle["idle_single"])}
    row.add(Case("idle, p50", ratios(idle["idle"], idle["idle_single"]), bar=1.05, at_most=True, details=waits))
    single.stop()
