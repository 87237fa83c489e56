"""`mneme build --centroids` and `mneme export --faiss`: the centroids of a FAISS file make the same lists as FAISS has,
and an exported index is one that FAISS opens, so that equal probes find equal neighbours both ways."""

import importlib.util
import subprocess
import unittest

import harness
import mneme
import numpy as np

FAISS_IS_HERE = importlib.util.find_spec("faiss") is not None
if FAISS_IS_HERE:
    import faiss

DIM, ROWS, LISTS, QUERIES, K = 16, 4_000, 40, 50, 10
METRICS = ("l2", "ip")
TAIL = 200


@unittest.skipUnless(FAISS_IS_HERE, "needs Debian's package python3-faiss (section test of deploy/packages.txt)")
class FaissFile(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.server = self.serve()
        self.keys = self.random.normal(size=(ROWS, DIM)).astype(np.float32)
        self.queries = self.random.normal(size=(QUERIES, DIM)).astype(np.float32)

    # A product quantiser is trained "np": its order of sub-vectors does not matter here, and takes FAISS half a minute.
    def trained(self, metric, factory=f"IVF{LISTS},Flat"):
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        index = faiss.index_factory(DIM, factory, kind)
        index.train(self.keys)
        index.add(self.keys)
        path = self.scratch / f"{metric}.faiss"
        faiss.write_index(index, str(path))
        return index, path

    def memory(self, metric, rows=ROWS, name="", index="flat", **more):
        memory = self.server.client.create_memory(
            name or metric, DIM, metric=metric, vocab_size=ROWS, index=index, **more
        )
        values = np.arange(rows, dtype=np.uint32)
        memory.import_rows(self.keys[:rows], values, ids=values.astype(np.uint64))
        return memory

    def same_as(self, index, memory, nprobe, least=1.0):
        """`least`: the share of FAISS's neighbours that the memory finds; short codes may hide a few. Where the probed
        lists hold fewer than K rows FAISS answers with those, and the memory goes on to the next lists."""
        index.nprobe = nprobe
        _, wanted = index.search(self.queries, K)
        got = memory.query(self.queries, K, nprobe=nprobe)
        ours = [got.ids[got.row(i)].tolist() for i in range(QUERIES)]
        self.assertEqual([len(ids) for ids in ours], [K] * QUERIES)
        filled = [i for i in range(QUERIES) if wanted[i].min() >= 0]
        self.assertGreater(len(filled), QUERIES // 4)
        same = sum(len(set(ours[i]) & set(wanted[i].tolist())) for i in filled)
        self.assertGreaterEqual(same, least * K * len(filled))
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
        _, path = self.trained("l2", f"IVF{LISTS},SQ8")
        with self.assertRaisesRegex(AssertionError, 'kind .*IwSq.*; must be IVFFlat .* or IVFPQ'):
            self.server.cli("build", "l2", "--centroids", path)
        ones = np.ones((5, DIM), np.float32)
        with self.assertRaisesRegex(mneme.InvalidArgument, "subvectors needs centroids"):
            few.build(subvectors=ones)
        with self.assertRaisesRegex(mneme.InvalidArgument, "subvectors is for a memory whose index is pq; .* is flat"):
            few.build(centroids=ones, subvectors=ones)
        coded = self.memory("l2", rows=100, name="pq", index="pq:4")
        with self.assertRaisesRegex(mneme.InvalidArgument, "subvectors.dimension is 16; must be 4"):
            coded.build(centroids=ones, subvectors=ones)
        with self.assertRaisesRegex(mneme.InvalidArgument, "subvectors has 5 rows; must have 1024"):
            coded.build(centroids=ones, subvectors=ones[:, :4])
        wild = np.ones((1024, 4), np.float32)
        wild[7, 2] = 1e17
        with self.assertRaisesRegex(mneme.InvalidArgument, r"subvectors\[7\] has .* at component 2"):
            coded.build(centroids=ones, subvectors=wild)

    def test_a_cut_or_damaged_product_quantiser_is_no_index(self):
        self.memory("l2", index="pq:4")
        _, path = self.trained("l2", f"IVF{LISTS},PQ4np")
        whole = path.read_bytes()
        for cut in range(0, len(whole) - 1, 997):
            path.write_bytes(whole[:cut])
            with self.assertRaisesRegex(AssertionError, "ends too early|kind"):
                self.server.cli("build", "l2", "--centroids", path)
        quantiser = whole.index(np.array([DIM, 4, 8, DIM * 256], "<u8").tobytes())
        for at, value in ((0, 15), (8, 5), (16, 24), (24, 1), (-8, 9)):
            spoiled = bytearray(whole)
            spoiled[quantiser + at : quantiser + at + 8] = int(value).to_bytes(8, "little")
            path.write_bytes(spoiled)
            with self.assertRaisesRegex(AssertionError, "its product quantiser has"):
                self.server.cli("build", "l2", "--centroids", path)

    def test_a_product_quantiser_codes_as_faiss_does(self):
        for metric in METRICS:
            for factory, codec in (("PQ8", "pq:8"), ("PQ4x4", "pq:4x4")):
                with self.subTest(f"{metric} {codec}"):
                    index, path = self.trained(metric, f"IVF{LISTS},{factory}np")
                    name = f"{metric}-{factory}".lower()
                    memory = self.memory(metric, name=name, index=codec, spread="one")
                    self.server.cli("build", name, "--centroids", path)
                    index.nprobe = LISTS - 1  # of all lists the memory answers exactly
                    distances, _ = index.search(self.queries, K)
                    got = memory.query(self.queries, K, nprobe=LISTS - 1, approximate_distances=True)
                    self.assertFalse(got.statistics.exact)
                    # Of equal codes either may be the k-th, so it is the distances that are compared.
                    ours = np.stack([np.sort(np.abs(got.distances[got.row(i)])) for i in range(QUERIES)])
                    theirs = np.sort(np.abs(distances), axis=1)
                    if codec == "pq:8":
                        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
                    else:  # whose tables are rounded to bytes
                        np.testing.assert_allclose(ours, theirs, rtol=0.1, atol=0.5)

    def test_a_product_quantiser_of_another_codec_is_left_out_and_says_so(self):
        index, path = self.trained("l2", f"IVF{LISTS},PQ4np")
        for codec in ("flat", "int8", "pq:8", "pq:4x4"):
            with self.subTest(codec):
                name = "other-" + codec.replace(":", "-")
                self.memory("l2", name=name, index=codec, spread="one")
                build = [harness.BIN / "mneme", "--server", self.server.address, "build", name, "--centroids", path]
                done = subprocess.run(build, capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"(PQ4x8) is left out: the memory's index is {codec}; its codec is trained", done.stderr)
                exported = self.exported(name)
                self.assertEqual(exported.nlist, LISTS)
                np.testing.assert_array_equal(
                    exported.quantizer.reconstruct_n(0, LISTS), index.quantizer.reconstruct_n(0, LISTS)
                )

    def exported(self, name, *options):
        """Written by the command line and by the Python client, which must write the same; opened by FAISS."""
        path = self.scratch / f"{name}-exported.faiss"
        told = self.server.cli("export", name, "--faiss", path, *options)
        partition = int(options[1]) if options else 0
        again = self.scratch / "again.faiss"
        written = self.server.client.memory(name).export_index(again, partition=partition)
        self.assertEqual((told["rows"], told["lists"]), (written.rows, written.lists))
        self.assertEqual(path.read_bytes(), again.read_bytes())
        self.assertEqual([file.name for file in self.scratch.glob("*.partial")], [])
        index = faiss.read_index(str(path))
        self.assertEqual((index.ntotal, index.nlist), (told["rows"], told["lists"]))
        return index

    def test_faiss_finds_in_an_exported_index_what_the_memory_finds(self):
        for metric in ("l2", "ip", "cosine"):
            for index in ("flat", "int8"):
                with self.subTest(f"{metric} {index}"):
                    name = f"{metric}-{index}"
                    memory = self.memory(metric, name=name, index=f"IVF{LISTS},{index}", spread="one")
                    memory.build()
                    exported = self.exported(name)
                    self.assertEqual(exported.nlist, LISTS)
                    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
                    self.assertEqual(exported.metric_type, kind)
                    for nprobe in (1, 7, LISTS):
                        self.same_as(exported, memory, nprobe, 1.0 if index == "flat" else 0.98)

    def test_all_lists_hold_the_exact_neighbours_with_a_tail_and_without_the_dead(self):
        for metric in ("l2", "cosine"):
            for key_dtype in ("f32", "f16"):
                with self.subTest(f"{metric} {key_dtype}"):
                    name = f"{metric}-{key_dtype}"
                    memory = self.memory(metric, rows=ROWS - TAIL, name=name, key_dtype=key_dtype)
                    memory.build()
                    rest = np.arange(ROWS - TAIL, ROWS)
                    memory.insert(self.keys[rest], rest.astype(np.uint32), ids=rest)
                    memory.delete(ids=np.arange(0, ROWS, 5))
                    exported = self.exported(name)
                    self.assertEqual(exported.ntotal, ROWS - ROWS // 5)
                    exported.nprobe = exported.nlist
                    _, found = exported.search(self.queries, K)
                    exact = memory.query(self.queries, K, exact=True)
                    for i in range(QUERIES):
                        self.assertEqual(sorted(found[i].tolist()), sorted(exact.ids[exact.row(i)].tolist()))

    def test_shards_bring_their_own_lists_unless_they_have_the_same(self):
        self.server.kill()
        self.server = self.serve("shards", "--shards", "3")
        memory = self.memory("l2")
        memory.build()
        apart = self.exported("l2")
        _, path = self.trained("l2")
        self.server.cli("build", "l2", "--centroids", path)
        together = self.exported("l2")
        self.assertEqual(together.nlist, LISTS)
        self.assertNotEqual(apart.nlist, LISTS)
        for index in (apart, together):
            index.nprobe = index.nlist
            _, found = index.search(self.queries, K)
            exact = memory.query(self.queries, K, exact=True)
            for i in range(QUERIES):
                self.assertEqual(sorted(found[i].tolist()), sorted(exact.ids[exact.row(i)].tolist()))
        self.same_as(together, memory, 7)

    def test_a_named_partition_is_exported_and_one_without_an_index_is_refused(self):
        memory = self.memory("l2")
        with self.assertRaisesRegex(AssertionError, "has 4000 rows and no index; build it first"):
            self.server.cli("export", "l2", "--faiss", self.scratch / "none.faiss")
        with self.assertRaisesRegex(mneme.FailedPrecondition, "build it first"):
            memory.export_index(self.scratch / "none.faiss", partition=9)
        self.assertEqual(list(self.scratch.glob("none*")), [])
        memory.insert(self.keys[:500], np.zeros(500, np.uint32), ids=np.arange(500), partition=5)
        memory.build()
        self.assertEqual(self.exported("l2", "--partition", 5).ntotal, 500)
        both = ["--out", self.scratch / "folder"]
        for wrong in (["--partition", "1,2"], ["--all-partitions"], ["--source", 1], both):
            with self.assertRaisesRegex(AssertionError, "exited with 2"):
                self.server.cli("export", "l2", "--faiss", self.scratch / "none.faiss", *wrong)
        with self.assertRaisesRegex(AssertionError, "exited with 2"):
            self.server.cli("export", "l2")


if __name__ == "__main__":
    harness.main()
