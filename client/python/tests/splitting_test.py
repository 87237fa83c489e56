"""What is larger than a message goes as several, and comes back as if it had been one."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "system"))
import harness  # noqa: E402
import mneme  # noqa: E402
import numpy as np  # noqa: E402
from mneme import splitting  # noqa: E402

DIMENSION = 8


class SplitCase(harness.SharedServerTest):
    FLAGS = ("--shards", "2")

    def memory(self, dim=DIMENSION, **options):
        name = self.id().split(".")[-1][:100].lower()
        return self.server.client.create_memory(name, dim, **options)

    def normal(self, *shape):
        return self.random.normal(size=shape).astype(np.float32)


class Inserting(SplitCase):
    def test_more_entries_than_a_message_may_have_are_written_in_order_and_once(self):
        memory, count = self.memory(vocab_size=100), 150_000
        keys, tokens = self.normal(count, DIMENSION), np.arange(count) % 100
        done = memory.insert(keys, tokens, sources=np.arange(count), labels=3, request_id="big")
        self.assertEqual((done.inserted, len(done.ids), done.replayed), (count, count, False))
        again = memory.insert(keys, tokens, sources=np.arange(count), labels=3, request_id="big")
        self.assertTrue(again.replayed)
        np.testing.assert_array_equal(again.ids, done.ids)
        self.assertEqual(memory.count(version=done.version, filter=mneme.Filter(labels=[3])), count)
        for row in (0, 65_535, 65_536, count - 1):
            got = memory.get([done.ids[row]], with_keys=True)
            np.testing.assert_array_equal(got.keys, keys[row : row + 1])
            self.assertEqual((got.sources[0], got.values[0]), (row, row % 100))

    def test_more_bytes_than_a_message_may_have_are_split_also_where_they_are_uneven(self):
        wide = self.memory(2_048, vocab_size=100)
        keys = self.normal(12_000, 2_048)
        self.assertEqual(wide.insert(keys, np.arange(12_000) % 100, durability="written").inserted, 12_000)
        blobs = self.server.client.create_memory("uneven", DIMENSION, value="bytes")
        values = [b"x" * 60_000] * 1_500 + [b"y"] * 1_500
        done = blobs.insert(self.normal(3_000, DIMENSION), values, ids=range(3_000), durability="written")
        self.assertEqual(done.inserted, 3_000)
        self.assertEqual([len(each) for each in blobs.get([0, 1_499, 1_500]).values], [60_000, 60_000, 1])

    def test_columns_of_another_length_are_refused_before_anything_is_sent(self):
        memory = self.memory(vocab_size=100)
        with self.assertRaisesRegex(ValueError, "sources has 5 rows; must have 70000"):
            memory.insert(self.normal(70_000, DIMENSION), np.zeros(70_000, int), sources=range(5))
        self.assertEqual(memory.count(), 0)

    def test_the_version_of_all_parts_names_every_shard_that_one_of_them_touched(self):
        head, part = b"\1" + bytes(12), splitting._VERSION_PART.pack
        joined = splitting.join_versions([head + part(0, 5) + part(2, 9), head + part(1, 4), head + part(2, 8)])
        self.assertEqual(joined, head + part(0, 5) + part(1, 4) + part(2, 9))


class Querying(SplitCase):
    def filled(self):
        memory = self.memory(vocab_size=100)
        self.keys = self.normal(3_000, DIMENSION)
        memory.insert(self.keys, np.arange(3_000) % 100, ids=np.arange(3_000), sources=np.arange(3_000) // 1_000)
        return memory

    def assert_same(self, whole, parts):
        """Every column of the answer is that of the parts one after another."""
        for name in ("ids", "distances", "values", "sources", "tokens", "log_probs", "found", "target_log_probs"):
            if getattr(whole, name, None) is not None:
                one_by_one = np.concatenate([getattr(part, name) for part in parts])
                np.testing.assert_array_equal(getattr(whole, name), one_by_one, name)
        lengths = np.concatenate([np.diff(part.offsets) for part in parts])
        np.testing.assert_array_equal(np.diff(whole.offsets), lengths)

    def test_more_rows_than_a_message_may_have_are_answered_as_one(self):
        memory, rows = self.filled(), 2_500
        queries, halves = self.normal(rows, DIMENSION), (slice(0, 1_000), slice(1_000, 2_000), slice(2_000, rows))
        own, offsets = np.arange(rows) % 3, np.arange(rows + 1)
        options = {"exact": True, "with_attributes": True}
        whole = memory.query(queries, 5, exclude_sources=own, sequence_ids=np.arange(rows), **options)
        parts = [memory.query(queries[part], 5, exclude_sources=own[part], **options) for part in halves]
        self.assert_same(whole, parts)
        np.testing.assert_array_equal(whole.sequence_ids, np.arange(rows))
        self.assertTrue((whole.sources.reshape(rows, 5) != own[:, None]).all())
        with_extra = memory.query(queries, 1, exact=True, extra=(offsets, np.arange(rows)))
        self.assertTrue(all(row in with_extra.ids[with_extra.row(row)] for row in range(rows)))

    def test_many_neighbours_of_few_rows_are_answered_as_one(self):
        memory = self.filled()
        queries = self.normal(600, DIMENSION)
        whole = memory.query(queries, 2_500, exact=True)  # 1.5 million neighbours
        np.testing.assert_array_equal(whole.found, 2_500)
        parts = [memory.query(part, 2_500, exact=True) for part in (queries[:300], queries[300:])]
        self.assert_same(whole, parts)

    def test_distributions_of_many_rows_have_their_targets_and_cells(self):
        memory, rows = self.filled(), 2_100
        queries, targets = self.normal(rows, DIMENSION), np.arange(rows) % 100
        cut = (slice(0, 1_024), slice(1_024, 2_048), slice(2_048, rows))
        options = {"temperature": [1, 7], "ks": [4, 16], "exact": True}
        whole = memory.distribution(queries, 16, **options)
        self.assert_same(whole, [memory.distribution(queries[part], 16, **options) for part in cut])
        scored = memory.distribution(queries, 16, targets=targets, features=True, **options)
        self.assertEqual(scored.target_log_probs.shape, (rows, 2, 2))
        self.assertEqual(scored.feature_offsets[-1], len(scored.feature_distances))
        self.assertEqual(len(scored.feature_offsets), rows + 1)
        lm = np.log(self.random.dirichlet(np.ones(100), rows)).astype(np.float32)
        by_server = memory.distribution(queries, 16, 3, mix=(lm, 0.3), exact=True).dense(100)
        np.testing.assert_allclose(by_server, memory.distribution(queries, 16, 3, exact=True).mix(lm, 0.3), rtol=1e-6)

    def test_what_goes_as_several_lacks_the_shards_that_any_part_lacks(self):
        coverage = splitting.types_pb2.Coverage
        whole = coverage(shards_total=3, shards_answered=3)
        parts = [coverage(shards_total=3, shards_answered=2, missing_shards=[missing]) for missing in (2, 0, 2)]
        self.assertEqual(splitting._join_coverage([whole, whole]), whole)
        joined = splitting._join_coverage([whole, *parts])
        self.assertEqual(joined, coverage(shards_total=3, shards_answered=1, missing_shards=[0, 2]))

    def test_one_server_answers_with_all_its_shards_though_a_part_would_do(self):
        memory = self.filled()
        got = memory.query(self.normal(1_500, DIMENSION), 5, exact=True, allow_partial=True)
        self.assertEqual((got.coverage.shards_total, got.coverage.shards_answered), (2, 2))
        self.assertEqual(list(got.coverage.missing_shards), [])

    def test_an_answer_that_lacks_a_part_is_empty_as_a_whole(self):
        memory = self.filled()
        got = memory.query(self.normal(100_000, DIMENSION), 100, exact=True, budget_ms=200, on_error="empty")
        self.assertFalse(got.ok)
        self.assertEqual((len(got.found), got.found.sum()), (100_000, 0))


if __name__ == "__main__":
    harness.main()
