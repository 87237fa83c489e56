"""Milvus Lite: a Python server over FAISS, gRPC."""

from __future__ import annotations

import pathlib
import sys
import time
from typing import Any, Sequence

import networked
import numpy as np
import pymilvus
from ladder import growing

INSERT_ROWS = 5000
COLLECTION = "bench"


class Milvus(networked.Database):
    index = "IVF_FLAT"

    def serve(self, scratch: str, port: int) -> list[Any]:
        program = pathlib.Path(sys.executable).parent / "milvus-lite"
        return [program, "server", "--data-dir", scratch, "--host", "127.0.0.1", "--port", str(port)]

    def fill(self, port: int, keys: np.ndarray) -> None:
        self._client = connect(f"http://127.0.0.1:{port}")
        schema = self._client.create_schema()
        schema.add_field("id", pymilvus.DataType.INT64, is_primary=True)
        schema.add_field("key", pymilvus.DataType.FLOAT_VECTOR, dim=keys.shape[1])
        self._client.create_collection(COLLECTION, schema=schema)
        for first in range(0, len(keys), INSERT_ROWS):
            rows = [{"id": first + i, "key": key} for i, key in enumerate(keys[first : first + INSERT_ROWS])]
            self._client.insert(COLLECTION, rows)
        self._client.flush(COLLECTION)  # rows that are not flushed are searched without the index
        params = self._client.prepare_index_params()
        lists = round(4 * len(keys) ** 0.5)
        params.add_index("key", index_type="IVF_FLAT", metric_type="L2", params={"nlist": lists})
        self._client.create_index(COLLECTION, params)
        self._client.load_collection(COLLECTION)

    def settings(self, k: int) -> list[int]:
        return growing(1, 2048)

    def use(self, setting: int) -> None:
        self._probes = setting

    def search(self, queries: np.ndarray, k: int) -> Sequence[Sequence[int]]:
        answers = self._client.search(
            COLLECTION, data=list(queries), anns_field="key", limit=k,
            search_params={"metric_type": "L2", "params": {"nprobe": self._probes}},
        )  # fmt: skip
        return [[hit["id"] for hit in answer] for answer in answers]


def connect(address: str) -> Any:
    for _ in range(200):
        try:
            return pymilvus.MilvusClient(uri=address)
        except pymilvus.MilvusException:
            time.sleep(0.1)
    raise RuntimeError(f"no Milvus at {address}")


networked.main(Milvus())
