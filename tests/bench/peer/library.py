"""Index libraries in process: answers one JSON object a line (harness/process.py).

  {"op": "load", "keys": .., "queries": .., "truth": .., "kept": DIR}
  {"op": "build", "index": "IVFFlat"}                        seconds (0: read from DIR)
  {"op": "tune", "index": .., "k": .., "target": .95}        setting, batch, recall, rate; or {"reached": false}
  {"op": "run", "index": .., "k": .., "setting": [..], "batch": .., "seconds": ..}
  {"op": "train_add", "lists": ..}                           seconds of FAISS IVFFlat, train and add
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys
import time
from typing import Any

import faiss
import indexes
import numpy as np
from ladder import Setting, fewest

BATCHES = (64, 256, 1024)
TUNE_SECONDS = 0.4


class Worker:
    def __init__(self) -> None:
        faiss.omp_set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
        self._built: dict[str, Any] = {}

    def load(self, command: dict[str, Any]) -> dict[str, Any]:
        self._keys = np.load(command["keys"]).astype(np.float32)
        self._queries = np.load(command["queries"]).astype(np.float32)
        self._truth = np.load(command["truth"])
        self._kept = pathlib.Path(command["kept"])
        self._kept.mkdir(parents=True, exist_ok=True)
        self._catalogue = indexes.catalogue(*self._keys.shape)
        return {"indexes": list(self._catalogue), "faiss": faiss.__version__, "compiled": faiss.get_compile_options()}

    def check_truth(self, command: dict[str, Any]) -> dict[str, Any]:
        """Share of the exact neighbours that FAISS's exact index finds too, of some queries."""
        flat = faiss.IndexFlatL2(self._keys.shape[1])
        flat.add(self._keys)
        k = self._truth.shape[1]
        found = flat.search(self._queries[:200], k)[1]
        return {"agreement": self._recall(found, k)}

    def build(self, command: dict[str, Any]) -> dict[str, Any]:
        name = command["index"]
        index = self._catalogue[name]()
        seconds = index.build(self._keys, self._kept)
        self._built[name] = index
        return {"seconds": seconds}

    def tune(self, command: dict[str, Any]) -> dict[str, Any]:
        """Settings and batch sizes are kept with the index; how fast they are is measured each time."""
        index, k = self._built[command["index"]], command["k"]
        path = self._kept / f"tuned-{command['index'].replace(' ', '')}-{k}-{command['target']}.json"
        if not path.exists():
            path.write_text(json.dumps(self._tune(index, k, command["target"])))
        best: dict[str, Any] = json.loads(path.read_text())
        if best["reached"]:
            best |= self._rate(index, k, tuple(best["setting"]), best["batch"], TUNE_SECONDS)
        return best

    def _tune(self, index: Any, k: int, target: float) -> dict[str, Any]:
        best: dict[str, Any] = {"reached": False, "rows_per_second": 0.0}
        for ladder in index.settings(k):
            setting = fewest(ladder, lambda s: self._recall(index.search(self._queries, k, s), k) >= target)
            if setting is None:
                continue
            reached = self._recall(index.search(self._queries, k, setting), k)
            for batch in BATCHES:
                rate = self._rate(index, k, setting, batch, TUNE_SECONDS)["rows_per_second"]
                if rate > best["rows_per_second"]:
                    best = {"reached": True, "setting": setting, "batch": batch, "recall": reached}
                    best["rows_per_second"] = rate
        return best

    def run(self, command: dict[str, Any]) -> dict[str, Any]:
        index = self._built[command["index"]]
        return self._rate(index, command["k"], tuple(command["setting"]), command["batch"], command["seconds"])

    def train_add(self, command: dict[str, Any]) -> dict[str, Any]:
        start = time.monotonic()
        quantizer = faiss.IndexFlatL2(self._keys.shape[1])
        index = faiss.IndexIVFFlat(quantizer, self._keys.shape[1], command["lists"])
        index.cp.max_points_per_centroid = 64
        index.train(self._keys)
        index.add(self._keys)
        return {"seconds": time.monotonic() - start}

    def _recall(self, found: np.ndarray, k: int) -> float:
        truth = self._truth[: len(found), :k]
        return sum(np.intersect1d(a, b).size for a, b in zip(found[:, :k], truth)) / truth.size

    def _rate(self, index: Any, k: int, setting: Setting, batch: int, seconds: float) -> dict[str, Any]:
        rows, first = 0, 0
        index.search(self._queries[:batch], k, setting)  # warm
        cpu = cpu_seconds()
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < seconds or rows == 0:
            part = self._queries[first : first + batch]
            index.search(part, k, setting)
            rows += len(part)
            first = first + batch if first + batch < len(self._queries) else 0
        elapsed = time.monotonic() - start
        return {"rows_per_second": rows / elapsed, "cpu_seconds": cpu_seconds() - cpu, "seconds": elapsed, "rows": rows}


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    worker = Worker()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        try:
            answer = getattr(worker, command["op"])(command)
        except Exception as error:  # told to the driver, which goes on with another index
            answer = {"failed": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(answer), flush=True)


main()
