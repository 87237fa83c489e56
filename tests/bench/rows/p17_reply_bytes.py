"""P17: a read-out instead of neighbours: bytes of the answers, and tokens a second."""

from __future__ import annotations

from typing import Any

from harness.bench import Bench
from harness.report import Case, Row, alternate, throughput

NAME = "P17"
TITLE = "reply bytes, neighbours / read-out, k 1024 on knnlm_wiki; tokens per second gained"
K = 1024


def run(bench: Bench, row: Row) -> None:
    store = bench.store(bench.main)
    search, _ = store.search_for(K, 0.95)

    def load(read_out: str, **options: Any) -> dict[str, Any]:
        values = store.data.targets if read_out == "targets" else None
        return store.load(k=K, batch=64, read_out=read_out, with_values=True, values=values, **search, **options)

    per_row: dict[str, float] = {}
    for read_out in ("neighbours", "distribution", "targets"):
        once = load(read_out, once=True)
        per_row[read_out] = once["reply_bytes"] / once["rows"]
    for read_out, bar, aim in (("distribution", 6.0, 10.0), ("targets", 500.0, None)):
        details = {"bytes_per_row": per_row[read_out], "neighbours": per_row["neighbours"]}
        smaller = per_row["neighbours"] / per_row[read_out]
        row.add(Case(f"bytes, neighbours / {read_out}", [smaller], bar, aim, details=details))
    # What a model wants is a distribution: who is sent neighbours makes it of them, with the same code.
    names = ("own_distribution", "neighbours", "distribution", "targets")
    sides = alternate(bench.rounds, {name: (lambda name=name: load(name, seconds=bench.seconds)) for name in names})
    for name in names[2:]:
        row.add(throughput(f"tokens a second, {name} / made of neighbours", sides, name, names[0], 1.2, 1.5))
        unread = f"tokens a second, {name} / neighbours that nobody reads"
        row.add(throughput(unread, sides, name, "neighbours", None, None))
