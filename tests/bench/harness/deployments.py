"""Deployments of several processes and the brokers of their logs, which a child process holds (peer/deployments.py)."""

from __future__ import annotations

import itertools
import pathlib
from typing import Any

from .bench import Bench
from .server import Server

PROGRAM = pathlib.Path(__file__).resolve().parents[1] / "peer" / "deployments.py"


class FrontEnd(Server):
    """A front end that runs, asked as a server of the bench is: over TCP alone."""

    def __init__(self, folder: str, address: str, pid: int) -> None:
        self.folder, self.unix, self.tcp = folder, address, address
        self._pid = pid

    @property
    def pid(self) -> int:
        return self._pid


class Deployments:
    """Ends with the bench, or with `close`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._child = bench.script(PROGRAM)
        self._names = (f"deployment-{number}" for number in itertools.count())

    def cluster(self, shards: int, *flags: str) -> FrontEnd:
        """A front end over shards that have logs of their own; the flags are of the shards."""
        folder = self._folder()
        return FrontEnd(folder, **self._child.ask(op="cluster", folder=folder, shards=shards, flags=list(flags)))

    def brokers(self, count: int) -> str:
        """Their addresses, as a client takes them."""
        return str(self._child.ask(op="brokers", folder=self._folder(), count=count)["addresses"])

    def topic(self, name: str) -> str:
        """Makes one, of one partition."""
        self._child.ask(op="topic", name=name)
        return name

    def replicated(self, topic: str, replicas: int) -> FrontEnd:
        """A front end over one shard of so many replicas."""
        folder = self._folder()
        return FrontEnd(folder, **self._child.ask(op="replicated", folder=folder, topic=topic, replicas=replicas))

    def watch(self, front_end: FrontEnd) -> None:
        """Looks at the backlog of its replicas until `watched`."""
        self._child.ask(op="watch", folder=front_end.folder)

    def watched(self) -> dict[str, Any]:
        """`most` and `last` records that a replica was behind, and `drained_seconds` until none is."""
        return self._child.ask(op="watched")

    def kill(self, front_end: FrontEnd) -> None:
        """With the processes behind it."""
        self._child.ask(op="kill", folder=front_end.folder)

    def close(self) -> None:
        self._bench.end(self._child)

    def _folder(self) -> str:
        return str(self._bench.scratch / next(self._names))
