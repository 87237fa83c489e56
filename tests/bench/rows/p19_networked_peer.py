"""P19: against vector databases over loopback at equal recall."""

from __future__ import annotations

from statistics import median

from harness.bench import Bench
from harness.process import LineProcess
from harness.report import Case, NotAvailable, Row, alternate, column, ratios, throughput
from harness.store import Store

NAME = "P19"
TITLE = "QPS / networked peer at equal recall over loopback; p99"
TARGET = 0.95
KS = (10, 100)
# Script, and the modules that it needs.
PEERS = {"chroma": ("chromadb",), "milvus": ("milvus_lite", "pymilvus")}


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    for name, modules in PEERS.items():
        try:
            peer = bench.peer(f"{name}.py", *modules)
        except NotAvailable as absent:
            row.absent(str(absent))
            continue
        compare(bench, row, store, name, peer)
        bench.end(peer)


def compare(bench: Bench, row: Row, store: Store, name: str, peer: LineProcess) -> None:
    store.truth(1024)
    ask = {"keys": store.data.keys, "queries": store.data.queries, "truth": store.data.truth(1024)}
    bench.notes[f"{name} filled"] = peer.ask(op="load", scratch=bench.scratch / name, **ask)
    for k in KS:
        tuned = peer.ask(op="tune", k=k, target=TARGET)
        if not tuned["reached"]:
            row.absent(f"{name} does not reach recall {TARGET} at k = {k}")
            continue
        search, reached = store.search_for(k, min(tuned["recall"], 0.99))
        theirs = {"op": "run", "k": k, "setting": tuned["setting"], "batch": tuned["batch"], "seconds": bench.seconds}
        sides = alternate(
            bench.rounds,
            {
                "ours": lambda: store.load("tcp", k=k, batch=64, seconds=bench.seconds, **search),
                "peer": lambda: peer.ask(**theirs),
            },
        )
        details = {"recall": reached, "their_recall": tuned["recall"], "their_index": tuned["index"]}
        details["their_batch"] = tuned["batch"]
        row.add(throughput(f"{name}, k {k}, QPS", sides, "ours", "peer", 3.0, 10.0, **details))
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
        case = Case(f"{name}, k {k}, p99 of one query", ratios(ours, waits), 0.5, 0.2, at_most=True, details=details)
        row.add(case)
