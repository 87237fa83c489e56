"""What a soak compares with: workers that write entries, sessions and registers, and know what each must be."""

from __future__ import annotations

import threading
import time
from typing import Any

import harness
import kill_entries
import mneme
import numpy as np
from mneme import working

MEMORY, PASSING, STATES = "soak", "passing", "states"
DIMENSION = kill_entries.DIMENSION
OF_EACH = 3_000  # ids of a worker
_FAR = 10**7  # between the ids of two workers
_VERSIONS = 10**9


def keys_of(ids: Any, versions: Any) -> Any:
    return kill_entries.keys_of(np.asarray(ids) + np.asarray(versions) * _VERSIONS, harness.SEED)


def client_of(address: str) -> mneme.Client:
    """One that asks again, under the same request id, for as long as a fault lasts."""
    return mneme.connect(address, timeout=300, attempts=100_000)


class Thread(threading.Thread):
    """Steps until it is told to stop; `failure` is what went wrong. `turn` is held for the length of a step: who has
    it finds everything that this thread knows answered."""

    def __init__(self, number: int, address: str, going: threading.Event) -> None:
        super().__init__(daemon=True)  # it may be asking again for minutes when the test has failed
        self.number, self.going, self.failure = number, going, None
        self.random = np.random.default_rng([harness.SEED, number])
        self.client = self.connect(address)
        self.turn = threading.Lock()
        self.steps = 0

    def connect(self, address: str) -> mneme.Client:
        return client_of(address)

    def run(self) -> None:
        try:
            while self.going.is_set():
                with self.turn:
                    self.step()
                self.steps += 1
                time.sleep(0.001)  # a lock is not fair: who waits for the turn gets it here
        except Exception as error:
            self.failure = error

    def step(self) -> None:
        raise NotImplementedError


class Worker(Thread):
    """Has ids and a session of its own. `stored`: the version of each id that is there; `took`: moment and seconds of
    each call."""

    def __init__(self, number: int, address: str, going: threading.Event) -> None:
        super().__init__(number, address, going)
        self.memory = self.client.memory(MEMORY)
        self.session = f"session{number}"
        self.stored: dict[int, int] = {}
        self.gone: dict[int, int] = {}  # deleted ids, and the version that each had
        self.version = 0  # the next; none is used twice
        self.ordered = 0
        self.counts = np.zeros(16, np.int64)
        self.took: list[tuple[float, str, float]] = []

    def step(self) -> None:
        what = self.random.random()
        begun = time.monotonic()
        if what < 0.35:
            name = self.write()
        elif what < 0.5:
            name = self.delete()
        elif what < 0.8:
            name = self.query()
        elif what < 0.9:
            name = self.get()
        else:
            name = self.keep()
        self.took.append((begun, name, time.monotonic() - begun))

    def write(self) -> str:
        """New ids and old ones alike."""
        count = int(self.random.integers(1, 200))
        ids = self.random.choice(OF_EACH, count, replace=False) + self.number * _FAR
        versions = np.arange(self.version, self.version + count)
        self.version += count
        told = self.memory.insert(
            keys_of(ids, versions),
            kill_entries.tokens_of(ids + versions),
            ids=ids,
            sources=versions,
            durability=("sync", "written")[self.steps % 2],
        )
        replaced = sum(each in self.stored for each in ids.tolist())
        assert told.inserted == count, f"{told} of {count}"
        assert told.replaced == replaced, f"{told.replaced} were replaced, not {replaced}"
        for each, version in zip(ids.tolist(), versions.tolist()):
            self.stored[each] = version
            self.gone.pop(each, None)
        return "insert"

    def delete(self) -> str:
        count = int(self.random.integers(1, 120))
        ids = self.random.choice(OF_EACH, count, replace=False) + self.number * _FAR
        here = [each for each in ids.tolist() if each in self.stored]
        told = self.memory.delete(ids=ids, durability=("sync", "written")[self.steps % 2])
        assert told.deleted == len(here), f"{told.deleted} were deleted, not {len(here)}"
        for each in here:
            self.gone[each] = self.stored.pop(each)
        return "delete"

    def query(self) -> str:
        """What is stored is its own nearest neighbour; what was deleted is nobody's."""
        stored = self._some(self.stored, 6)
        gone = self._some(self.gone, 2)
        if not stored:
            return "query"
        ids, versions = zip(*(stored + gone))
        found = self.memory.query(keys_of(ids, versions), 5, exact=True)
        for row, (each, _) in enumerate(stored + gone):
            near = found.ids[found.row(row)].tolist()
            if row < len(stored):
                assert near[:1] == [each], f"{each} is not found: {near}"
                assert found.distances[found.row(row)][0] == 0.0, f"{each} is another"
            else:
                assert each not in near, f"{each} was deleted and is back"
        return "query"

    def get(self) -> str:
        asked = self._some(self.stored, 40) + self._some(self.gone, 10)
        if asked:
            ids = np.array([each for each, _ in asked])
            got = self.memory.get(ids, with_keys=True, allow_missing=True)
            there = [pair for pair in asked if pair[0] in self.stored]
            assert got.ids.tolist() == [each for each, _ in there], "other ids than are stored"
            if there:
                np.testing.assert_array_equal(got.keys, keys_of(*zip(*there)))
        return "get"

    def keep(self) -> str:
        """A register whose next version alone fits, and counters."""
        cell = int(self.random.integers(16))
        memory = self.client.memory(STATES)
        answers = memory.apply(
            [
                working.cas(self.session, "order", self.ordered, str(self.ordered).encode()),
                working.count(self.session, "counts", [0], [cell]),
                working.get(self.session, "order"),
            ],
            durability=("sync", "written")[self.steps % 2],
        )
        for answer in answers:
            assert answer.error is None, answer.error
        assert answers[2].value == str(self.ordered).encode(), f"order {self.ordered}: {answers[2].value}"
        self.ordered += 1
        self.counts[cell] += 1
        return "session"

    def _some(self, of: dict[int, int], most: int) -> list[tuple[int, int]]:
        known = list(of.items())
        if not known:
            return []
        return [known[i] for i in self.random.integers(len(known), size=min(most, len(known)))]

    def check_session(self, memory: mneme.Memory) -> None:
        session = memory.session(self.session)
        if self.ordered:
            got = session.get("order")
            assert (got.version, got.value) == (self.ordered, str(self.ordered - 1).encode()), got
            cells = session.counts("counts")
            dense = np.zeros(16, np.int64)
            dense[cells.columns] = cells.counts
            np.testing.assert_array_equal(dense, self.counts)


