"""What past one process costs: a front end over a shard, two shards over one, inserts through Kafka over librdkafka."""

from __future__ import annotations

import itertools
from statistics import median
from typing import Any, Callable

from . import data
from .bench import Bench
from .data import DataSet
from .deployments import Deployments, FrontEnd
from .report import Case, Row, alternate, column, ratios
from .store import Store, generate

K = 1024
RECALL = 0.95
FRONT_BATCH, SHARDS_BATCH, INSERT_BATCH = 16, 64, 256
# Requests of an insert that wait for their acknowledgement.
INSERTS_IN_FLIGHT = 64
BROKERS = 3
# What the shard sends of a row in single precision: of each neighbour an id, a score and a token; where it reads out,
# each token that they have, some 308 in rows of text, its ln p, and a few numbers. And what is around the columns of a
# question and of its answer.
ROW_BYTES = {"neighbours": 12 * K, "distribution": 8 * 308 + 24}
AROUND_BYTES = 400
# Records that a replica may be behind: beyond it MnemeLogBehind is told (deploy/monitoring/alerts.replicated.yaml).
MOST_BEHIND = 1000


def front_end(bench: Bench, row: Row) -> None:
    """Through a front end over one shard, and from one process that holds the same: one call at a time over TCP."""
    keys = _keys(bench)
    deployments = Deployments(bench)
    direct = bench.store(bench.main)
    through = Store(deployments.cluster(1), keys, bench.scratch, bench.index)
    ask: dict[str, Any] = {"k": K, "batch": FRONT_BATCH, "in_flight": 1, "seconds": bench.seconds, "with_values": True}
    searches = {store: store.search_for(K, RECALL) for store in (direct, through)}
    for read_out in ("neighbours", "distribution"):

        def asked(store: Store) -> dict[str, Any]:
            return store.load("tcp", read_out=read_out, **ask, **searches[store][0])

        sides = alternate(
            bench.rounds,
            {
                "through": lambda: asked(through),
                "direct": lambda: asked(direct),
                "empty": lambda: _ping(bench, direct),
                "hop": lambda: _hop(bench, keys, read_out),
            },
        )
        ours, theirs, empty, hop = (column(sides[name], "p50_us") for name in ("through", "direct", "empty", "hop"))
        recalls = {f"recall_{name}": searches[store][1] for name, store in (("through", through), ("direct", direct))}
        medians = {"through": ours, "direct": theirs, "empty": empty, "hop": hop}
        shown = {**{f"{name}_us": median(each) for name, each in medians.items()}, **recalls}
        added = [(a - b) / c for a, b, c in zip(ours, theirs, empty)]
        row.add(
            Case(f"p50 of {read_out}", ratios(ours, theirs), 1.6, at_most=True, details={**shown, "raw": sides})
        )
        row.add(Case(f"time that it adds to {read_out}, in empty calls", added, 1.5, at_most=True))
        row.add(Case("the bytes of the shard in a bare call, in empty calls", ratios(hop, empty)))
        left = [more - bare / call for more, bare, call in zip(added, hop, empty)]
        row.add(Case("added beside that, in empty calls", left))
    deployments.close()


def shards(bench: Bench, row: Row) -> None:
    """Exact queries of two shards behind a front end, and of one process; each shard searches with one thread."""
    keys = _keys(bench)
    deployments = Deployments(bench)
    one = Store(bench.server("one-thread", "--search-threads", "1"), keys, bench.scratch, bench.index)
    two = Store(deployments.cluster(2, "--search-threads", "1"), keys, bench.scratch, bench.index)
    ask: dict[str, Any] = {"k": K, "exact": True, "batch": SHARDS_BATCH, "seconds": bench.seconds}
    sides = alternate(bench.rounds, {"two": lambda: two.load("tcp", **ask), "one": lambda: one.load("tcp", **ask)})
    fast, slow = (column(sides[name], "rows_per_second") for name in ("two", "one"))
    shown = {"two_qps": median(fast), "one_qps": median(slow)}
    row.add(Case(f"exact, k {K}, batch {SHARDS_BATCH}", ratios(fast, slow), 1.5, details={**shown, "raw": sides}))
    bench.stop(one.server)
    deployments.close()


