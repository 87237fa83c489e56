"""The Python client against a real server: what goes in comes out, errors have types, budgets hold, streams learn."""

import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "system"))
import harness  # noqa: E402
import mneme  # noqa: E402
import numpy as np  # noqa: E402
from client_case import DIMENSION, ClientCase  # noqa: E402


class Writing(ClientCase):
    def test_entries_come_back_as_they_were_written(self):
        memory, keys = self.filled()
        got = memory.get([7, 3, 499], with_keys=True)
        np.testing.assert_array_equal(got.ids, [7, 3, 499])
        np.testing.assert_array_equal(got.keys, keys[[7, 3, 499]])
        np.testing.assert_array_equal(got.values, [7, 3, 99])
        np.testing.assert_array_equal(got.sources, [0, 0, 9])
        np.testing.assert_array_equal(got.labels, [0, 3, 2])
        self.assertTrue((got.created_ms > 1_500_000_000_000).all())
        self.assertEqual(memory.count(), 500)
        self.assertEqual(memory.count(filter=mneme.Filter(sources=[1, 2])), 100)

    def test_the_server_gives_ids_and_a_retry_with_the_same_request_id_gets_the_same(self):
        memory = self.memory()
        keys, tokens = np.ones((3, DIMENSION), np.float32), [1, 2, 3]
        first = memory.insert(keys, tokens, request_id="once")
        again = memory.insert(keys, tokens, request_id="once")
        self.assertFalse(first.replayed)
        self.assertTrue(again.replayed)
        np.testing.assert_array_equal(first.ids, again.ids)
        self.assertTrue((first.ids >= 2**62).all())
        self.assertEqual(memory.count(), 3)
        with self.assertRaises(mneme.FailedPrecondition):
            memory.insert(keys, [4, 5, 6], request_id="once")

    def test_an_import_numbers_rows_and_can_be_run_again(self):
        memory = self.memory()
        keys = self.random.normal(size=(40_000, DIMENSION)).astype(np.float16)
        seen = []
        for _ in range(2):
            done = memory.import_rows(
                keys, np.arange(40_000) % 100, sources=5, progress=lambda at, of: seen.append((at, of))
            )
        self.assertEqual((done.inserted, done.replaced), (40_000, 40_000))
        self.assertEqual(seen[-1], (40_000, 40_000))
        self.assertEqual(memory.count(version=done.version), 40_000)
        np.testing.assert_array_equal(memory.get([39_999], with_keys=True).keys[0], keys[39_999].astype(np.float32))

    def test_a_bulk_load_is_stored_indexed_and_can_be_run_again(self):
        memory = self.memory()
        keys = self.random.normal(size=(70_000, DIMENSION)).astype(np.float16)
        seen = []
        for replaced in (0, 70_000):
            done = memory.bulk_load(keys, np.arange(70_000) % 100, progress=lambda at, of: seen.append((at, of)))
            self.assertEqual((done.inserted, done.replaced), (70_000, replaced))
            self.assertEqual(seen[-1], (70_000, 70_000))
        self.assertEqual(memory.count(), 70_000)
        self.assertGreaterEqual(memory.statistics().segments, 1)
        self.assertEqual(memory.statistics().tail_rows, 0)
        np.testing.assert_array_equal(memory.get([69_999], with_keys=True).keys[0], keys[69_999].astype(np.float32))

    def test_a_memory_tells_its_index_and_capacity_and_evicts_the_oldest(self):
        memory = self.client.create_memory("recent", DIMENSION, vocab_size=100, index="IVF64,SQ8", capacity=5)
        self.addCleanup(self.client.drop_memory, "recent")
        described = {each.name: each for each in self.client.memories()}["recent"]
        self.assertEqual((described.index, described.capacity), ("IVF64,int8", 5))
        keys = np.eye(DIMENSION, dtype=np.float32)[:8]
        memory.insert(keys, np.arange(8), ids=np.arange(8))
        self.assertEqual(memory.count(), 5)
        self.assertEqual(memory.statistics().evicted, 3)
        self.assertEqual(sorted(memory.query(keys[:1], k=8, approximate_distances=True).ids), [3, 4, 5, 6, 7])
        with self.assertRaises(mneme.InvalidArgument):
            memory.query(keys[:1], k=1, exact=True, approximate_distances=True)

    def test_an_endless_stream_is_held_back_by_the_servers_window(self):
        memory = self.memory()
        batch = np.zeros((2_000, DIMENSION), np.float32)
        made = 0

        def batches():
            nonlocal made
            for made in range(1, 401):
                yield {"keys": batch, "values": np.zeros(2_000, np.uint32), "ids": np.arange(2_000)}

        stream = memory.insert_stream(batches(), durability="written")
        first = next(stream)
        self.assertLess(made - first.sequence, 400, "everything was sent before the first acknowledgement")
        self.assertEqual([first, *stream][-1].sequence, 400)

    def test_vectors_and_bytes_are_values_too(self):
        vectors = self.client.create_memory(self.name + ".v", DIMENSION, value="vector", value_dim=3)
        residuals = self.random.normal(size=(5, 3)).astype(np.float32)
        keys = self.random.normal(size=(5, DIMENSION)).astype(np.float32)
        vectors.insert(keys, residuals, ids=range(5))
        np.testing.assert_array_equal(vectors.query(keys[2], 1, exact=True).values, residuals[2:3])
        blobs = self.client.create_memory(self.name + ".b", DIMENSION, value="bytes")
        blobs.insert(keys, ["a", "", "größer", b"\x00\xff", "e"], ids=range(5))
        self.assertEqual(blobs.get(range(5)).values, [b"a", b"", "größer".encode(), b"\x00\xff", b"e"])
        self.assertEqual(blobs.query(keys[2], 1, exact=True).values, ["größer".encode()])

    def test_deletes_by_id_source_label_and_partition_and_says_what_went(self):
        memory, keys = self.filled()
        self.assertEqual(memory.delete(sources=[0], dry_run=True).deleted, 50)
        self.assertEqual(memory.count(), 500)
        self.assertEqual(memory.delete(sources=[0]).deleted, 50)
        receipt = memory.delete(ids=[60, 61, 0])
        self.assertEqual((receipt.deleted, receipt.absent), (2, 1))
        self.assertEqual(
            memory.delete(filter=mneme.Filter(labels=[3], sources=[1])).deleted,
            sum(1 for each in range(50, 100) if each % 7 == 3 and each not in (60, 61)),
        )
        memory.insert(keys[:4], [1, 2, 3, 4], ids=range(4), partition=9)
        self.assertEqual(memory.count(partitions=9), 4)
        memory.delete(everything=True, partitions=[9])
        self.assertEqual(memory.count(partitions="all"), memory.count())
        self.assertNotIn(0, np.concatenate([page.sources for page in memory.scan()]))
        with self.assertRaises(ValueError):
            memory.delete()

    def test_scan_gives_every_entry_once(self):
        memory, keys = self.filled()
        pages = list(memory.scan(page_size=64, with_keys=True))
        ids = np.concatenate([page.ids for page in pages])
        self.assertGreater(len(pages), 4)
        np.testing.assert_array_equal(np.sort(ids), np.arange(500))
        np.testing.assert_array_equal(np.concatenate([page.keys for page in pages]), keys[ids.astype(int)])


