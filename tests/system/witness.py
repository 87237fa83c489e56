"""A well-behaved client in a process of its own: it keeps asking, looks at every answer, and notes how long each took.
What happens to others is held against what it was told when nothing happened.

witness.py ADDRESS LOG ROWS DIMENSION SEED [CA]: asks the memory "witness" for one of its entries after another,
until its input ends; one line "moment milliseconds error" for each call, "-" for none. `Witness` starts it and
reads the log.
"""

from __future__ import annotations

import pathlib
import select
import subprocess
import sys
import time
from typing import Any, Optional

import harness
import mneme
import numpy as np

NAME = "witness"
_PAUSE_S = 0.002
# The longest call, and the p99, on a machine whose two cores an attacker shares: below that, three times the idle p99
# would be noise. And the part of the calls of an idle server that there must be: it makes one after the other.
LONGEST_MS, FLOOR_MS, PART = 2_000.0, 100.0, 5
_PATIENCE_S = 60.0


def keys_of(rows: int, dimension: int, seed: int) -> Any:
    return np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)


class Witness:
    """Begins when it is made; asks a memory that it makes first."""

    def __init__(self, server: harness.Server, folder: pathlib.Path, rows: int = 2_000, dimension: int = 32) -> None:
        self._log = folder / "witness.log"
        memory = server.client.create_memory(NAME, dimension)
        memory.insert(keys_of(rows, dimension, harness.SEED), np.arange(rows), ids=np.arange(rows))
        ca = [] if server.security is None or server.security.ca is None else [server.security.ca]
        arguments = (server.address, self._log, rows, dimension, harness.SEED, *ca)
        command = [sys.executable, __file__, *map(str, arguments)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE)
        while not self._lines():
            assert self._process.poll() is None, "the witness ended by itself"
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(60)

    def measure(self, seconds: float) -> str:
        """Learns what it is like when nothing else happens; returns the figures."""
        start = time.monotonic()
        time.sleep(seconds)
        took, wrong = self.between(start, time.monotonic())
        assert not wrong, wrong[:3]
        self._idle, self._rate = percentile(took, 0.99), len(took) / seconds
        return f"p99 {self._idle:.1f} ms of {len(took)} calls"

    def assert_served(self, start: float, end: float, longest_ms: Optional[float] = None) -> str:
        """Every call that was under way in this time was answered rightly, and about as quickly as before, or, where
        `longest_ms` is given, within that; returns the figures."""
        took, wrong = self.between(start, end)
        p99, least = percentile(took, 0.99), self._rate * (end - start) / PART
        longest = max(took, default=0.0)
        figures = f"p99 {p99:.1f} ms ({self._idle:.1f} idle) and at most {longest:.0f} of {len(took)} calls"
        assert not wrong, f"{len(wrong)} wrong: {wrong[:3]}"
        if longest_ms is not None:
            assert took and longest < longest_ms, f"{figures}, not {longest_ms:.0f}"
            return figures
        assert len(took) >= max(least, 1), f"{figures}, not {least:.0f}"
        assert longest < LONGEST_MS, figures
        assert p99 < max(3 * self._idle, FLOOR_MS), figures
        return figures

    def between(self, start: float, end: float) -> tuple[list[float], list[str]]:
        """Milliseconds of the calls that were under way in this time (of time.monotonic), and what went wrong. Waits
        until one that began later has ended: of one that stands still nothing is known before."""
        last = time.monotonic() + _PATIENCE_S
        while True:
            calls = [(float(began), float(took), error) for began, took, error in map(_fields, self._lines())]
            if calls and calls[-1][0] >= end:
                break
            assert self._process.poll() is None, "the witness ended by itself"
            assert time.monotonic() < last, f"nobody was answered for {_PATIENCE_S:.0f} s"
            time.sleep(0.05)
        under_way = [(took, error) for began, took, error in calls if began + took / 1000 >= start and began < end]
        return [took for took, _ in under_way], [error for _, error in under_way if error != "-"]

    def _lines(self) -> list[str]:
        whole, _, _ = self._log.read_text().rpartition("\n") if self._log.exists() else ("", "", "")
        return whole.splitlines()


def _fields(line: str) -> list[str]:
    return line.split(" ", 2)


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, 100 * share)) if values else float("nan")


def _ask(client: mneme.Client, keys: Any, row: int) -> str:
    """What is wrong with the answer, or "-"."""
    try:
        answer = client.memory(NAME).query(keys[row], 1, exact=True)
    except mneme.MnemeError as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    right = answer.ids.tolist() == [row] and answer.distances.tolist() == [0.0]
    return "-" if right else f"asked for entry {row}, was told {answer.ids.tolist()} at {answer.distances.tolist()}"


def main() -> None:
    address, path, rows, dimension, seed = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:6])
    ca: Optional[str] = sys.argv[6] if len(sys.argv) > 6 else None
    keys = keys_of(rows, dimension, seed)
    random = np.random.default_rng(seed + 1)
    with mneme.connect(address, timeout=30, security=mneme.Security(ca=ca)) as client, open(path, "a") as log:
        while not select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            start = time.monotonic()
            error = _ask(client, keys, int(random.integers(rows)))
            log.write(f"{start} {1000 * (time.monotonic() - start):.3f} {error}\n")
            log.flush()


if __name__ == "__main__":
    main()
