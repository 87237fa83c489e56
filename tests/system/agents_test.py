"""10,000 agents in one memory, each with a few entries of its own; and values of every kind from insert to restart."""

import concurrent.futures

import harness
import mneme
import numpy as np

AGENTS = 10_000
# ToMMY's golden numbers: two levels, cosine, then inner product with (1, 0).
KEYS = np.array([(1, 0), (0, 1), (1, 1)], np.float32)
VALUES = np.array([(1, 0), (0, 1), (2, 2)], np.float32)
QUERIES = np.array([(1, 0), (1, 1)], np.float32)
LEVEL_ONE = np.array([(1.178914721, 0.879895721), (1.101876987, 1.101876987)])
WEIGHTS = np.array([0.519249914, 0.480750086])
OUT = np.array([1.141878824, 0.986613233])


class Agents(harness.SystemTest):
    """Every agent has the same keys, and values that are the golden ones plus its number: weights add up to 1 and a
    softmax does not see what all its scores share, so that its answers are the golden ones plus its number. One entry
    of another agent among them, and they are not."""

    def each(self, work):
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            return list(pool.map(work, range(1, AGENTS + 1)))

    def write(self, memory):
        self.each(
            lambda agent: memory.insert(
                KEYS,
                VALUES + agent,
                ids=np.arange(3),
                partition=agent,
                labels=[agent % 5, agent % 5, 7],
                scores=[agent % 3 == 0, agent % 3 == 1, agent % 3 == 2],
                sources=[agent] * 3,
                durability="written",
            )
        )

    def read(self, memory):
        groups = mneme.Groups([0, 2], np.array([(1, 0)], np.float32), "ip")
        answers = self.each(lambda agent: memory.attention(QUERIES, groups=groups, partitions=agent))
        number = np.arange(1, AGENTS + 1)
        self.assertEqual({tuple(each.found.tolist()) for each in answers}, {(3, 3)})
        outputs = np.stack([each.outputs for each in answers]) - number[:, None, None]
        np.testing.assert_allclose(outputs, np.broadcast_to(LEVEL_ONE, outputs.shape), atol=1e-8, rtol=0)
        weights = np.stack([each.group_weights for each in answers])
        np.testing.assert_allclose(weights, np.broadcast_to(WEIGHTS, weights.shape), atol=1e-8, rtol=0)
        out = np.stack([each.group_outputs[0] for each in answers]) - number[:, None]
        np.testing.assert_allclose(out, np.broadcast_to(OUT, out.shape), atol=1e-7, rtol=0)

    def test_each_reads_what_it_wrote_and_nothing_of_the_others(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                server = self.serve(f"data-{shards}", "--shards", str(shards))
                memory = server.client.create_memory("agents", 2, metric="cosine", value="vector", value_dim=2)
                self.write(memory)
                self.assertEqual(memory.count(partitions="all"), 3 * AGENTS)
                self.read(memory)
                server.restart()
                memory = server.client.memory("agents")
                self.read(memory)
                self.everyone_at_once(memory)
                self.tenants(memory)

    def everyone_at_once(self, memory):
        best = memory.select("all")
        np.testing.assert_array_equal(best.partitions, np.arange(1, AGENTS + 1))
        np.testing.assert_array_equal(best.ids, np.arange(1, AGENTS + 1) % 3)
        np.testing.assert_array_equal(best.pool_sizes, np.full(AGENTS, 3))
        np.testing.assert_array_equal(best.sources, best.partitions)
        heads = memory.centroids(partitions="all")
        self.assertEqual(heads.labels.tolist(), [0, 1, 2, 3, 4, 7])
        self.assertEqual(heads.counts.tolist(), [2 * AGENTS // 5] * 5 + [AGENTS])
        np.testing.assert_allclose(heads.centroids, np.full((6, 2), np.sqrt(0.5)), atol=1e-7, rtol=0)

    def tenants(self, memory):
        memory.delete(partitions=[77], everything=True)
        self.assertTrue(memory.attention(QUERIES, partitions=77).all_zero.all())
        self.assertEqual(memory.count(partitions="all"), 3 * AGENTS - 3)
        for agent in (76, 78):
            page = next(iter(memory.scan(partitions=agent, with_keys=True)))
            self.assertEqual((page.ids.tolist(), page.sources.tolist()), ([0, 1, 2], [agent] * 3))
            np.testing.assert_array_equal(page.values, VALUES + agent)
        self.assertEqual(memory.select([77]).pool_sizes.tolist(), [0])
        self.assertEqual(memory.centroids([7], partitions="all").counts.tolist(), [AGENTS - 1])


class ValuesOfEveryKind(harness.SystemTest):
    """One memory of each kind through insert, upsert, get, scan, restart, export and import."""

    def texts(self, values):
        return [each if isinstance(each, bytes) else np.asarray(each).tobytes() for each in values]

    def life_of(self, server, memory, values, replacement, plain):
        """`plain` makes of values what may be compared."""
        rows = len(values)
        keys = self.random.normal(size=(rows, 3)).astype(np.float32)
        columns = {"weights": 1 + np.arange(rows) / 4, "labels": -np.arange(rows), "sources": np.arange(rows) % 3}
        memory.insert(keys, values, ids=np.arange(rows), positions=np.arange(rows) // 3, scores=keys[:, 0], **columns)
        self.assertEqual(plain(memory.get([4, 2]).values), plain(values)[4:5] + plain(values)[2:3])
        outcome = memory.insert(keys[:1], replacement, ids=[3])
        self.assertEqual(outcome.replaced, 1)
        expected = plain(values)
        expected[3] = plain(replacement)[0]
        for restarted in (False, True):
            if restarted:
                server.restart()
                memory = server.client.memory(memory.name)
            self.assertEqual(plain(memory.get(np.arange(rows)).values), expected)
            pages = list(memory.scan(page_size=3))
            ids = np.concatenate([page.ids for page in pages])
            scanned = [value for page in pages for value in plain(page.values)]
            self.assertEqual([scanned[i] for i in np.argsort(ids)], expected)
        return memory

    def exported(self, server, memory, out, *created):
        """The columns of an export, by name, and the memory that an import made of them again."""
        server.cli("export", memory.name, "--out", out)
        columns = {path.stem: path for path in out.glob("*.npy")}
        copy = "copy-of-" + memory.name
        server.cli("create", copy, "--dim", 3, "--metric", "l2", "--value", *created)
        given = [("--" + name.replace("_", "-"), path) for name, path in columns.items() if name != "created_ms"]
        server.cli("import", copy, *(part for option in given for part in option))
        return {name: np.load(path) for name, path in columns.items()}, server.client.memory(copy)

    def check_copy(self, memory, copy, plain):
        """Both answer alike: what is stored, what is nearest, and what is read of it."""
        queries, rows = self.random.normal(size=(4, 3)).astype(np.float32), np.arange(memory.count())
        self.assertEqual(copy.count(), len(rows))
        stored, again = memory.get(rows), copy.get(rows)
        self.assertEqual(plain(again.values), plain(stored.values))
        for name in ("weights", "scores", "labels", "sources", "positions", "expiries_ms"):
            np.testing.assert_array_equal(getattr(again, name), getattr(stored, name), err_msg=name)
        near, found = (each.query(queries, 5, exact=True) for each in (memory, copy))
        np.testing.assert_array_equal(found.ids, near.ids)
        np.testing.assert_array_equal(found.distances, near.distances)
        self.assertEqual(plain(found.values), plain(near.values))

    def test_from_insert_to_restart(self):
        rows, vocabulary = 9, 12
        dense = self.random.normal(size=(rows + 1, vocabulary))
        sparse = mneme.SparseVectors.from_dense(dense, 4)
        vectors = self.random.normal(size=(rows + 1, 5)).astype(np.float32)
        blobs = [b"", b"\0\xff", "gr\u00fc\u00df dich".encode()] + [bytes([i]) * 1000 * i for i in range(rows - 2)]
        for shards in (1, 4):
            with self.subTest(shards=shards):
                server, out = self.serve(f"data-{shards}", "--shards", str(shards)), self.scratch / f"out-{shards}"
                plain = lambda values: np.asarray(values).tolist()  # noqa: E731
                memory = server.client.create_memory("vectors", 3, value="vector", value_dim=5)
                memory = self.life_of(server, memory, vectors[:rows], vectors[rows:], plain)
                columns, copy = self.exported(server, memory, out / "vectors", "vector", "--value-dim", 5)
                expected = np.concatenate([vectors[:3], vectors[rows:], vectors[4:rows]])
                np.testing.assert_array_equal(columns["values"][np.argsort(columns["ids"])], expected)
                self.check_copy(memory, copy, plain)

                memory = server.client.create_memory("blobs", 3, value="bytes")
                memory = self.life_of(server, memory, blobs[:rows], blobs[rows:], list)
                columns, copy = self.exported(server, memory, out / "blobs", "bytes")
                offsets, data = columns["values_offsets"], columns["values"].tobytes()
                texts = [data[offsets[i] : offsets[i + 1]] for i in np.argsort(columns["ids"])]
                self.assertEqual(texts, blobs[:3] + blobs[rows:] + blobs[4:rows])
                self.check_copy(memory, copy, list)

                plain = lambda values: values.dense(vocabulary).tolist()  # noqa: E731
                memory = server.client.create_memory("sparse", 3, value="sparse", vocab_size=vocabulary)
                memory = self.life_of(server, memory, sparse[:rows], sparse[rows:], plain)
                columns, copy = self.exported(server, memory, out / "sparse", "sparse", "--vocab-size", vocabulary)
                offsets = columns["values_offsets"]
                stored = np.concatenate([sparse.dense(vocabulary)[i : i + 1] for i in (0, 1, 2, rows, *range(4, rows))])
                for row, id in enumerate(columns["ids"]):
                    listed = slice(offsets[row], offsets[row + 1])
                    indices, components = columns["values_indices"][listed], columns["values"][listed]
                    np.testing.assert_array_equal(components, stored[id][indices])
                    rest = columns["values_remainders"][row] / (vocabulary - len(indices))
                    np.testing.assert_allclose(np.delete(stored[id], indices), rest, rtol=1e-6)
                self.check_copy(memory, copy, plain)
                query = self.random.normal(size=(2, 3)).astype(np.float32)
                got = memory.attention(query, scale=2.0, with_weights=True)
                np.testing.assert_array_equal(copy.attention(query, scale=2.0).dense(vocabulary), got.dense(vocabulary))
                for row in range(2):
                    ids, weights = got.weights(row)
                    self.assertEqual(sorted(ids.tolist()), list(range(rows)))
                    np.testing.assert_allclose(
                        got.dense(vocabulary)[row], weights @ stored[ids.astype(int)], atol=1e-12, rtol=0
                    )


if __name__ == "__main__":
    harness.main()
