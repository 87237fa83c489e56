"""A model of many machines: bytes, nodes, rates and tails, from what one machine measured (docs/performance.md) and
what `mneme plan` computes. Arithmetic and a seeded simulation of the standard library alone: the same seed, the same
text."""

from __future__ import annotations

import collections
import dataclasses
import functools
import heapq
import json
import math
import pathlib
import random
import re
import subprocess
from collections.abc import Callable
from statistics import NormalDist

GB = 1e9
GIB = float(1 << 30)
# Of common/limits.h.
MOST_SHARDS = 256


@dataclasses.dataclass(frozen=True)
class Measured:
    """Figures of docs/performance.md, of its machine of two cores."""

    query_us: dict[int, dict[int, float]]  # by entries, then k: of a query of a batch of 64, d = 128, recall .95
    build_seconds: dict[int, float]  # by entries
    answer_ms: tuple[float, float]  # p50 and p99 of one row, d = 1024, k = 1024, n = 1,000,000
    stall_ms: float  # the longest while entries come
    inserts_per_second: float  # the most, d = 128
    threads_2_over_1: float  # rate of searches, the least of the three
    read_bytes_per_second: float  # of index files at a start
    call_us: float  # p50 of an empty call

    @property
    def largest(self) -> int:
        return max(self.query_us)


def measured(text: str) -> Measured:
    """`text` is docs/performance.md; raises ValueError when a figure is not where it was."""

    def find(pattern: str) -> re.Match[str]:
        found = re.search(pattern, text)
        if found is None:
            raise ValueError(f"docs/performance.md has no {pattern}")
        return found

    queries: dict[int, dict[int, float]] = {}
    builds: dict[int, float] = {}
    cost = r" ([\d.]+) \(.*?\) \|"
    for row in re.finditer(rf"^\| ([\d,]+) \|{cost}{cost}{cost} ([\d.]+) \|", text, re.M):
        entries = int(row[1].replace(",", ""))
        queries[entries] = {10: float(row[2]), 100: float(row[3]), 1024: float(row[4])}
        builds[entries] = float(row[5])
    if len(queries) < 2:
        raise ValueError("docs/performance.md has no cost curves")
    answer = find(r"p50, p99 of 1 row; 32 rows \| ([\d.]+), ([\d.]+) ms")
    return Measured(
        queries,
        builds,
        (float(answer[1]), float(answer[2])),
        float(find(r"QPS; p99; stall \|.*?; ([\d.]+) ms \|")[1]),
        float(find(r"maximum of the last run was ([\d,]+)")[1].replace(",", "")),
        min(map(float, find(r"2 threads / 1: [^|]*\| ([\d.]+); ([\d.]+); ([\d.]+)").groups())),
        float(find(r"the reading of the index, ([\d.]+) GB a second")[1]) * GB,
        float(find(r"empty call (\d+); k = 10 remote")[1]),
    )


class Planner:
    """`mneme plan`, for keys of halves and token values."""

    def __init__(self, program: pathlib.Path) -> None:
        self.program = program

    @functools.cache
    def plan(self, entries: int, dimension: int) -> dict[str, float]:
        command = [self.program, "plan", "--entries", entries, "--dim", dimension, "--dtype", "f16", "-o", "json"]
        done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, check=True)
        return {name: value for name, value in json.loads(done.stdout).items() if not isinstance(value, str)}


@dataclasses.dataclass(frozen=True)
class Node:
    name: str
    cores: int
    ram: float
    disk: float

    # Of ram for what is to be resident (the rest: tails, RocksDB, answers, the system); of disk for the peak of a
    # rebuild.
    RAM_PART = 0.7
    DISK_PART = 0.8

    def holds(self, plan: dict[str, float], ram: str) -> bool:
        return plan[ram] <= self.RAM_PART * self.ram and plan["peak_disk_bytes"] <= self.DISK_PART * self.disk


NODES = (Node("small", 2, 24 * GIB, 200 * GB), Node("large", 32, 256 * GIB, 8_000 * GB))
# `mneme plan` calls them so: the whole index in ram, or codes, ids and centroids alone.
LAYOUTS = {"ram_bytes": "all in ram", "least_ram_bytes": "keys on disk"}


def entries_per_node(planner: Planner, node: Node, dimension: int, ram: str) -> int:
    """The most, to two digits."""
    low, high = 1, 10**12
    while low < high:
        middle = (low + high + 1) // 2
        if node.holds(planner.plan(middle, dimension), ram):
            low = middle
        else:
            high = middle - 1
    digits = 10 ** max(0, len(str(low)) - 2)
    return low // digits * digits


def nodes_for(entries: float, per_node: int) -> int:
    return math.ceil(entries / per_node)


def query_us(figures: Measured, entries: float, k: int) -> float:
    """Of one shard: the measured points, a power between two of them, and beyond the last a square root."""
    points = sorted(figures.query_us.items())
    if entries <= points[0][0]:
        return points[0][1][k]
    for (n, below), (m, above) in zip(points, points[1:]):
        if entries <= m:
            return below[k] * (entries / n) ** (math.log(above[k] / below[k]) / math.log(m / n))
    return points[-1][1][k] * math.sqrt(entries / points[-1][0])


