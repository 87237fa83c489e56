"""What is searched: the kNN-LM datastore of shared/data, and clustered synthetic keys of stated intrinsic dimension.

A data set is a directory of keys.npy (f16), values.npy (i32), queries.npy (f16), targets.npy (i32), kept under
build/bench-data and made again when it is missing.
"""

from __future__ import annotations

import os
import pathlib
import re
from dataclasses import dataclass

import numpy as np

from . import machine
from .report import NotAvailable

SHARED = pathlib.Path(os.environ.get("MNEME_SHARED_DATA") or machine.ROOT.parent / "shared" / "data")
WIKI_QUERIES = 2000
SYNTHETIC_QUERIES = 2000
VOCABULARY = 50_000
# Keys made at once: bounds the ram of making ten million.
CHUNK = 100_000


@dataclass(frozen=True)
class DataSet:
    """Files and shapes. `story` says what the keys are, seed and intrinsic dimension included."""

    name: str
    directory: pathlib.Path
    rows: int
    dimension: int
    vocabulary: int
    story: str

    @property
    def keys(self) -> pathlib.Path:
        return self.directory / "keys.npy"

    @property
    def values(self) -> pathlib.Path:
        return self.directory / "values.npy"

    @property
    def queries(self) -> pathlib.Path:
        return self.directory / "queries.npy"

    @property
    def targets(self) -> pathlib.Path:
        return self.directory / "targets.npy"

    def truth(self, k: int) -> pathlib.Path:
        return self.directory / f"exact-{k}.npy"


def find(name: str) -> DataSet:
    """"wiki", or "synthetic-ROWSxDIMENSION[-iINTRINSIC][-sSEED]", rows as 100000, 100k or 1m."""
    if name == "wiki":
        return _wiki()
    match = re.fullmatch(r"synthetic-(\d+)(k|m)?x(\d+)(?:-i(\d+))?(?:-s(\d+))?", name)
    if not match:
        raise ValueError(f"no data set is called {name}")
    rows = int(match[1]) * {"k": 1000, "m": 1_000_000}.get(match[2] or "", 1)
    dimension = int(match[3])
    intrinsic = int(match[4] or max(8, dimension // 32 + 8))
    return _synthetic(name, rows, dimension, intrinsic, int(match[5] or 1))


def _wiki() -> DataSet:
    source = SHARED / "knnlm_wiki"
    if not source.is_dir():
        raise NotAvailable(f"{source} (set MNEME_SHARED_DATA)")
    directory = machine.BUILD / "bench-data" / "wiki"
    keys = np.load(source / "store_keys.npy", mmap_mode="r")
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        queries = np.load(source / "dev" / "query_keys.npy", mmap_mode="r")
        # Every n-th, so that all articles take part.
        chosen = np.arange(WIKI_QUERIES) * len(queries) // WIKI_QUERIES
        np.save(directory / "keys.npy", keys)
        np.save(directory / "values.npy", np.load(source / "store_values.npy"))
        np.save(directory / "queries.npy", queries[chosen])
        np.save(directory / "targets.npy", np.load(source / "dev" / "query_gold.npy")[chosen])
        (directory / "done").touch()
    story = f"knnlm_wiki: {len(keys):,} hidden states of a language model, d = {keys.shape[1]}, f16"
    return DataSet("wiki", directory, len(keys), keys.shape[1], 11_356, story)


def _synthetic(name: str, rows: int, dimension: int, intrinsic: int, seed: int) -> DataSet:
    """Clusters of Zipf sizes in a space of `intrinsic` dimensions, turned into `dimension` and blurred by 2 %."""
    directory = machine.BUILD / "bench-data" / name
    story = f"{rows:,} clustered keys, d = {dimension}, f16, intrinsic dimension {intrinsic}, seed {seed}"
    data = DataSet(name, directory, rows, dimension, VOCABULARY, story)
    if (directory / "done").exists():
        return data
    directory.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    clusters = max(64, int(rows**0.5))
    centres = random.standard_normal((clusters, intrinsic), dtype=np.float32)
    weights = 1.0 / np.arange(1, clusters + 1) ** 0.7
    turn = np.linalg.qr(random.standard_normal((dimension, intrinsic)))[0].T.astype(np.float32) * dimension**0.5

    def make(count: int) -> np.ndarray:
        chosen = random.choice(clusters, count, p=weights / weights.sum())
        latent = centres[chosen] + 0.4 * random.standard_normal((count, intrinsic), dtype=np.float32)
        blur = 0.02 * random.standard_normal((count, dimension), dtype=np.float32)
        return (latent @ turn + blur).astype(np.float16)

    np.save(directory / "queries.npy", make(SYNTHETIC_QUERIES))
    keys = np.lib.format.open_memmap(directory / "keys.npy", "w+", np.float16, (rows, dimension))
    for first in range(0, rows, CHUNK):
        keys[first : first + CHUNK] = make(min(CHUNK, rows - first))
    keys.flush()
    for file, count in (("values", rows), ("targets", SYNTHETIC_QUERIES)):
        np.save(directory / f"{file}.npy", random.integers(0, VOCABULARY, count, dtype=np.int32))
    (directory / "done").touch()
    return data


def recall(found: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Mean share of the k nearest that were found; ids, [queries x at least k]."""
    hits = 0
    for row, exact in zip(found[:, :k], truth[:, :k]):
        hits += np.intersect1d(row, exact, assume_unique=False).size
    return hits / (k * len(found))
