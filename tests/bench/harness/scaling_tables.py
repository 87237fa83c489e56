"""The tables of docs/scaling.md, each of which stands between <!-- model NAME --> and <!-- end -->."""

from __future__ import annotations

import re
from typing import Any

from . import scaling
from .scaling import GB, GIB, LAYOUTS, MOST_SHARDS, NODES, Answers, Load, Measured, Planner

ENTRIES = (10**8, 10**9, 10**10, 10**12)
DIMENSIONS = (128, 768, 1024)
KS = (10, 100, 1024)
SHARDS = (1, 2, 4, 16, 64, 256)
# Beside a key and a token in a record of the log: id, request, stamp, lengths, checksum. Counted: there is no log yet.
RECORD_BYTES = 40
NETWORK = 1.0 * GB  # bytes a second that a copy takes of ten gigabits
SIMULATED_CALLS = 2_000
BUSY = (0.05, 0.5)


def table(head: str, rows: list[list[Any]]) -> str:
    columns = head.split(" | ")
    lines = [f"| {head} |", "|" + "---|" * len(columns)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def power(value: float) -> str:
    digits = f"{value:.0e}"
    return f"10^{int(digits[3:])}" if digits[0] == "1" else f"{value:,.0f}"


def amount(value: float) -> str:
    """Two digits that count."""
    if value >= 100:
        digits = 10 ** (len(str(int(value))) - 2)
        return f"{round(value / digits) * digits:,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def many_bytes(value: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= size:
            return f"{amount(value / size)} {unit}"
    return f"{value:,.0f} B"


def duration(seconds: float) -> str:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{amount(seconds / size)} {unit}"
    return f"{amount(seconds)} s"


def bytes_of_an_entry(planner: Planner) -> str:
    rows = []
    for dimension in DIMENSIONS:
        count = 10**8
        plan = planner.plan(count, dimension)
        each = [plan[name] / count for name in ("store_bytes", "index_bytes", "ram_bytes", "least_ram_bytes")]
        peak = plan["peak_disk_bytes"] / count
        log = 2 * dimension + 4 + RECORD_BYTES
        rows.append([dimension, 2 * dimension, *(f"{value:,.0f}" for value in each), f"{peak:,.0f}", log])
    head = (
        "d | key, bytes | RocksDB | segment | ram: all of the index | ram: keys on disk | disk, while rebuilding"
        " | log of replicas, a copy"
    )
    return table(head, rows)


def entries_per_node(planner: Planner) -> str:
    rows = []
    for node in NODES:
        size = f"{node.name}: {node.cores} cores, {node.ram / GIB:.0f} GiB, {node.disk / GB:,.0f} GB"
        for ram, layout in LAYOUTS.items():
            counts = [scaling.entries_per_node(planner, node, dimension, ram) for dimension in DIMENSIONS]
            rows.append([size, layout, *(f"{count / 1e6:,.0f} M" for count in counts)])
    return table("node | index | " + " | ".join(f"d = {dimension}" for dimension in DIMENSIONS), rows)


def nodes(planner: Planner) -> str:
    rows = []
    for node in NODES:
        for ram, layout in LAYOUTS.items():
            for dimension in (128, 1024):
                held = scaling.entries_per_node(planner, node, dimension, ram)
                counts = [scaling.nodes_for(entries, held) for entries in ENTRIES]
                cells = [f"{count:,}" if count <= MOST_SHARDS else f"({count:,})" for count in counts]
                rows.append([node.name, layout, dimension, *cells])
    return table("node | index | d | " + " | ".join(power(entries) for entries in ENTRIES), rows)


def rates(figures: Measured, planner: Planner) -> str:
    large = NODES[1]
    rows = []
    for entries in (10**9, 10**10):
        for shards in SHARDS[2:]:
            held = entries / shards
            if not large.holds(planner.plan(int(held), 128), "ram_bytes"):
                continue
            cells = [amount(scaling.queries_per_second(figures, held, k, large.cores)) for k in KS]
            front = scaling.queries_per_second(figures, held, 10, large.cores) / 64 * shards * figures.call_us * 1e-6
            beyond = "" if held <= figures.largest else f"{amount(held / figures.largest)} times"
            rows.append([power(entries), shards, f"{held / 1e6:,.0f} M", *cells, amount(front), beyond])
    head = (
        "entries | shards | entries of a shard | queries a second, k = 10 | k = 100 | k = 1024"
        " | cores of front ends, k = 10 | beyond what was measured"
    )
    return table(head, rows)


def answers_of(figures: Measured) -> Answers:
    return Answers(*figures.answer_ms, figures.stall_ms)


def formula(figures: Measured) -> str:
    answers = answers_of(figures)
    after = scaling.quantile(answers.later, 0.95, 1)
    again = scaling.hedged(answers.later, after)
    rows = []
    for shards in SHARDS:
        late = scaling.some_shard_late(0.01, shards)
        cells = [scaling.quantile(later, part, shards) for later in (answers.later, again) for part in (0.5, 0.99)]
        up = [f"{(1 - some) ** shards:.4f}" for some in (0.001, 0.001**2)]
        rows.append([shards, f"{late:.1%}", *(f"{cell:.1f}" for cell in cells), *up])
    head = (
        "shards | calls with a shard beyond its p99 | p50, ms | p99, ms | p50, hedged | p99, hedged"
        " | all shards there, each .999 | the same, two replicas"
    )
    return table(head, rows)


def simulation(figures: Measured, seed: int, calls: int = SIMULATED_CALLS) -> list[dict[str, float]]:
    """p50 and p99 of calls that ask all of so many shards, by load, without and with hedging."""
    answers, points = answers_of(figures), []
    for busy in BUSY:
        after = None
        for hedging in (False, True):
            shards = [
                scaling.simulate_shard(answers, Load(busy), calls, after, f"{seed} {number}")
                for number in range(max(SHARDS))
            ]
            for count in SHARDS:
                values = scaling.slowest(shards, count)
                p50, p99 = (scaling.part_of(values, part) for part in (0.5, 0.99))
                points.append({"busy": busy, "hedging": hedging, "shards": count, "p50": p50, "p99": p99})
            after = scaling.part_of([value for shard in shards for value in shard], 0.95)
    return points


def simulated(points: list[dict[str, float]]) -> str:
    rows = []
    for count in SHARDS:
        row: list[Any] = [count]
        for busy in BUSY:
            for hedging in (False, True):
                (point,) = [
                    each for each in points if (each["busy"], each["hedging"], each["shards"]) == (busy, hedging, count)
                ]
                row.append(f"{point['p50']:.1f}, {point['p99']:.1f}")
        rows.append(row)
    heads = [f"{busy:.0%} busy{', hedged' * hedging}" for busy in BUSY for hedging in (False, True)]
    return table("shards | " + " | ".join(heads), rows)


def costs(figures: Measured, planner: Planner) -> str:
    rows = []
    dimension = 128
    for held in (10**6, 10**7, 10**8, 10**9):
        plan = planner.plan(held, dimension)
        least, most = scaling.build_seconds(figures, held)
        if held in figures.build_seconds:
            build = f"{duration(figures.build_seconds[held])}, measured"
        else:
            build = f"{duration(least)} to {duration(most)}"
        rows.append(
            [
                power(held),
                build,
                many_bytes(plan["index_bytes"]),
                duration(held / figures.inserts_per_second),
                f"{many_bytes(plan['disk_bytes'])}; {duration(plan['disk_bytes'] / NETWORK)}",
                f"{many_bytes(plan['store_bytes'])}; {duration(plan['store_bytes'] / NETWORK)}",
                duration(plan["index_bytes"] / figures.read_bytes_per_second),
            ]
        )
    head = (
        "entries of a shard | rebuild | disk more, meanwhile | filling it | copy of all: bytes; time"
        " | of the store alone | reading the index at a start"
    )
    return table(head, rows)


def everything(figures: Measured, planner: Planner) -> dict[str, str]:
    """All but the simulation, which takes a minute."""
    return {
        "bytes": bytes_of_an_entry(planner),
        "node": entries_per_node(planner),
        "nodes": nodes(planner),
        "rates": rates(figures, planner),
        "tail": formula(figures),
        "costs": costs(figures, planner),
    }


def replace(document: str, name: str, text: str) -> str:
    pattern = re.compile(rf"(<!-- model {name} -->\n).*?(<!-- end -->)", re.S)
    if len(pattern.findall(document)) != 1:
        raise ValueError(f"docs/scaling.md has no place, or several, for {name}")
    return pattern.sub(lambda found: f"{found[1]}{text}\n{found[2]}", document)
