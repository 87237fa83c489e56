"""`mneme build --centroids`: the centroids of a FAISS file make the same lists as FAISS has, so that equal probes find
equal neighbours."""

import importlib.util
import unittest

import harness
import mneme
import numpy as np

FAISS_IS_HERE = importlib.util.find_spec("faiss") is not None
if FAISS_IS_HERE:
    import faiss

DIM, ROWS, LISTS, QUERIES, K = 16, 4_000, 40, 50, 10
METRICS = ("l2", "ip")


@unittest.skipUnless(FAISS_IS_HERE, "needs Debian's package python3-faiss (section test of deploy/packages.txt)")
class FaissFile(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.keys = self.random.normal(size=(ROWS, DIM)).astype(np.float32)
        self.queries = self.random.normal(size=(QUERIES, DIM)).astype(np.float32)

    def trained(self, metric, factory=f"IVF{LISTS},Flat"):
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(DIM, factory, kind)
        index.train(self.keys)
        index.add(self.keys)
        path = self.scratch / f"{metric}.faiss"
        faiss.write_index(index, str(path))
        return index, path

    def memory(self, metric, rows=ROWS, **more):
        memory = self.server.client.create_memory(metric, DIM, metric=metric, vocab_size=ROWS, index="flat", **more)
        values = np.arange(rows, dtype=np.uint32)
        memory.import_rows(self.keys[:rows], values, ids=values.astype(np.uint64))
        return memory

    def same_as(self, index, memory, nprobe):
        index.nprobe = nprobe
        _, wanted = index.search(self.queries, K)
        got = memory.query(self.queries, K, nprobe=nprobe)
        for i in range(QUERIES):
            self.assertEqual(sorted(got.ids[got.row(i)].tolist()), sorted(wanted[i].tolist()), f"query {i}")
        return got.statistics

    def test_equal_probes_find_what_faiss_finds(self):
        for metric in METRICS:
            with self.subTest(metric):
                index, path = self.trained(metric)
                memory = self.memory(metric, spread="one")
                self.assertEqual(self.server.cli("build", metric, "--centroids", path)["rows"], ROWS)
                self.assertEqual(self.same_as(index, memory, 1).tail_rows, 0)
                self.same_as(index, memory, 7)
                self.same_as(index, memory, LISTS)
        self.server.restart()
        for metric in METRICS:
            index = faiss.read_index(str(self.scratch / f"{metric}.faiss"))
            self.same_as(index, self.server.client.memory(metric), 7)

    def test_what_does_not_fit_is_refused_by_name(self):
        _, path = self.trained("l2")
        self.memory("ip")
        with self.assertRaisesRegex(AssertionError, 'compares by inner product or cosine, but .* by L2'):
            self.server.cli("build", "ip", "--centroids", path)
        few = self.memory("l2", rows=100)
        with self.assertRaisesRegex(mneme.FailedPrecondition, "no partition has the 256 entries"):
            few.build(centroids=self.keys[:5])
        with self.assertRaisesRegex(mneme.InvalidArgument, "centroids.dimension is 3; must be 16"):
            few.build(centroids=np.ones((5, 3), np.float32))
        with self.assertRaisesRegex(mneme.InvalidArgument, r"centroids\[1\] has a NaN at component 0"):
            few.build(centroids=np.array([[1.0] * DIM, [np.nan] * DIM]))
        with self.assertRaisesRegex(mneme.InvalidArgument, "has 0 rows; must have 1 to 65536"):
            few.build(centroids=np.ones((0, DIM), np.float32))
        _, path = self.trained("l2", f"IVF{LISTS},PQ4")
        with self.assertRaisesRegex(AssertionError, 'kind .*IwPQ.*; must be IVFFlat'):
            self.server.cli("build", "l2", "--centroids", path)


if __name__ == "__main__":
    harness.main()
