"""P12: what unsealed rows cost, and that an acknowledged entry is seen."""

from __future__ import annotations

from statistics import median

import numpy as np

from harness import data
from harness.bench import Bench
from harness.report import Case, Row, alternate, column, ratios
from harness.server import Server
from harness.store import Store, generate

NAME = "P12"
TITLE = "latency with 2 % of rows in the tail / all sealed; acknowledged but not visible"
SHARE = 0.02
WRITTEN = 200
FIRST_WRITTEN = 1 << 50


def run(bench: Bench, row: Row) -> None:
    sealed = bench.store(bench.main)
    tailed = with_tail(bench)
    tail = tailed.statistics(bench.main)["tail_rows"]
    for k in (10, 1024):
        search, _ = sealed.search_for(k, 0.95)
        for batch in (1, 64):
            ask = {"k": k, "batch": batch, "in_flight": 1, "seconds": bench.seconds, **search}
            sides = alternate(
                bench.rounds,
                {"tail": lambda: sealed.load_on(tailed, **ask), "sealed": lambda: sealed.load(**ask)},
            )
            slow, fast = column(sides["tail"], "p50_us"), column(sides["sealed"], "p50_us")
            details = {"tail_rows": tail, "p50_us": median(slow), "sealed_p50_us": median(fast), "raw": sides}
            row.add(Case(f"k {k}, batch {batch}, p50", ratios(slow, fast), 1.25, 1.1, at_most=True, details=details))
    row.add(Case("acknowledged but not visible", [unseen(bench, sealed, tailed)], bar=0, at_most=True, unit="of 200"))
    bench.stop(tailed)


def with_tail(bench: Bench) -> Server:
    """A server whose memory has the same rows, the last of them not sealed."""
    found = data.find(bench.main)
    keys, values = np.load(found.keys), np.load(found.values)
    cut = len(keys) - round(SHARE * len(keys))
    files = {}
    for name, part in (("head", slice(0, cut)), ("tail", slice(cut, None))):
        for column_name, array in (("keys", keys), ("values", values)):
            files[name, column_name] = bench.scratch / f"{name}-{column_name}.npy"
            np.save(files[name, column_name], array[part])
    server = bench.server("tail")
    kind = ["--metric", "l2", "--value", "token", "--key-dtype", "f16"]
    server.cli("create", bench.main, "--dim", found.dimension, *kind)
    server.cli("import", bench.main, "--keys", files["head", "keys"], "--values", files["head", "values"])
    server.wait_until_idle(bench.main)
    server.cli("build", bench.main, "--retrain")
    # Through the generator: what it writes stays in the tail until the sealer's bound.
    generate(
        "insert", server, server.unix, bench.main, keys=files["tail", "keys"], values=files["tail", "values"], batch=1,
        in_flight=64, once=True, first_id=cut,
    )  # fmt: skip
    return server


def unseen(bench: Bench, store: Store, server: Server) -> int:
    """Entries that were acknowledged and that the next query did not find."""
    keys = (np.random.default_rng(1).standard_normal((WRITTEN, store.data.dimension)) * 40).astype(np.float16)
    one, token, ids = (bench.scratch / f"{name}.npy" for name in ("one", "token", "seen"))
    np.save(token, np.array([1], np.int32))
    missed = 0
    for i in range(WRITTEN):
        np.save(one, keys[i : i + 1])
        entry = FIRST_WRITTEN + i
        written = {"keys": one, "values": token, "batch": 1, "once": True, "first_id": entry}
        generate("insert", server, server.unix, store.memory, **written)
        generate("query", server, server.unix, store.memory, keys=one, k=1, batch=1, once=True, ids_out=ids)
        missed += int(np.load(ids)[0, 0] != entry)
    return missed