class Caring(ClientCase):
    def test_the_probe_tells_what_the_missed_neighbours_are_worth(self):
        memory, keys = self.filled(3_000)
        memory.build()
        queries = self.random.normal(size=(20, DIMENSION)).astype(np.float32)
        asked = {"k": 20, "temperature": 0.7}
        probe = memory.probe_recall(keys=queries, search=mneme.Search(nprobe=1), **asked)
        exact, found = (memory.distribution(queries, **asked, **how) for how in ({"exact": True}, {"nprobe": 1}))
        deltas, missing, mass = [], 0, 0.0
        for row in range(len(queries)):
            got = dict(zip(found.tokens[found.row(row)], found.log_probs[found.row(row)]))
            for token, log_prob in zip(exact.tokens[exact.row(row)], exact.log_probs[exact.row(row)]):
                if token in got:
                    deltas.append(abs(log_prob - got[token]))
                else:
                    missing, mass = missing + 1, mass + np.exp(log_prob)
        self.assertGreater(missing, 0)
        self.assertEqual((probe.compared_tokens, probe.missing_tokens), (len(deltas), missing))
        self.assertAlmostEqual(probe.mean_delta_log_prob, np.mean(deltas), delta=1e-9)
        self.assertAlmostEqual(probe.max_delta_log_prob, np.max(deltas), delta=1e-9)
        self.assertAlmostEqual(probe.missing_mass, mass / len(queries), delta=1e-9)
        same = memory.probe_recall(keys=queries, search=mneme.Search(exact=True), **asked)
        self.assertEqual((same.max_delta_log_prob, same.missing_tokens), (0.0, 0))
        self.assertGreater(same.compared_tokens, 0)

    def test_pruning_merges_and_tells(self):
        memory = self.memory(spread="one")  # entries merge within a shard
        keys = np.repeat(self.random.normal(size=(50, DIMENSION)).astype(np.float32), 4, axis=0)
        memory.insert(keys, np.arange(200) // 4, ids=np.arange(200))
        stages = []
        pruned = memory.prune(progress=lambda stage, done, total: stages.append(stage))
        self.assertEqual((pruned.entries, pruned.merged), (200, 150))
        self.assertFalse(pruned.HasField("perplexity_after"))
        self.assertEqual(stages[-1], "done")
        self.assertEqual(memory.count(), 50)
        np.testing.assert_array_equal(memory.get(np.arange(0, 200, 4)).weights, np.full(50, 4.0))

    def test_a_guard_is_checked_field_by_field(self):
        memory, keys = self.filled(10)
        good = {"keys": keys, "targets": np.zeros(10, int), "lm_log_probs": np.full(10, -1.0), "k": 5}
        good.update(temperature=1.0, knn_weight=0.5)
        wrong = {"k": 5000, "temperature": -1.0, "knn_weight": 1.0, "targets": np.full(10, 100)}
        wrong["max_perplexity_rise"] = -1.0
        for field, value in wrong.items():
            with self.subTest(field):
                with self.assertRaises(mneme.InvalidArgument) as error:
                    memory.prune(guard=mneme.PruneGuard(**{**good, field: value}))
                self.assertIn(f"guard.{field}", error.exception.violations[0].field)
        with self.assertRaises(mneme.InvalidArgument):
            memory.prune(neighbours=1025)


class Asking(ClientCase):
    def test_neighbours_are_those_of_brute_force(self):
        for metric in ("l2", "ip", "cosine"):
            with self.subTest(metric):
                memory = self.client.create_memory(f"{self.name}.{metric}", DIMENSION, metric=metric)
                keys = self.random.normal(size=(300, DIMENSION)).astype(np.float32)
                memory.insert(keys, np.arange(300), ids=np.arange(300))
                queries = self.random.normal(size=(5, DIMENSION)).astype(np.float32)
                got = memory.query(queries, 20, exact=True).dense()
                ids, distances = harness.brute_force(keys, queries, 20, metric)
                np.testing.assert_array_equal(got.ids, ids)
                np.testing.assert_allclose(got.distances, distances, rtol=1e-6 if metric == "cosine" else 1e-12)
                np.testing.assert_array_equal(got.values, ids)

    def test_filters_exclusions_and_few_neighbours(self):
        memory, keys = self.filled()
        got = memory.query(keys[:3], 100, exact=True, filter=mneme.Filter(sources=[2]), exclude_ids=[120, 0, 0])
        np.testing.assert_array_equal(got.found, [49, 50, 50])
        self.assertTrue(((got.ids >= 100) & (got.ids < 150)).all())
        dense = got.dense()
        self.assertEqual(dense.ids.shape, (3, 50))
        self.assertFalse(dense.mask[0, 49])
        self.assertTrue(np.isnan(dense.distances[0, 49]))
        nothing = memory.query(keys[:2], 5, filter=mneme.Filter(sources=[77]))
        np.testing.assert_array_equal(nothing.found, [0, 0])
        self.assertEqual(memory.query(keys[0], 5, exact=True, exclude_sources=[0]).ids.min() >= 50, True)

    def test_successors_come_back_and_go_in_as_candidates(self):
        memory, keys = self.filled()
        got = memory.query(keys[10], 1, exact=True, with_successors=True, with_attributes=True, with_keys=True)
        self.assertEqual((got.ids[0], got.successors[0], got.has_successor[0], got.sources[0]), (10, 11, 1, 0))
        np.testing.assert_array_equal(got.keys[0], keys[10])
        with_extra = memory.query(keys[10], 1, exact=True, extra=([0, 1], [11]))
        self.assertEqual(set(with_extra.ids.tolist()), {10, 11})

    def test_a_distribution_is_that_of_the_formula(self):
        memory, keys = self.filled()
        queries = self.random.normal(size=(4, DIMENSION)).astype(np.float32)
        got = memory.distribution(queries, 50, temperature=2.5, exact=True)
        ids, distances = harness.brute_force(keys, queries, 50)
        for row in range(4):
            weights = np.exp(-(distances[row] - distances[row, 0]) / 2.5)
            expected = np.bincount(ids[row] % 100, weights, 100) / weights.sum()
            here = got.row(row)
            np.testing.assert_allclose(np.exp(got.log_probs[here]), expected[got.tokens[here]], rtol=1e-12)
            self.assertEqual(len(got.tokens[here]), np.count_nonzero(expected))
        np.testing.assert_array_equal(got.found, 50)
        np.testing.assert_allclose(got.min_distances, distances[:, 0], rtol=1e-12)
        np.testing.assert_allclose(np.exp(got.dense(100)).sum(1), 1, rtol=1e-12)

    def test_targets_cells_and_features(self):
        memory, keys = self.filled()
        targets = [5, 6]
        got = memory.distribution(
            keys[:2] + np.float32(0.3), 64, [1, 10], ks=[8, 64], targets=targets, features=True, exact=True
        )
        self.assertEqual(got.target_log_probs.shape, (2, 2, 2))
        for t, temperature in enumerate((1, 10)):
            for j, k in enumerate((8, 64)):
                alone = memory.distribution(keys[:2] + np.float32(0.3), k, temperature, targets=targets, exact=True)
                np.testing.assert_allclose(got.target_log_probs[:, t, j], alone.target_log_probs, rtol=1e-12)
        self.assertEqual(got.feature_distances.shape, (128,))
        self.assertTrue((np.diff(got.feature_distinct[:64].astype(int)) >= 0).all())

    def test_top_m_says_what_it_left_out_and_allowed_tokens_renormalise(self):
        memory, keys = self.filled()
        whole = memory.distribution(keys[0], 100, 5, exact=True)
        top = memory.distribution(keys[0], 100, 5, top_m=3, exact=True)
        self.assertEqual(len(top.tokens), 3)
        np.testing.assert_array_equal(top.tokens, whole.tokens[:3])
        self.assertAlmostEqual(float(top.left_out[0]), float(np.exp(whole.log_probs[3:]).sum()), places=12)
        allowed = whole.tokens[[1, 4]]
        only = memory.distribution(keys[0], 100, 5, allowed=allowed, exact=True)
        self.assertEqual(set(only.tokens.tolist()), set(allowed.tolist()))
        self.assertAlmostEqual(float(np.exp(only.log_probs).sum()), 1, places=12)

    def test_the_client_mixes_as_the_server_does(self):
        memory, keys = self.filled()
        lm = np.log(self.random.dirichlet(np.ones(100), 3)).astype(np.float32)
        queries = keys[:3] + np.float32(0.2)
        by_client = memory.distribution(queries, 32, 3, exact=True).mix(lm, 0.3)
        self.assertEqual(by_client.dtype, np.float64)
        by_server = memory.distribution(queries, 32, 3, exact=True, mix=(lm, 0.3)).dense(100)
        np.testing.assert_allclose(by_client, by_server, rtol=1e-9)
        np.testing.assert_allclose(np.exp(by_client).sum(1), 1, rtol=1e-6)
        targets = [1, 2, 3]
        of_targets = memory.distribution(queries, 32, 3, exact=True, targets=targets).mix(lm[range(3), targets], 0.3)
        np.testing.assert_allclose(of_targets, by_client[range(3), targets], rtol=1e-12)

    def test_the_client_mixes_under_a_mask_as_the_server_does(self):
        memory, keys = self.filled()
        lm = np.log(self.random.dirichlet(np.ones(100), 4)).astype(np.float32)
        lm[3, [7, 99]] = -np.inf  # impossible to the model, both
        queries = np.concatenate([keys[[7, 8, 9]], keys[7:8]])
        for allowed, k in (([7, 99], 1), ([99, 7, 7], 200), ([55], 32)):
            with self.subTest(allowed=allowed, k=k):
                how = {"exact": True, "allowed": allowed, "temperature": 3}
                asked = memory.distribution(queries, k, **how)
                by_server = memory.distribution(queries, k, mix=(lm, 0.3), **how).dense(100)
                np.testing.assert_allclose(asked.mix(lm, 0.3), by_server, rtol=1e-6, atol=1e-12)
                targets = np.array([7, 8, 99, 7])
                of_lm = lm[range(4), targets]
                asked = memory.distribution(queries, k, targets=targets, **how)
                by_server = memory.distribution(queries, k, targets=targets, mix=(of_lm, 0.3), **how)
                np.testing.assert_allclose(asked.mix(of_lm, 0.3), by_server.target_log_probs, rtol=1e-6)
        many = memory.distribution(np.repeat(keys, 3, axis=0), 4, allowed=[1, 2], targets=np.arange(1_500) % 3)
        np.testing.assert_array_equal(many.allowed, [1, 2])
        np.testing.assert_array_equal(many.target_allowed, np.arange(1_500) % 3 > 0)

    def test_everything_shows_itself_in_one_short_line(self):
        memory, keys = self.filled()
        one, got = memory.query(keys[:2], 3), memory.distribution(keys[:2], 8, [1, 7])
        self.assertEqual(repr(one), "Neighbours(rows=2, found=6, ok)")
        self.assertEqual(repr(one.dense()), "DenseNeighbours([2, 3], found=6)")
        self.assertIn("Distributions(rows=2, temperatures=(1.0, 7.0), ks=(8,)", repr(got))
        self.assertEqual(repr(memory.get([1, 2], with_keys=True)), f"Entries(2, keys=[2, {DIMENSION}])")
        done = memory.insert(keys[:2], [1, 2])
        self.assertIn("Inserted(inserted=2, replaced=0, ids_given=2, durability='sync'", repr(done))
        self.assertEqual(repr(memory.delete(ids=[0, 10**9])), "Deleted(deleted=1, absent=1, dry_run=False)")
        self.assertEqual(repr(memory), f"Memory('{self.name}')")
        self.assertEqual(repr(self.client), f"Client('{self.server.address}')")
        gone = mneme.connect("127.0.0.1:9").memory("wiki").query(keys[0], 1, budget_ms=50, on_error="empty")
        self.assertRegex(repr(gone), r"Neighbours\(rows=1, found=0, error=(UNAVAILABLE|DEADLINE_EXCEEDED)\)")

    def test_one_row_mixes_with_one_row_of_the_model(self):
        memory, keys = self.filled()
        lm = np.log(self.random.dirichlet(np.ones(100)))
        got = memory.distribution(keys[0] + np.float32(0.2), 32, 3, exact=True)
        one = got.mix(lm, 0.3)
        self.assertEqual(one.shape, (100,))
        np.testing.assert_array_equal(one, got.mix(lm[None], 0.3)[0])
        self.assertGreater(np.abs(one - lm).max(), 0.01)
        of_target = memory.distribution(keys[0] + np.float32(0.2), 32, 3, exact=True, targets=[5]).mix(lm[5], 0.3)
        self.assertEqual(of_target.shape, ())
        self.assertAlmostEqual(float(of_target), one[5], places=12)
        with memory.decode_stream(32, 3, exact=True) as stream:
            np.testing.assert_array_equal(stream.step(keys[0] + np.float32(0.2)).mix(lm, 0.3), one)
        with self.assertRaisesRegex(ValueError, r"shape \(100,\); must be \[2, vocabulary\]"):
            memory.distribution(keys[:2], 32).mix(lm, 0.3)

    def test_a_model_of_another_vocabulary_is_named(self):
        memory, keys = self.filled()
        got = memory.distribution(keys[99], 1, exact=True)
        with self.assertRaisesRegex(ValueError, "a vocabulary of 50; the memory knows token 99"):
            got.mix(np.full(50, np.log(1 / 50)), 0.3)
        with self.assertRaisesRegex(ValueError, "a vocabulary of 99; the memory knows token 99"):
            got.dense(99)
        self.assertEqual(got.mix(np.full(128, np.log(1 / 128)), 0.3).shape, (128,))  # padded for the hardware

    def test_an_empty_memory_leaves_the_model_alone(self):
        memory = self.memory()
        lm = np.log(np.full((1, 100), 0.01))
        got = memory.distribution(np.zeros(DIMENSION, np.float32), 8)
        self.assertEqual(got.found[0], 0)
        np.testing.assert_array_equal(got.mix(lm, 0.5), lm)

    def test_single_precision_halves_the_columns(self):
        memory, keys = self.filled()
        single = memory.query(keys[:2], 10, exact=True, precision="single")
        double = memory.query(keys[:2], 10, exact=True)
        self.assertEqual((single.distances.dtype, double.distances.dtype), (np.float32, np.float64))
        np.testing.assert_allclose(single.distances, double.distances, rtol=1e-6)


class Errors(ClientCase):
    def test_each_refusal_has_its_type_and_names_the_field(self):
        memory, keys = self.filled()
        with self.assertRaises(mneme.NotFound) as caught:
            self.client.memory("nowhere").count()
        self.assertTrue(caught.exception.reason)
        with self.assertRaises(mneme.AlreadyExists):
            self.memory()
        with self.assertRaises(mneme.InvalidArgument) as caught:
            memory.query(keys[0], 5_000)
        self.assertIn("4096", str(caught.exception))
        self.assertEqual(caught.exception.violations[0].field, "k")
        with self.assertRaises(mneme.InvalidArgument):
            memory.query(np.ones(DIMENSION - 1, np.float32), 1)
        with self.assertRaises(mneme.InvalidArgument):
            memory.insert(np.full((1, DIMENSION), np.nan, np.float32), [1])
        with self.assertRaises(mneme.InvalidArgument):
            memory.insert(keys[:1], [100])
        with self.assertRaises(mneme.NotFound):
            memory.get([10**9])
        self.assertEqual(len(memory.get([10**9, 3], allow_missing=True)), 1)

    def test_keys_of_another_model_are_refused(self):
        memory = self.memory(fingerprint={"model": "gpt2", "layer": "h.11"})
        key = np.ones((1, DIMENSION), np.float32)
        memory.insert(key, [1], fingerprint={"model": "gpt2"})
        with self.assertRaises(mneme.FingerprintMismatch) as caught:
            memory.insert(key, [1], fingerprint={"model": "llama"})
        self.assertIn("gpt2", str(caught.exception))
        self.assertIn("llama", str(caught.exception))
        with self.assertRaises(mneme.FingerprintMismatch):
            memory.distribution(key, 1, fingerprint={"layer": "h.3"}, on_error="empty")

    def test_what_the_caller_has_to_change_does_not_fail_open(self):
        memory, keys = self.filled()
        with memory.lease(60) as pinned:
            pass
        foreign = self.client.create_like(self.name + "-other", self.name).insert(keys[:1], [1]).version
        for wrong, ask, reason in (
            ("name", self.client.memory("wikki"), "MEMORY_NOT_FOUND"),
            ("lease", pinned, "LEASE_EXPIRED"),
            ("version", memory, "FOREIGN_VERSION"),
        ):
            search = {"version": foreign} if wrong == "version" else {}
            stream = ask.decode_stream(4, on_error="empty", budget_ms=10_000, **search)
            for call in (ask.query, ask.distribution, stream.step):
                options = {} if call == stream.step else {"on_error": "empty", **search}
                with self.subTest(wrong, call=call.__name__), self.assertRaises(mneme.MnemeError) as raised:
                    call(keys[0], **options)
                self.assertEqual(raised.exception.reason, reason)
            stream.close()

    def test_integers_that_do_not_fit_are_refused_before_they_are_sent(self):
        memory = self.memory()
        with self.assertRaises(ValueError):
            memory.insert(np.ones((1, DIMENSION), np.float32), [-1])
        with self.assertRaises(TypeError):
            memory.insert(np.ones((1, DIMENSION), np.float32), [1], ids=[0.5])
        with self.assertRaises(TypeError):
            memory.insert(np.ones((1, DIMENSION), np.float32), [1], colour=3)

    def test_a_wrong_argument_is_named_with_the_call_it_was_given_to(self):
        memory, keys = self.filled()
        with self.assertRaisesRegex(TypeError, r"query\(\) got an unknown argument 'kk'"):
            memory.query(keys[0], kk=3)
        with self.assertRaisesRegex(TypeError, r"distribution\(\) got an unknown argument 'temprature'"):
            memory.distribution(keys[0], temprature=3)
        for call in (memory.count, memory.delete, lambda **given: memory.query(keys[0], **given)):
            for wrong in ({"sources": [1]}, {}):
                with self.assertRaisesRegex(TypeError, r"filter is a dict; must be a mneme.Filter"):
                    call(filter=wrong)
        with self.assertRaisesRegex(TypeError, "is a tuple; must be a mapping"):
            list(memory.insert_stream([(keys, np.arange(500))]))
        with self.assertRaisesRegex(TypeError, "has keys; needs keys and values"):
            list(memory.insert_stream([{"keys": keys}]))

    def test_a_handle_presents_its_fingerprint_with_every_request(self):
        key = np.ones((1, DIMENSION), np.float32)
        self.memory(fingerprint={"model": "gpt2"}).insert(key, [1])
        memory = self.client.memory(self.name, fingerprint={"model": "llama"})
        requests = (
            lambda: memory.insert(key, [1]),
            lambda: list(memory.insert_stream([{"keys": key, "values": [1]}])),
            lambda: memory.import_rows(key, [1]),
            lambda: memory.query(key, 1),
            lambda: memory.distribution(key, 1),
            lambda: memory.decode_stream(1).step(key),
        )
        for number, request in enumerate(requests):
            with self.subTest(number), self.assertRaises(mneme.FingerprintMismatch):
                request()
        self.assertEqual(memory.query(key, 1, fingerprint={"model": "gpt2"}).found[0], 1)

    def test_dropping_frees_the_name(self):
        memory = self.memory()
        self.assertIn(self.name, [each.name for each in self.client.memories()])
        self.client.drop_memory(self.name)
        with self.assertRaises(mneme.NotFound):
            memory.count()
        self.memory()


class Importing(harness.SystemTest):
    def test_without_its_stubs_the_package_says_how_to_make_them(self):
        source = harness.ROOT / "client" / "python" / "mneme"
        shutil.copytree(source, self.scratch / "mneme", ignore=shutil.ignore_patterns("_proto", "__pycache__"))
        command = [sys.executable, "-c", "import mneme"]
        done = subprocess.run(command, cwd=self.scratch, env={}, capture_output=True, text=True)
        self.assertRegex(done.stderr, r"ImportError: .*client/python/generate_stubs\.py")


class Budgets(harness.SystemTest):
    def test_a_budget_holds_when_nobody_answers_and_the_answer_is_empty_and_says_so(self):
        deaf = socket.create_server(("127.0.0.1", 0))  # accepts, and never speaks
        self.addCleanup(deaf.close)
        memory = mneme.connect(f"127.0.0.1:{deaf.getsockname()[1]}").memory("wiki")
        lm = np.log(np.full((2, 7), 1 / 7))
        start = time.monotonic()
        got = memory.distribution(np.ones((2, 3), np.float32), 8, budget_ms=60, on_error="empty")
        self.assertLess(time.monotonic() - start, 1.0)
        self.assertFalse(got.ok)
        self.assertIsInstance(got.error, (mneme.DeadlineExceeded, mneme.Unavailable))
        np.testing.assert_array_equal(got.found, [0, 0])
        np.testing.assert_array_equal(got.mix(lm, 0.3), lm)
        with self.assertRaises(mneme.MnemeError):
            memory.query(np.ones(3, np.float32), 1, budget_ms=60)

    def test_a_call_outlives_a_restart_of_the_server(self):
        server = self.serve()
        memory = server.client.create_memory("wiki", 4)
        address, client = server.address, mneme.connect(server.address, timeout=60, attempts=50)
        memory.insert(np.eye(4, dtype=np.float32), [1, 2, 3, 4], ids=range(4))
        server.kill()
        server.listen = address
        counted = []
        waiting = threading.Thread(target=lambda: counted.append(client.memory("wiki").count()))
        waiting.start()
        server.start()
        waiting.join(60)
        self.assertEqual(counted, [4])


if __name__ == "__main__":
    harness.main()
