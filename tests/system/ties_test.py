"""A set in which 30 % of the keys stand twice or more: equal scores are ordered by id, whatever holds the rows."""

import harness
import numpy as np

ROWS, DIMENSION, QUERIES = (40_000 if harness.FULL else 24_000), 16, 40


class Ties(harness.SystemTest):
    def _keys(self):
        keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float16)
        copies = self.random.permutation(ROWS)[: int(ROWS * 0.3)]
        keys[copies] = keys[self.random.integers(0, 200, len(copies))]  # some keys stand sixty times over
        return keys

    def _check(self, metric):
        keys = self._keys()
        if metric == "cosine":
            keys[np.linalg.norm(keys.astype(np.float64), axis=1) == 0] = 1
        queries = np.concatenate(
            [keys[: QUERIES // 2], self.random.normal(size=(QUERIES // 2, DIMENSION)).astype(np.float16)]
        )
        memory = self.serve("data-" + metric, "--shards", "2").client.create_memory("ties", DIMENSION, metric=metric)
        memory.import_rows(keys.astype(np.float32), np.arange(ROWS) % 977, durability="written")
        if metric == "cosine":
            return memory, queries, None
        ids, distances = harness.brute_force(keys, queries, 256, metric)
        for state in ("in the tail", "sealed"):
            got = memory.query(queries.astype(np.float32), 256, exact=True).dense()
            np.testing.assert_array_equal(got.ids, ids, err_msg=state)
            np.testing.assert_allclose(got.distances, distances, rtol=1e-12, atol=1e-12, err_msg=state)
            memory.build()
        repeated = np.mean(np.diff(distances, axis=1) == 0)
        harness.note(f"{metric}: {repeated:.0%} of neighbours tie with the next one; ids and order equal")
        self.assertGreater(repeated, 0.1)
        return memory, queries, distances

    def test_equal_squared_distances_are_ordered_by_id(self):
        self._check("l2")

    def test_equal_inner_products_are_ordered_by_id(self):
        self._check("ip")

    def test_equal_cosines_are_ordered_by_id(self):
        memory, queries, _ = self._check("cosine")
        before = memory.query(queries.astype(np.float32), 256, exact=True)
        for row in range(QUERIES):
            here = before.row(row)
            pairs = list(zip(-before.distances[here], before.ids[here]))
            self.assertEqual(pairs, sorted(pairs))
        memory.build()
        after = memory.query(queries.astype(np.float32), 256, exact=True)
        np.testing.assert_array_equal(before.ids, after.ids)
        np.testing.assert_array_equal(before.distances, after.distances)


if __name__ == "__main__":
    harness.main()
