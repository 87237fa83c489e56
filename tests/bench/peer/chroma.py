"""Chroma: a Rust server over hnswlib, HTTP."""

from __future__ import annotations

import pathlib
import sys
import time
from typing import Any, Sequence

import chromadb
import networked
import numpy as np
from ladder import growing

INSERT_ROWS = 2000


class Chroma(networked.Database):
    index = "HNSW"

    def serve(self, scratch: str, port: int) -> list[Any]:
        program = pathlib.Path(sys.executable).parent / "chroma"
        return [program, "run", "--path", scratch, "--host", "127.0.0.1", "--port", str(port)]

    def fill(self, port: int, keys: np.ndarray) -> None:
        client = connect(port)
        hnsw = {"space": "l2", "max_neighbors": 32, "ef_construction": 100}
        self._collection = client.create_collection("bench", configuration={"hnsw": hnsw}, embedding_function=None)
        for first in range(0, len(keys), INSERT_ROWS):
            part = keys[first : first + INSERT_ROWS]
            self._collection.add(ids=[str(first + i) for i in range(len(part))], embeddings=part)

    def settings(self, k: int) -> list[int]:
        return growing(max(k, 16), 4096)

    def use(self, setting: int) -> None:
        self._collection.modify(configuration={"hnsw": {"ef_search": setting}})

    def search(self, queries: np.ndarray, k: int) -> Sequence[Sequence[int]]:
        answer = self._collection.query(query_embeddings=queries, n_results=k, include=["distances"])
        return [[int(name) for name in names] for names in answer["ids"]]


def connect(port: int) -> Any:
    settings = chromadb.config.Settings(anonymized_telemetry=False)
    for _ in range(200):
        try:
            return chromadb.HttpClient(host="127.0.0.1", port=port, settings=settings)
        except Exception:  # until it listens
            time.sleep(0.1)
    raise RuntimeError("no Chroma")


networked.main(Chroma())
