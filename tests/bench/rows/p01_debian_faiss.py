"""P1: over the network against Debian's FAISS in process, with the same centroids and the same number of probes."""

from __future__ import annotations

from statistics import median
from harness.bench import Bench
from harness.report import Case, Row, alternate, column, ratios

NAME = "P1"
TITLE = "remote batch of 64, QPS / in-process Debian FAISS IVFFlat, same centroids and nprobe"
BATCHES = (64, 256, 1024)


def run(bench: Bench, row: Row) -> None:
    store = bench.store("wiki")
    faiss = bench.debian_faiss(store)
    for k in (10, 1024):
        search, reached = store.search_for(k, 0.95)
        probes = search["nprobe"]

        def rate(batch: int, seconds: float) -> float:
            return float(faiss.ask(k=k, nprobe=probes, batch=batch, threads=2, seconds=seconds)["rows_per_second"])

        batch = max(BATCHES, key=lambda size: rate(size, 0.5))
        sides = alternate(
            bench.rounds,
            {
                "ours": lambda: store.load(k=k, batch=64, seconds=bench.seconds, **search),
                "faiss": lambda: faiss.ask(k=k, nprobe=probes, batch=batch, threads=2, seconds=bench.seconds),
            },
        )
        ours, theirs = column(sides["ours"], "rows_per_second"), column(sides["faiss"], "rows_per_second")
        row.add(
            Case(
                f"k {k}, nprobe {probes}",
                ratios(ours, theirs),
                bar=2.5,
                aim=5,
                details={"recall": reached, "our_qps": median(ours), "their_qps": median(theirs), "their_batch": batch, "raw": sides},
            )
        )
    bench.end(faiss)