def queries_per_second(figures: Measured, entries_of_shard: float, k: int, cores: int) -> float:
    """Of a deployment, since each query asks every shard; two cores as measured, more of them as a second one adds."""
    return 1e6 / query_us(figures, entries_of_shard, k) * cores_over_two(figures, cores)


def cores_over_two(figures: Measured, cores: int) -> float:
    return 1.0 if cores <= 2 else cores / 2 * (figures.threads_2_over_1 / 2)


def build_seconds(figures: Measured, entries: float) -> tuple[float, float]:
    """Beyond the last point: growing as between the last two, and as rows times lists (entries to the 1.5)."""
    (n, below), (m, above) = sorted(figures.build_seconds.items())[-2:]
    measured_power = math.log(above / below) / math.log(m / n)
    return above * (entries / m) ** measured_power, above * (entries / m) ** 1.5


# --- Tails ---


@dataclasses.dataclass(frozen=True)
class Answers:
    """Milliseconds of a shard's answer: log-normal through the measured p50 and p99; one in `one_in` meets a stall, of
    which any part up to the longest that was measured is left."""

    median: float
    p99: float
    stall: float
    one_in: float = 1000.0

    @property
    def sigma(self) -> float:
        return math.log(self.p99 / self.median) / NormalDist().inv_cdf(0.99)

    @property
    def mean(self) -> float:
        return self.median * math.exp(self.sigma**2 / 2) + self.stall / 2 / self.one_in

    def draw(self, generator: random.Random) -> float:
        answer = self.median * math.exp(self.sigma * generator.gauss(0.0, 1.0))
        return answer + (generator.random() * self.stall if generator.random() * self.one_in < 1 else 0.0)

    def later(self, ms: float) -> float:
        """The part of answers that takes longer."""
        if ms <= 0:
            return 1.0
        steps = 100
        delayed = sum(self._later(ms - self.stall * (step + 0.5) / steps) for step in range(steps)) / steps
        return (1 - 1 / self.one_in) * self._later(ms) + delayed / self.one_in

    def _later(self, ms: float) -> float:
        return 1.0 if ms <= 0 else 0.5 * math.erfc(math.log(ms / self.median) / self.sigma / math.sqrt(2))


def some_shard_late(part: float, shards: int) -> float:
    """Of calls that ask every shard, when `part` of each shard's answers is late."""
    return 1 - (1 - part) ** shards


def quantile(later: Callable[[float], float], part: float, shards: int) -> float:
    """The time within which `part` of the calls has the answers of all shards."""
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        if some_shard_late(later(middle), shards) > 1 - part:
            low = middle
        else:
            high = middle
    return high


def hedged(later: Callable[[float], float], after: float) -> Callable[[float], float]:
    """`later` when whoever has not answered `after` so long is asked again, at a replica that knows nothing of it."""
    return lambda ms: later(ms) * (later(ms - after) if ms > after else 1.0)


@dataclasses.dataclass(frozen=True)
class Load:
    busy: float  # part of the time in which a thread searches, without hedging
    threads: int = 2  # of each replica
    replicas: int = 2


def simulate_shard(answers: Answers, load: Load, calls: int, hedge_after: float | None, seed: str) -> list[float]:
    """Milliseconds from the arrival of each call to the shard's answer. Calls arrive at random and go to a replica at
    random, wait there first come first served, and occupy a thread for as long as the answer takes. The arrivals are
    the same for every shard of a seed's first word: every call asks all of them."""
    arrivals, own = random.Random(seed.split()[0]), random.Random(seed)
    rate = load.busy * load.threads * load.replicas / answers.mean
    events: list[tuple[float, int, str, int, int]] = []
    now, number = 0.0, 0
    start = [0.0] * calls
    for call in range(calls):
        now += arrivals.expovariate(rate)
        start[call] = now
        events.append((now, call, "ask", call, own.randrange(load.replicas)))
    number = calls
    heapq.heapify(events)
    free = [load.threads] * load.replicas
    waiting: list[collections.deque[int]] = [collections.deque() for _ in free]
    took: list[float | None] = [None] * calls
    while events:
        now, _, what, call, replica = heapq.heappop(events)
        if what == "end":
            free[replica] += 1
            if took[call] is None:
                took[call] = now - start[call]
        elif took[call] is None:
            waiting[replica].append(call)
            if what == "ask" and hedge_after is not None and load.replicas > 1:
                number += 1
                other = (replica + 1) % load.replicas
                heapq.heappush(events, (now + hedge_after, number, "again", call, other))
        while free[replica] and waiting[replica]:
            next_call = waiting[replica].popleft()
            if took[next_call] is not None:
                continue  # the other replica was faster: what waits is taken back, what runs runs on
            free[replica] -= 1
            number += 1
            heapq.heappush(events, (now + answers.draw(own), number, "end", next_call, replica))
    return [each for each in took if each is not None]


def part_of(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(part * len(ordered)) - 1)]


def slowest(shards: list[list[float]], count: int) -> list[float]:
    """Of each call the slowest of `count` shards, for as many groups of them as there are."""
    out: list[float] = []
    for first in range(0, len(shards) - count + 1, count):
        out.extend(map(max, zip(*shards[first : first + count])))
    return out