def inserts(bench: Bench, row: Row, options: Any) -> None:
    """Acknowledged entries a second through a front end, the log and the replicas of one shard, and acknowledged
    records of the same bytes of a producer alone, at the same brokers. The bar is for the first count of replicas."""
    seconds: float = options.insert_seconds
    replica_counts: list[int] = options.replicas
    keys = _keys(bench)
    deployments = Deployments(bench)
    brokers = deployments.brokers(BROKERS)
    raw = deployments.topic("raw")
    logged = {count: LogSink(bench, deployments, keys, count) for count in replica_counts}

    def alone() -> dict[str, Any]:
        return bench.run_json(
            "raw_log", "--brokers", brokers, "--topic", raw, "--dimension", keys.dimension, "--batch", INSERT_BATCH,
            "--seconds", seconds,
        )  # fmt: skip

    sides: dict[str, Callable[[], dict[str, Any]]] = {"raw": alone}
    for count, sink in logged.items():
        sides[str(count)] = lambda sink=sink: sink.insert(seconds)
    measured = alternate(options.insert_rounds, sides)
    failed = [run["errors"] for runs in measured.values() for run in runs if run["errors"]]
    if failed:
        raise RuntimeError(f"not all was acknowledged: {failed}")
    theirs = column(measured["raw"], "rows_per_second")
    for number, count in enumerate(replica_counts):
        ours = column(measured[str(count)], "rows_per_second")
        name = f"{BROKERS} brokers, {count} replica{'s' if count > 1 else ''}"
        shown = {"entries_per_second": median(ours), "raw_per_second": median(theirs)}
        p99 = median(column(measured[str(count)], "p99_us")) / 1000
        bar = 0.35 if number == 0 else None
        row.add(Case(name, ratios(ours, theirs), bar, details={**shown, "p99_ms": p99, "raw": measured}))
        behind = column(measured[str(count)], "most_behind")
        row.add(Case(f"{name}: behind its log", behind, MOST_BEHIND, at_most=True, unit="rec."))
    deployments.close()


class LogSink:
    """A memory that only takes, of one shard of so many replicas, with a topic of its own."""

    def __init__(self, bench: Bench, deployments: Deployments, keys: DataSet, replicas: int) -> None:
        self._bench, self._deployments, self._keys = bench, deployments, keys
        topic = deployments.topic(f"replicas-{replicas}")
        self._front_end: FrontEnd = deployments.replicated(topic, replicas)
        self._runs = itertools.count()

    def insert(self, seconds: float) -> dict[str, Any]:
        """One run into a memory of its own, which is gone before the next one begins: what is left to be indexed is no
        load of another side."""
        run = next(self._runs)
        memory = f"sink-{run}"
        cli = self._front_end.cli
        cli("create", memory, "--dim", self._keys.dimension, "--metric", "l2", "--value", "token", "--key-dtype", "f16")
        self._deployments.watch(self._front_end)
        result = generate(
            "insert", self._front_end, self._front_end.tcp, memory, keys=self._keys.keys, values=self._keys.values,
            first_id=0, batch=INSERT_BATCH, in_flight=INSERTS_IN_FLIGHT, seconds=seconds, warm_up=0.5,
        )  # fmt: skip
        behind = self._deployments.watched()
        cli("drop", memory, "--yes")
        return {**result, "most_behind": behind["most"], "backlog": behind}


def _keys(bench: Bench) -> DataSet:
    found = data.find(bench.main)
    bench.sets[bench.main] = found.story
    return found


def _ping(bench: Bench, store: Store) -> dict[str, Any]:
    """One run of calls that do nothing, one at a time over TCP."""
    return generate("ping", store.server, store.server.tcp, store.memory, in_flight=1, seconds=bench.seconds)


def _hop(bench: Bench, keys: DataSet, read_out: str) -> dict[str, Any]:
    """One run of bare calls that carry what a front end asks the shard and what that answers."""
    asked = FRONT_BATCH * keys.dimension * 4 + AROUND_BYTES
    answered = FRONT_BATCH * ROW_BYTES[read_out] + AROUND_BYTES
    return bench.run_json(
        "raw_call", "--request-bytes", asked, "--answer-bytes", answered, "--seconds", bench.seconds
    )
