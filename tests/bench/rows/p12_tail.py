"""P12: what unsealed rows cost, and that an acknowledged entry is seen."""

from __future__ import annotations

from statistics import median

import numpy as np

from harness import data
from harness.bench import Bench
from harness.report import Case, Row, alternate, column, ratios
from harness.store import Store, generate

NAME = "P12"
TITLE = "latency with 2 % of rows in the tail / all sealed; acknowledged but not visible"
SHARE = 0.02
WRITTEN = 200


def run(bench: Bench, row: Row) -> None:
    sealed = bench.store(bench.main)
    tailed = with_tail(bench, sealed)
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
    row.add(Case("acknowledged but not visible", [unseen(bench, sealed)], bar=0, at_most=True, unit="of 200"))
    bench.stop(tailed)


def with_tail(bench: Bench, sealed: Store):  # type: ignore[no-untyped-def]
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
    server.cli("create", bench.main, "--dim", found.dimension, "--metric", "l2", "--value", "token", "--key-dtype", "f16")
    server.cli("import", bench.main, "--keys", files["head", "keys"], "--values", files["head", "values"])
    server.wait_until_idle(bench.main)
    server.cli("build", bench.main, "--retrain")
    # Through the generator: what it writes stays in the tail until the sealer's bound.
    generate(
        "insert", server, server.unix, bench.main, keys=files["tail", "keys"], values=files["tail", "values"], batch=1,
        in_flight=64, once=True, first_id=cut,
    )  # fmt: skip
    return server


def unseen(bench: Bench, store: Store) -> int:
    """Entries that were acknowledged and that the next query did not find."""
    keys = (np.random.default_rng(1).standard_normal((WRITTEN, store.data.dimension)) * 40).astype(np.float16)
    missed = 0
    for i in range(WRITTEN):
        one, token = bench.scratch / "one.npy", bench.scratch / "token.npy"
        np.save(one, keys[i : i + 1])
        np.save(token, np.array([1], np.int32))
        generate(
            "insert", store.server, store.server.unix, store.memory, keys=one, values=token, batch=1, once=True,
            first_id=(1 << 50) + i,
        )  # fmt: skip
        found = store.found(1, keys=one, batch=1)
        missed += int(found[0, 0] != (1 << 50) + i)
    return missed
