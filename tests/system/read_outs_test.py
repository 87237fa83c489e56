"""Attention, centroids, match and select over the wire: the published golden values, and plain numpy on random data."""

import harness
import mneme
import numpy as np

SQRT_HALF = np.sqrt(0.5)


def softmax(x):
    e = np.exp(x - x.max())
    return e / e.sum()


class ReadOuts(harness.SystemTest):
    def each_deployment(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                yield self.serve(f"data-{shards}", "--shards", str(shards)).client

    def test_mem_ae(self):
        slots = np.array([(1, 0), (0, 1), (1, 1), (-1, 0)], np.float32)
        for client in self.each_deployment():
            memory = client.create_memory("slots", 2, metric="ip", value="vector", value_dim=2)
            memory.insert(slots, slots, ids=np.arange(4))
            z = np.array([[1, 0.5]], np.float32)
            got = memory.attention(z, with_weights=True)
            weights = np.zeros(4)
            ids, values = got.weights(0)
            weights[ids] = values
            np.testing.assert_allclose(
                weights, (0.294934162, 0.178886612, 0.486264227, 0.039914998), atol=1e-9, rtol=0
            )
            got = memory.attention(z, shrink=0.2)
            np.testing.assert_allclose(got.outputs, [(1, 0.622459331)], atol=1e-9, rtol=0)
            np.testing.assert_allclose(got.entropies, [0.662847319], atol=1e-9, rtol=0)
            self.assertEqual(got.active.tolist(), [2])
            got = memory.attention(z, shrink=0.5)
            self.assertTrue(got.all_zero[0])
            np.testing.assert_array_equal(got.outputs, [(0, 0)])
            cosine = client.create_memory("cosine", 2, metric="cosine", value="vector", value_dim=2)
            cosine.insert(slots, slots, ids=np.arange(4))
            ids, values = cosine.attention(z, shrink=0.3, with_weights=True).weights(0)
            self.assertEqual(sorted(ids.tolist()), [0, 2])
            np.testing.assert_allclose(sorted(values), (0.4864393, 0.5135607), atol=1e-6, rtol=0)

    def test_res_mem(self):
        for client in self.each_deployment():
            memory = client.create_memory("residuals", 1, metric="l2", value="vector", value_dim=5)
            distances = np.array([0, 1, 2, -2, 5], np.float32)
            memory.insert(distances[:, None], np.eye(5, dtype=np.float32), ids=np.arange(5))
            query = np.zeros((1, 1), np.float32)
            got = memory.attention(query, 3, kernel="exp_neg_distance", scale=1.0, keep_ties=True)
            golden = (0.610295685, 0.224515236, 0.082594539, 0.082594539, 0)
            np.testing.assert_allclose(got.outputs[0], golden, atol=1e-9, rtol=0)
            self.assertEqual((got.found.tolist(), got.ties_cut.tolist()), ([4], [False]))
            got = memory.attention(query, 5, kernel="exp_neg_distance", scale=2.0)
            golden = (0.412477521, 0.250180263, 0.151742, 0.151742, 0.033858217)
            np.testing.assert_allclose(got.outputs[0], golden, atol=1e-9, rtol=0)
            with self.assertRaisesRegex(mneme.InvalidArgument, "attention.shrink"):
                memory.attention(query, 3, shrink=1.5)

    def test_to_m_my(self):
        keys, values = np.array([(1, 0), (0, 1), (1, 1)], np.float32), np.array([(1, 0), (0, 1), (2, 2)], np.float32)
        queries = np.array([(1, 0), (1, 1)], np.float32)
        for client in self.each_deployment():
            memory = client.create_memory("actors", 2, metric="cosine", value="vector", value_dim=2)
            for actor in (7, 8):
                memory.insert(keys, values if actor == 7 else -values, ids=np.arange(3), partition=actor)
            for metric, weights, out in (
                ("ip", (0.519249914, 0.480750086), (1.141878824, 0.986613233)),
                ("cosine", (0.523555286, 0.476444715), (1.142210450, 0.985657522)),
            ):
                groups = mneme.Groups([0, 2], np.array([(1, 0)], np.float32), metric)
                got = memory.attention(queries, groups=groups, partitions=7)
                level_one = [(1.178914721, 0.879895721), (1.101876987, 1.101876987)]
                np.testing.assert_allclose(got.outputs, level_one, atol=1e-9, rtol=0)
                np.testing.assert_allclose(got.group_weights, weights, atol=1e-8, rtol=0)
                np.testing.assert_allclose(got.group_outputs[0], out, atol=1e-7, rtol=0)
            empty = memory.attention(queries, partitions=99)
            self.assertTrue(empty.all_zero.all())
            np.testing.assert_array_equal(empty.outputs, np.zeros((2, 2)))

    def test_attention_over_all_and_over_the_nearest_is_numpy_s(self):
        rows, dim, width = 700, 12, 5
        keys = self.random.normal(size=(rows, dim)).astype(np.float32)
        values = self.random.normal(size=(rows, width)).astype(np.float32)
        queries = self.random.normal(size=(90, dim)).astype(np.float32)
        scores = -((queries[:, None].astype(np.float64) - keys[None]) ** 2).sum(-1)
        for client in self.each_deployment():
            memory = client.create_memory("random", dim, value="vector", value_dim=width)
            memory.insert(keys, values, ids=np.arange(rows))
            got = memory.attention(queries, scale=3.0)
            wanted = np.array([softmax(row / 3.0) @ values for row in scores])
            np.testing.assert_allclose(got.outputs, wanted, atol=1e-9, rtol=0)
            self.assertEqual(set(got.found.tolist()), {rows})
            near = memory.attention(queries, 10, scale=3.0, exact=True)
            for row, row_scores in enumerate(scores):
                best = np.argsort(-row_scores)[:10]
                wanted_row = softmax(row_scores[best] / 3.0) @ values[best]
                np.testing.assert_allclose(near.outputs[row], wanted_row, atol=1e-9, rtol=0)
            memory.delete(ids=np.arange(0, rows, 2))
            got = memory.attention(queries[:3], scale=3.0)
            wanted = np.array([softmax(row[1::2] / 3.0) @ values[1::2] for row in scores[:3]])
            np.testing.assert_allclose(got.outputs, wanted, atol=1e-9, rtol=0)

    def test_sparse_residuals(self):
        rows, dim, vocabulary = 60, 6, 40
        keys = self.random.normal(size=(rows, dim)).astype(np.float32)
        dense = self.random.normal(size=(rows, vocabulary))
        sparse = mneme.SparseVectors.from_dense(dense, 7)
        for client in self.each_deployment():
            memory = client.create_memory("residuals", dim, value="sparse", vocab_size=vocabulary)
            memory.insert(keys, sparse, ids=np.arange(rows))
            stored = memory.get([3, 5]).values
            np.testing.assert_array_equal(stored.dense(vocabulary), sparse.dense(vocabulary)[[3, 5]])
            got = memory.attention(keys[:4], 8, kernel="exp_neg_distance", scale=0.7, exact=True, with_weights=True)
            for row in range(4):
                ids, weights = got.weights(row)
                wanted = weights @ sparse.dense(vocabulary)[ids]
                np.testing.assert_allclose(got.dense(vocabulary)[row], wanted, atol=1e-12, rtol=0)
            bad = mneme.SparseVectors.from_rows([([3, 40], [1, 2], 0.0)])
            with self.assertRaisesRegex(mneme.InvalidArgument, "vocabulary size"):
                memory.insert(keys[:1], bad)

    def test_centroids(self):
        keys = np.array([(1, 0), (0, 1), (0.6, 0.8)], np.float32)
        text = np.array([(1, 0), (0, 1), (-1, 0)], np.float32)
        for client in self.each_deployment():
            memory = client.create_memory("images", 2, metric="ip", value="token")
            memory.insert(keys, [0, 1, 0], ids=np.arange(3), labels=[0, 1, 0])
            got = memory.centroids([0, 1, 2], mix=(text, 0.7))
            unit = [(0.894427191, 0.447213595), (0, 1), (0, 0)]
            np.testing.assert_allclose(got.centroids, unit, atol=1e-8, rtol=0)
            mixed = [(0.968328157, 0.134164079), (0, 1), (-0.7, 0)]
            np.testing.assert_allclose(got.mixed, mixed, atol=1e-7, rtol=0)
            self.assertEqual((got.counts.tolist(), got.zero.tolist()), ([2, 1, 0], [False, False, True]))
            memory.delete(ids=[2])
            np.testing.assert_array_equal(memory.centroids([0]).centroids, [(1, 0)])
            memory.insert(keys[2:], [0], ids=[9], labels=[0])
            self.assertEqual(memory.centroids().labels.tolist(), [0, 1])
            nearest = memory.centroids(nearest=(np.array([(0.5, 0.9)], np.float32), 1))
            self.assertEqual((nearest.labels.tolist(), nearest.counts.tolist()), ([0], [1]))
            with self.assertRaisesRegex(mneme.InvalidArgument, "mix_weight"):
                memory.centroids([0, 1, 2], mix=(text, 1.5))

    def test_match(self):
        similarities = np.array([[0.9, 0.8, 0.1], [0.85, 0.2, 0.3], [0.4, 0.5, 0.6]], np.float32)
        csls = np.array([[0.0375, 0.05, -0.55], [0.125, -0.4125, -0.2125], [-0.3125, -0.1, 0.1]])
        for client in self.each_deployment():
            target = client.create_memory("target", 3, metric="ip")
            source = client.create_memory("source", 3, metric="ip")
            target.insert(np.eye(3, dtype=np.float32), [0, 0, 0], ids=[0, 1, 2])
            source.insert(similarities, [0, 0, 0], ids=[10, 11, 12])
            for form, factor in (("half", 1), ("muse", 2)):
                got = target.match(source, csls_k=2, form=form)
                self.assertEqual(got.best_targets.tolist(), csls.argmax(1).tolist())
                self.assertEqual(got.best_sources.tolist(), csls.argmax(0).tolist())
                np.testing.assert_allclose(got.target_scores, csls.max(1) * factor, atol=1e-6, rtol=0)
                np.testing.assert_allclose(got.source_scores, csls.max(0) * factor, atol=1e-6, rtol=0)
            self.assertEqual(got.source_ids.tolist(), [10, 11, 12])
            self.assertEqual(got.mutual.tolist(), [True, True, True])
            plain = target.match(source, csls_k=0, source_columns=[0, 2, 2], target_columns=[0, 1, 2])
            picked = similarities[:, [0, 2, 2]]
            self.assertEqual(plain.best_targets.tolist(), picked.argmax(1).tolist())
            with self.assertRaisesRegex(mneme.InvalidArgument, "source_columns"):
                target.match(source, source_columns=[7], target_columns=[0])

    def test_what_is_asked_again_is_not_read_again(self):
        rows, dim = 3000, 6
        keys = self.random.normal(size=(rows, dim)).astype(np.float32)
        labels = self.random.integers(0, 5, rows)
        for client in self.each_deployment():
            memory = client.create_memory("images", dim, metric="ip")
            memory.insert(keys, np.zeros(rows, np.uint32), ids=np.arange(rows), labels=labels)
            live = np.ones(rows, bool)

            def expect(read, wanted=None):
                got = memory.centroids(wanted, mean=True)
                self.assertEqual(got.rows_read, read)
                for label, row in zip(got.labels, got.centroids):
                    mean = keys[live & (labels == label)].astype(np.float64).mean(0)
                    np.testing.assert_allclose(row, mean, atol=1e-12, rtol=0)

            expect(rows)
            expect(0)
            expect(0, [3, 1])
            memory.delete(ids=[5, 6, 7])
            live[[5, 6, 7]] = False
            expect(3)
            memory.delete(labels=[4])
            live[labels == 4] = False
            self.assertEqual(memory.centroids().labels.tolist(), [0, 1, 2, 3])

            other = client.create_memory("words", dim, metric="ip")
            other.insert(keys[:200], np.zeros(200, np.uint32), ids=np.arange(200))
            whole = memory.match(other, csls_k=5)
            self.assertEqual(whole.rows_read, live.sum() + 200)
            some = memory.match(other, csls_k=5, source_ids=[150, 3, 999])
            known = whole.rows_read if harness.CLUSTER else 0  # a front end keeps no matches
            self.assertEqual((some.rows_read, some.source_ids.tolist()), (known, [3, 150]))
            np.testing.assert_array_equal(
                some.target_ids[some.best_targets], whole.target_ids[whole.best_targets[[3, 150]]]
            )
            np.testing.assert_array_equal(some.target_scores, whole.target_scores[[3, 150]])
            np.testing.assert_array_equal(some.mutual, whole.mutual[[3, 150]])
            self.assertEqual(len(some.best_sources), 0)
            chosen = int(some.target_ids[some.best_targets[0]])
            memory.delete(ids=[chosen])
            anew = memory.match(other, csls_k=5, source_ids=[3])
            self.assertGreater(anew.rows_read, 0)
            self.assertNotEqual(int(anew.target_ids[anew.best_targets[0]]), chosen)

    def test_select(self):
        for client in self.each_deployment():
            pools = client.create_memory("pools", 1, value="bytes")
            for source in range(1, 6):
                texts = [f"candidate {source}.{i}" for i in range(6)]
                scores = [(i * source) % 6 + 0.5 for i in range(6)]
                keys = np.zeros((6, 1), np.float32)
                pools.insert(keys, texts, ids=np.arange(6), scores=scores, partition=source, sources=[0, 0, 0, 1, 1, 1])
            got = pools.select([3, 1, 99])
            self.assertEqual(got.offsets.tolist(), [0, 1, 2, 2])
            self.assertEqual((got.partitions.tolist(), got.values), ([1, 3, 99], [b"candidate 1.5", b"candidate 3.1"]))
            self.assertEqual(got.pool_sizes.tolist(), [6, 6, 0])
            first = pools.select([1], mode="softmax", temperature=2.0, seed=5, n=6)
            again = pools.select([1], mode="softmax", temperature=2.0, seed=5, n=6)
            self.assertEqual(first.ids.tolist(), again.ids.tolist())
            np.testing.assert_allclose(
                first.probabilities, softmax((np.arange(6) + 0.5) / 2)[first.ids.astype(int)], atol=1e-12, rtol=0
            )
            counts = np.zeros(6)
            for seed in range(600):
                counts[pools.select([1], mode="softmax", temperature=2.0, seed=seed + 1).ids[0]] += 1
            self.assertLess(np.abs(counts / 600 - softmax((np.arange(6) + 0.5) / 2)).max(), 0.08)
            late = pools.select([1], filter=mneme.Filter(sources=[0]))
            self.assertEqual(late.ids.tolist(), [2])


class CommandLine(harness.SystemTest):
    def save(self, name, array):
        path = self.scratch / f"{name}.npy"
        np.save(path, array)
        return path

    def test_every_read_out_by_hand(self):
        server = self.serve()
        slots = np.array([(1, 0), (0, 1), (1, 1), (-1, 0)], np.float32)
        memory = server.client.create_memory("slots", 2, metric="ip", value="vector", value_dim=2)
        memory.insert(slots, slots, ids=np.arange(4), labels=[0, 1, 0, 2])
        keys = self.save("z", np.array([(1, 0.5), (0, 2)], np.float32))
        got = server.cli("attention", "slots", "--keys", keys, "--shrink", 0.2, "--weights")["queries"]
        np.testing.assert_allclose(got[0]["output"], (1, 0.622459331), atol=1e-9)
        self.assertEqual((got[0]["ids"], got[0]["found"], len(got)), ([2, 0], 4, 2))
        np.testing.assert_allclose(got[0]["entropy"], 0.662847319, atol=1e-9)
        self.assertIn("2 of 4 entries active", server.cli_text("attention", "slots", "--keys", keys, "--shrink", 0.2))
        near = server.cli("attention", "slots", "--keys", keys, "-k", 1, "--scale", 0.5)["queries"]
        np.testing.assert_allclose(near[0]["output"], (1, 1), atol=1e-12)
        text = self.save("text", np.array([(1, 0), (0, 1)], np.float32))
        heads = server.cli("centroids", "slots", "--labels", "2,7", "--rows", text, "--mix-weight", 0.25)["centroids"]
        self.assertEqual([(each["label"], each["entries"], each["zero"]) for each in heads],
                         [(2, 1, False), (7, 0, True)])
        np.testing.assert_allclose([each["mixed"] for each in heads], [(-0.5, 0), (0, 0.25)], atol=1e-12)
        other = server.client.create_memory("other", 2, metric="ip")
        other.insert(slots[:2], [0, 0], ids=[5, 6])
        pairs = server.cli("match", "slots", "--from", "other", "--csls-k", 0)["pairs"]
        self.assertEqual([(each["source"], each["target"]) for each in pairs], [(5, 0), (6, 1)])
        pairs = server.cli("match", "slots", "--from", "other", "--csls-k", 0, "--from-ids", "6,9")["pairs"]
        self.assertEqual([(each["source"], each["target"]) for each in pairs], [(6, 1)])
        pools = server.client.create_memory("pools", 1, value="bytes")
        pools.insert(np.zeros((3, 1), np.float32), ["a", "b", "c"], ids=np.arange(3), scores=[1, 3, 2], partition=9)
        chosen = server.cli("select", "pools", "--partition", 9, "-n", 2)["pools"][0]["chosen"]
        self.assertEqual([each["value"] for each in chosen], ["b", "c"])
        self.assertIn("b", server.cli_text("select", "pools", "--all-partitions"))
        server.cli("create", "rare", "--dim", 2, "--metric", "cosine", "--value", "bytes", "--capacity", 3)
        stream = self.save("stream", np.array([(1, 0), (0.6, 0.8), (0, 1)], np.float32))
        learned = server.cli("remember", "rare", "--keys", stream, "--labels", self.save("y", np.array([1, 1, 2])))
        self.assertEqual((learned["values"], learned["merged"], learned["inserted"]), ([None, 1, 1], 1, 2))


if __name__ == "__main__":
    harness.main()
