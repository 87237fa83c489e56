"""A data set in a memory of a running server: loads against it, recall against exact, the probes that a recall needs.
"""

from __future__ import annotations

import pathlib
from typing import Any, Optional

import numpy as np

from . import machine
from .data import DataSet, recall
from .process import Argument, run_json
from .server import Server, centroids


class Store:
    """Creates the memory, imports and builds. `index` names a codec where `mneme create` takes one."""

    def __init__(
        self, server: Server, data: DataSet, scratch: pathlib.Path, index: Optional[str] = None, key_dtype: str = "f16"
    ) -> None:
        self.server, self.data, self.index = server, data, index
        self.memory = data.name
        self._scratch = scratch
        self._probes: dict[tuple[int, float], tuple[dict[str, Any], float]] = {}
        create: list[Argument] = ["create", self.memory, "--dim", data.dimension, "--metric", "l2", "--value", "token"]
        create += ["--vocab-size", data.vocabulary, "--key-dtype", key_dtype]
        if index:
            create += ["--index", index]
        server.cli(*create)
        server.cli("import", self.memory, "--keys", data.keys, "--values", data.values, "--durability", "written")
        server.wait_until_idle(self.memory)
        server.cli("build", self.memory)
        statistics = server.statistics(self.memory)
        if statistics["segments"] > 1 or statistics["codebooks"] > 1:
            # One codebook over all rows, so that an index library can be given the same centroids.
            server.cli("build", self.memory, "--retrain")
        server.wait_until_idle(self.memory)

    def load(self, transport: str = "unix", **options: Any) -> dict[str, Any]:
        """One run of the load generator's queries; options by their names, with _ for -. Adds the server's CPU."""
        options.setdefault("keys", self.data.queries)
        address = self.server.unix if transport == "unix" else self.server.tcp
        return generate("query", self.server, address, self.memory, **options)

    def load_on(self, server: Server, **options: Any) -> dict[str, Any]:
        """The same against another server that has a copy of the data."""
        return generate("query", server, server.unix, self.memory, keys=self.data.queries, **options)

    def found(self, k: int, **search: Any) -> np.ndarray:
        """Ids of every query, [queries x k]."""
        path = self._scratch / "ids.npy"
        self.load(k=k, once=True, ids_out=path, **search)
        return np.load(path)

    def truth(self, k: int) -> np.ndarray:
        """The exact neighbours, kept with the data set."""
        path = self.data.truth(k)
        if not path.exists():
            np.save(path, self.found(k, exact=True, batch=64))
        return np.load(path)

    def recall_of(self, k: int, **search: Any) -> float:
        return recall(self.found(k, **search), self.truth(max(k, 10)), k)

    def search_for(self, k: int, target: float) -> tuple[dict[str, Any], float]:
        """The cheapest search whose measured recall@k reaches `target`, and that recall."""
        if (k, target) not in self._probes:
            self._probes[k, target] = self._fewest_probes(k, target)
        return self._probes[k, target]

    def _fewest_probes(self, k: int, target: float) -> tuple[dict[str, Any], float]:
        low, high, best = 0, 1, 0.0
        while (best := self.recall_of(k, nprobe=high)) < target and high < 65_536:
            low, high = high, high * 2
        while high - low > max(1, high // 32):
            middle = (low + high) // 2
            reached = self.recall_of(k, nprobe=middle)
            if reached >= target:
                high, best = middle, reached
            else:
                low = middle
        return {"nprobe": high}, best

    def centroids_file(self, data_dir: pathlib.Path) -> pathlib.Path:
        path = self._scratch / "centroids.npy"
        np.save(path, centroids(data_dir, self.data.dimension))
        return path


def generate(verb: str, server: Server, address: str, memory: str, **options: Any) -> dict[str, Any]:
    """One run of the load generator."""
    command: list[Argument] = [machine.BIN / "load_generator", verb, "--server", address, "--memory", memory]
    command += ["--server-pid", server.pid]
    for name, value in options.items():
        flag = ("-" if len(name) == 1 else "--") + name.replace("_", "-")
        if value is True:
            command.append(flag)
        elif value is not False and value is not None:
            command += [flag, value]
    return run_json(command)