class Passing(Thread):
    """Makes a memory, writes to it and asks it, while somebody drops it and makes it anew: NOT_FOUND is right, and an
    answer of another memory than the present one never is."""

    def step(self) -> None:
        memory = self.client.memory(PASSING)
        try:
            ids = self.random.choice(500, 50, replace=False)
            memory.insert(keys_of(ids, 0), ids, ids=ids, durability="written")
            found = memory.query(keys_of(ids[:4], 0), 1, exact=True)
            wrong = [(each, near) for each, near in zip(ids[:4].tolist(), found.ids.tolist()) if each != near]
            # Dropped and made anew in between, it may hold none of them.
            assert len(found.ids) < 4 or not wrong, wrong
        except mneme.NotFound:
            self.client.create_memory(PASSING, DIMENSION, exist_ok=True)


def check_all(client: mneme.Client, workers: list[Worker]) -> int:
    """Every entry that is stored against every worker's knowledge, whose turns the caller has. Returns how many."""
    memory = client.memory(MEMORY)
    seen: dict[int, int] = {}
    for page in memory.scan(with_keys=True):
        ids, versions = page.ids.astype(np.int64), page.sources.astype(np.int64)
        np.testing.assert_array_equal(page.keys, keys_of(ids, versions), err_msg="altered")
        np.testing.assert_array_equal(page.values, kill_entries.tokens_of(ids + versions), err_msg="altered")
        for each, version in zip(ids.tolist(), versions.tolist()):
            assert each not in seen, f"{each} is there twice"
            seen[each] = version
    known: dict[int, int] = {}
    for worker in workers:
        known.update(worker.stored)
    lost, back = known.keys() - seen.keys(), seen.keys() - known.keys()
    old = [each for each in known.keys() & seen.keys() if known[each] != seen[each]]
    assert not lost and not back and not old, (
        f"{len(lost)} acknowledged and lost {sorted(lost)[:5]}, {len(back)} deleted and back {sorted(back)[:5]}, "
        f"{len(old)} of an older version {old[:5]}"
    )
    assert memory.count() == len(known), f"counted {memory.count()}, there are {len(known)}"
    for worker in workers:
        worker.check_session(client.memory(STATES))
    return len(known)
