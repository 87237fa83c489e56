"""P19: against a vector database over loopback at equal recall."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.report import Case, NotAvailable, Row, alternate, column, ratios, throughput

NAME = "P19"
TITLE = "QPS / networked peer (Milvus Lite, gRPC over loopback) at equal recall; p99"
TARGET = 0.95


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    peer = bench.peer("milvus.py", "milvus_lite", "pymilvus")
    ks = (10, 100)
    store.truth(1024)
    ask = {"keys": store.data.keys, "queries": store.data.queries, "truth": store.data.truth(1024)}
    bench.notes["milvus"] = peer.ask(op="load", scratch=bench.scratch / "milvus", **ask)
    for k in ks:
        tuned = peer.ask(op="tune", k=k, target=TARGET)
        if not tuned["reached"]:
            raise NotAvailable(f"the peer does not reach recall {TARGET} at k = {k}")
        search, reached = store.search_for(k, tuned["recall"])
        theirs = {"op": "run", "k": k, "setting": tuned["setting"], "batch": tuned["batch"], "seconds": bench.seconds}
        sides = alternate(
            bench.rounds,
            {
                "ours": lambda: store.load("tcp", k=k, batch=64, seconds=bench.seconds, **search),
                "peer": lambda: peer.ask(**theirs),
            },
        )
        details = {"recall": reached, "their_recall": tuned["recall"], "their_index": tuned["index"]}
        row.add(throughput(f"k {k}, QPS", sides, "ours", "peer", 3.0, 10.0, their_batch=tuned["batch"], **details))
        # One row a call and one call at a time: waiting, not throughput.
        sides = alternate(
            bench.rounds,
            {
                "ours": lambda: store.load("tcp", k=k, batch=1, in_flight=1, seconds=bench.seconds, **search),
                "peer": lambda: peer.ask(**(theirs | {"batch": 1, "in_flight": 1})),
            },
        )
        ours, waits = column(sides["ours"], "p99_us"), column(sides["peer"], "p99_us")
        details = {"p99_ms": median(ours) / 1000, "their_p99_ms": median(waits) / 1000, "raw": sides}
        row.add(Case(f"k {k}, p99 of one query", ratios(ours, waits), 0.5, 0.2, at_most=True, details=details))
    bench.end(peer)
