"""The index libraries as one thing: built, searched with a setting, kept on disk."""

from __future__ import annotations

import pathlib
import time
from typing import Any, Callable

import faiss
import numpy as np
from ladder import Setting, growing


class FaissIndex:
    """Anything that the factory makes. `factors`: multiples of k that a re-ranking index may fetch."""

    def __init__(self, factory: str, knob: str, factors: tuple[int, ...] = (1,)) -> None:
        self.factory, self.knob, self.factors = factory, knob, factors
        self.index: Any = None

    def build(self, keys: np.ndarray, kept: pathlib.Path) -> float:
        start = time.monotonic()
        path = kept / (self.factory.replace(",", "_").replace("(", "_").replace(")", "") + ".faiss")
        if path.exists():
            self.index = faiss.read_index(str(path))
            return 0.0
        self.index = faiss.index_factory(keys.shape[1], self.factory)
        ivf = faiss.try_extract_index_ivf(self.index)
        if ivf is not None:
            ivf.cp.max_points_per_centroid = 64  # as many rows as Mneme trains with
        else:
            self.index.hnsw.efConstruction = 100
        self.index.train(keys)
        self.index.add(keys)
        seconds = time.monotonic() - start
        faiss.write_index(self.index, str(path))
        return seconds

    def settings(self, k: int) -> list[list[Setting]]:
        """For every factor, settings from the cheapest to the dearest."""
        if self.knob == "ef":
            return [[(ef, 1) for ef in growing(max(k, 16), 16_384)]]
        return [[(probes, factor) for probes in growing(1, 2048)] for factor in self.factors]

    def search(self, queries: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        amount, factor = setting
        index = self.index
        if self.knob == "ef":
            index.hnsw.efSearch = amount
        else:
            faiss.extract_index_ivf(index).nprobe = amount
        if isinstance(index, faiss.IndexRefine):
            index.k_factor = float(factor)
        return index.search(queries, k)[1]


class HnswlibIndex:
    def __init__(self) -> None:
        self.index: Any = None

    def build(self, keys: np.ndarray, kept: pathlib.Path) -> float:
        import hnswlib

        self.index = hnswlib.Index("l2", keys.shape[1])
        path = kept / "hnswlib.index"
        self.index.set_num_threads(faiss.omp_get_max_threads())
        if path.exists():
            self.index.load_index(str(path))
            self.index.set_num_threads(faiss.omp_get_max_threads())
            return 0.0
        start = time.monotonic()
        self.index.init_index(max_elements=len(keys), M=32, ef_construction=100, random_seed=1)
        self.index.add_items(keys)
        seconds = time.monotonic() - start
        self.index.save_index(str(path))
        return seconds

    def settings(self, k: int) -> list[list[Setting]]:
        return [[(ef, 1) for ef in growing(max(k, 16), 16_384)]]

    def search(self, queries: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        self.index.set_ef(setting[0])
        return self.index.knn_query(queries, k)[0].astype(np.int64)


class UsearchIndex:
    def __init__(self) -> None:
        self.index: Any = None

    def build(self, keys: np.ndarray, kept: pathlib.Path) -> float:
        import usearch.index

        self.index = usearch.index.Index(
            ndim=keys.shape[1], metric="l2sq", dtype="f16", connectivity=32, expansion_add=100
        )
        path = kept / "usearch.index"
        if path.exists():
            self.index.load(str(path))
            return 0.0
        start = time.monotonic()
        self.index.add(np.arange(len(keys)), keys, threads=faiss.omp_get_max_threads())
        seconds = time.monotonic() - start
        self.index.save(str(path))
        return seconds

    def settings(self, k: int) -> list[list[Setting]]:
        return [[(ef, 1) for ef in growing(max(k, 16), 16_384)]]

    def search(self, queries: np.ndarray, k: int, setting: Setting) -> np.ndarray:
        self.index.expansion_search = setting[0]
        found = self.index.search(queries, k, threads=faiss.omp_get_max_threads())
        return np.asarray(found.keys).astype(np.int64).reshape(len(queries), -1)


def catalogue(rows: int, dimension: int) -> dict[str, Callable[[], Any]]:
    """Every peer index by name. Lists as Mneme makes them; PQ with two components a code."""
    lists = max(16, min(round(4 * rows**0.5), rows // 64))
    halves = dimension // 2
    ivf = f"IVF{lists}"
    factors = (1, 2, 4, 8)
    return {
        "IVFFlat": lambda: FaissIndex(f"{ivf},Flat", "nprobe"),
        "IVF SQ8": lambda: FaissIndex(f"{ivf},SQ8", "nprobe"),
        f"IVFPQ{halves}x4fs + refine": lambda: FaissIndex(f"{ivf},PQ{halves}x4fs,RFlat", "nprobe", factors),
        "IVFRaBitQ + refine": lambda: FaissIndex(f"{ivf},RaBitQ,RFlat", "nprobe", factors),
        "IVFRaBitQfs + refine": lambda: FaissIndex(f"{ivf},RaBitQfs,RFlat", "nprobe", factors),
        "HNSW32": lambda: FaissIndex("HNSW32,Flat", "ef"),
        "hnswlib 32": HnswlibIndex,
        "usearch 32": UsearchIndex,
    }
