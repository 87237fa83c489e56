"""P2: over the network against the best index of the newest FAISS (and hnswlib, usearch) at equal recall."""

from __future__ import annotations

from typing import Any

from harness import machine
from harness.bench import Bench
from harness.process import LineProcess
from harness.report import NotAvailable, Row, alternate, throughput
from harness.store import Store

NAME = "P2"
TITLE = "remote batch of 64, QPS / in-process newest faiss-cpu, its best index at equal recall"
KS = (10, 100, 1024)
TARGETS = (0.95, 0.99)
# Graphs are built slowly and lose early at large k: only where they can win.
GRAPHS = ("HNSW32", "hnswlib 32", "usearch 32")
GRAPH_K = 100


def run(bench: Bench, row: Row) -> None:
    sets = [bench.main] if bench.quick else [bench.main, "synthetic-200kx768", "synthetic-200kx1024"]
    for name in sets:
        compare(bench, row, bench.store(name), f"{name} ")


def peer_of(bench: Bench, store: Store) -> tuple[LineProcess, list[str]]:
    """The libraries with everything built that can be."""
    peer = bench.peer("library.py", "faiss")
    store.truth(max(KS))
    loaded = peer.ask(
        op="load", keys=store.data.keys, queries=store.data.queries, truth=store.data.truth(max(KS)),
        kept=machine.BUILD / "bench-data" / "peers" / store.data.name,
    )  # fmt: skip
    bench.notes[f"{store.data.name} exact neighbours that FAISS finds too"] = peer.ask(op="check_truth")
    names = []
    for name in loaded["indexes"]:
        if bench.quick and name in GRAPHS:
            continue
        built = peer.ask(op="build", index=name)
        bench.notes[f"{store.data.name} {name}"] = built
        if "failed" not in built:
            names.append(name)
    return peer, names


def best_of(peer: LineProcess, names: list[str], k: int, target: float) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """The fastest index at this recall, how to search it, and what every index came to."""
    tried = [name for name in names if k <= GRAPH_K or name not in GRAPHS]
    tuned = {name: peer.ask(op="tune", index=name, k=k, target=target) for name in tried}
    reached = {name: found for name, found in tuned.items() if found.get("reached")}
    if not reached:
        raise NotAvailable(f"no peer index reaches recall {target} at k = {k}")
    best = max(reached, key=lambda name: float(reached[name]["rows_per_second"]))
    return best, reached[best], tuned


def compare(bench: Bench, row: Row, store: Store, label: str) -> None:
    peer, names = peer_of(bench, store)
    for k in KS:
        for target in TARGETS:
            best, setting, tuned = best_of(peer, names, k, target)
            search, reached = store.search_for(k, target)
            ask = {"op": "run", "index": best, "k": k, "setting": setting["setting"], "batch": setting["batch"]}
            sides = alternate(
                bench.rounds,
                {
                    "ours": lambda: store.load(k=k, batch=64, seconds=bench.seconds, **search),
                    "peer": lambda: peer.ask(seconds=bench.seconds, **ask),
                },
            )
            details = {"recall": reached, **search, "best": best, "their_recall": setting["recall"]}
            details |= {"their_batch": setting["batch"], "tuned": tuned}
            row.add(throughput(f"{label}k {k}, recall {target}", sides, "ours", "peer", 1.0, 2.0, **details))
    bench.end(peer)
