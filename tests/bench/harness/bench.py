"""What a row is given: how long to measure, stores and processes that rows share, and where to put files."""

from __future__ import annotations

import pathlib
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Optional

from . import data, machine, peers
from .process import LineProcess
from .report import NotAvailable
from .server import Server, cli_offers
from .store import Store


class Bench:
    """Use in a `with` block; it ends every process and removes every file that it started or made."""

    def __init__(self, options: Any) -> None:
        self.rounds: int = options.rounds
        self.seconds: float = options.seconds
        self.quick: bool = options.quick
        self.index: Optional[str] = options.index
        self.main: str = options.set  # of the rows that say nothing else
        self.sets: dict[str, str] = {}
        self.notes: dict[str, Any] = {}
        self._stores: dict[tuple[str, Optional[str], str], Store] = {}
        self._made = 0
        self._children: list[LineProcess] = []
        self._servers: list[Server] = []
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mneme-bench-", dir=options.scratch))

    def __enter__(self) -> "Bench":
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def release(self) -> None:
        """Ends everything that rows have started; the next row starts what it needs anew."""
        for child in self._children:
            child.close()
        for server in self._servers:
            server.stop()
        for directory in self.scratch.iterdir():
            shutil.rmtree(directory, ignore_errors=True)
        self._stores.clear()
        self._children.clear()
        self._servers.clear()

    def end(self, child: LineProcess) -> None:
        child.close()
        self._children.remove(child)

    def server(self, name: str, *flags: str) -> Server:
        server = Server(self.scratch / name, *flags)
        self._servers.append(server)
        return server

    def stop(self, server: Server) -> None:
        server.stop()
        self._servers.remove(server)
        shutil.rmtree(server.data_dir, ignore_errors=True)

    def store(self, name: str, index: Optional[str] = None, key_dtype: str = "f16") -> Store:
        """A data set in a memory of a server of its own, built; shared by the rows of one run, which must not write."""
        kind = (name, index or self.index, key_dtype)
        if kind not in self._stores:
            self._stores[kind] = self.own_store(*kind)
        return self._stores[kind]

    def own_store(self, name: str, index: Optional[str] = None, key_dtype: str = "f16") -> Store:
        """The same for one row alone, which may write to it and stops its server."""
        index = index or self.index
        if index and not cli_offers("create", "--index"):
            raise NotAvailable("mneme create --index")
        found = data.find(name)
        self.sets[name] = found.story
        self._made += 1
        # A file name without the ':' of an index.
        server = self.server(f"{name}-{(index or 'default').replace(':', '_')}-{key_dtype}-{self._made}")
        return Store(server, found, self.scratch, index, key_dtype)

    def engine(self, store: Store, threads: int = 0, *flags: Any) -> LineProcess:
        """The engine in a process of its own, on a copy of the store's data. End it with `end`."""
        label = f"engine-{store.server.data_dir.parent.name}-{len(self._children)}"
        copy = store.server.copy_data(self.scratch / label)
        return self.child(
            "engine_load", "engine", "--data-dir", copy, "--memory", store.memory,
            "--queries", store.data.queries, "--search-threads", threads, *flags,
        )  # fmt: skip

    def debian_faiss(self, store: Store) -> LineProcess:
        return self.child(
            "engine_load", "faiss", "--keys", store.data.keys, "--queries", store.data.queries,
            "--centroids", store.centroids_file(store.server.data_dir),
        )  # fmt: skip

    def child(self, program: str, *arguments: Any) -> LineProcess:
        child = LineProcess([machine.BIN / program, *arguments], self.scratch / f"{program}.log")
        self._children.append(child)
        return child

    def peer(self, script: str, *modules: str) -> LineProcess:
        """A peer in the virtual environment; NotAvailable where that, or one of its modules, is not there."""
        child = LineProcess(peers.command(script, *modules), self.scratch / f"{script}.log", peers.environment())
        self._children.append(child)
        return child

    def script(self, path: pathlib.Path) -> LineProcess:
        """A program of the bench's own in this Python."""
        child = LineProcess([sys.executable, "-u", path], self.scratch / f"{path.name}.log")
        self._children.append(child)
        return child

    def run_json(self, program: str, *arguments: Any) -> dict[str, Any]:
        from .process import run_json

        return run_json([machine.BIN / program, *arguments])

    def drop_caches(self) -> bool:
        """Whether the page cache could be emptied."""
        done = subprocess.run(["sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"], capture_output=True)
        return done.returncode == 0
