"""A well-behaved client in a process of its own: it keeps asking, looks at every answer, and notes how long each took.

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

    def between(self, start: float, end: float) -> tuple[list[float], list[str]]:
        """Milliseconds of the calls that began in this time (of time.monotonic), and what went wrong."""
        took, wrong = [], []
        for line in self._lines():
            moment, milliseconds, error = line.split(" ", 2)
            if start <= float(moment) < end:
                took.append(float(milliseconds))
                if error != "-":
                    wrong.append(error)
        return took, wrong

    def _lines(self) -> list[str]:
        whole, _, _ = self._log.read_text().rpartition("\n") if self._log.exists() else ("", "", "")
        return whole.splitlines()


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
