"""What the tests of the Python client share: one server for a class, a memory for each test."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "system"))
import harness  # noqa: E402
import numpy as np  # noqa: E402

DIMENSION = 16


class ClientCase(harness.SharedServerTest):
    """One server for a class; a memory of its own for each test."""

    FLAGS = ("--shards", "2")

    def setUp(self):
        super().setUp()
        self.client = self.server.client
        self.name = self.id().split(".")[-1][:100].lower()

    def memory(self, **options):
        return self.client.create_memory(self.name, DIMENSION, **{"vocab_size": 100, **options})

    def filled(self, count=500, **options):
        memory = self.memory(**options)
        keys = self.random.normal(size=(count, DIMENSION)).astype(np.float32)
        memory.insert(
            keys,
            np.arange(count) % 100,
            ids=np.arange(count),
            sources=np.arange(count) // 50,
            labels=np.arange(count) % 7,
            positions=np.arange(count),
        )
        return memory, keys
