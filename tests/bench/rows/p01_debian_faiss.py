"""P1: over the network against Debian's FAISS in process, with the same centroids and the same number of probes."""

from __future__ import annotations

from harness.bench import Bench
from harness.report import Row, alternate, throughput

NAME = "P1"
TITLE = "remote batch of 64, QPS / in-process Debian FAISS IVFFlat, same centroids and nprobe"
BATCHES = (64, 256, 1024)


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
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
        details = {"recall": reached, "their_batch": batch}
        row.add(throughput(f"k {k}, nprobe {probes}", sides, "ours", "faiss", 2.5, 5.0, **details))
    bench.end(faiss)
