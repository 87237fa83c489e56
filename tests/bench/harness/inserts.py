"""Inserts into a memory that only takes, and what RocksDB alone makes of the same bytes."""

from __future__ import annotations

import itertools
import shutil
import time
from typing import Any

from . import data, machine
from .bench import Bench
from .data import DataSet
from .process import run_json
from .store import generate

TOKEN_BYTES = 4
KEY_ITEM_BYTES = 2  # f16
_numbers = itertools.count()


class Sink:
    """A server of its own with an empty memory for the keys of a data set."""

    def __init__(self, bench: Bench, name: str) -> None:
        self.data = data.find(name)
        bench.sets[name] = self.data.story
        self._bench = bench
        self.server = bench.server(f"sink-{next(_numbers)}")
        self._next_id = 0
        self._create()

    def _create(self) -> None:
        self.server.cli(
            "create", "sink", "--dim", self.data.dimension, "--metric", "l2", "--value", "token", "--key-dtype", "f16"
        )

    def renew(self) -> None:
        """Empties it, so that what a run left to be indexed is no load for the next one."""
        self.server.cli("drop", "sink", "--yes")
        self._create()
        time.sleep(1.0)  # what was in the middle of being built ends, and what was dropped goes

    def insert(self, **options: Any) -> dict[str, Any]:
        """One run of the load generator, with ids that were not there."""
        options.setdefault("seconds", self._bench.seconds)
        result = generate(
            "insert", self.server, self.server.unix, "sink", keys=self.data.keys, values=self.data.values,
            first_id=self._next_id, **options,
        )  # fmt: skip
        # More than any run can reach, the warm-up included.
        self._next_id += 1 << 32
        return result

    def ping(self, **options: Any) -> dict[str, Any]:
        """One run of calls that do nothing."""
        return generate("ping", self.server, self.server.unix, "sink", seconds=self._bench.seconds, **options)

    def close(self) -> None:
        self._bench.stop(self.server)


def raw_sync(bench: Bench, keys: DataSet, batch: int, threads: int) -> dict[str, Any]:
    directory = bench.scratch / f"raw-{next(_numbers)}"
    result = run_json(
        [
            machine.BIN / "raw_store", "sync", directory, "--bytes", entry_bytes(keys), "--batch", batch,
            "--threads", threads, "--seconds", bench.seconds,
        ]  # fmt: skip
    )
    shutil.rmtree(directory, ignore_errors=True)
    return result


def entry_bytes(keys: DataSet) -> int:
    return keys.dimension * KEY_ITEM_BYTES + TOKEN_BYTES
