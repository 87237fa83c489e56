"""Mixtures of memories over the wire, against numpy on what separate queries of the sources answer."""

import asyncio

import harness
import mneme
import numpy as np

DIM, VOCABULARY = 6, 30


class Mixtures(harness.SystemTest):
    def each_deployment(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                yield self.serve(f"data-{shards}", "--shards", str(shards)).client

    def keys(self, rows):
        return self.random.normal(size=(rows, DIM)).astype(np.float32)

    def tokens(self, rows):
        return self.random.integers(0, VOCABULARY, rows)

    def lm(self, rows):
        logits = self.random.normal(size=(rows, VOCABULARY))
        return np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)

    def three(self, client):
        """A global memory, a tenant's of which partition 5 is asked, and a session's in f16, each with its k."""
        world = client.create_memory("world", DIM, vocab_size=VOCABULARY)
        tenant = client.create_memory("tenant", DIM, vocab_size=VOCABULARY)
        session = client.create_memory("session", DIM, vocab_size=VOCABULARY, key_dtype="f16")
        world.insert(self.keys(600), self.tokens(600), ids=np.arange(600), sources=np.arange(600) % 7)
        tenant.insert(self.keys(90), self.tokens(90), ids=np.arange(90), partition=5, sources=np.arange(90) % 7)
        tenant.insert(self.keys(90), self.tokens(90), ids=np.arange(90), partition=6)
        weights = self.random.uniform(0.5, 3, 20)
        session.insert(self.keys(20), self.tokens(20), ids=np.arange(20), sources=np.arange(20) % 7, weights=weights)
        asked = [(world, {"k": 40}), (tenant, {"k": 25, "partitions": 5}), (session, {"k": 8})]
        mixture = client.mix(
            [(world, 2.5), mneme.Source(tenant, 1.5, partitions=5, k=25), mneme.Source(session, 1.0, k=8)]
        )
        return asked, mixture

    def mixed(self, asked, weights, queries, **how):
        """p = sum of w p, from a query of each source alone."""
        alone = [memory.distribution(queries, exact=True, **options, **how) for memory, options in asked]
        return sum(w * np.exp(p.dense(VOCABULARY)) for w, p in zip(weights, alone)), alone

    def check_sources(self, got, asked, weights, alone):
        self.assertEqual([each.memory for each in got.mixture], [memory.name for memory, _ in asked])
        for source, weight, one in zip(got.mixture, weights, alone):
            np.testing.assert_array_equal(source.found, one.found)
            np.testing.assert_allclose(source.weights, weight, rtol=1e-15)
            self.assertEqual(source.coverage, one.coverage)
            self.assertEqual(source.statistics.rows_total, one.statistics.rows_total)
            self.assertEqual(source.version, one.version)
        self.assertEqual(got.version, b"")
        np.testing.assert_array_equal(got.found, sum(one.found for one in alone))
        np.testing.assert_array_equal(got.min_distances, np.min([one.min_distances for one in alone], 0))
        np.testing.assert_allclose(got.log_total_mass, np.logaddexp.reduce([one.log_total_mass for one in alone]))

    def test_a_distribution_is_the_weighted_sum_of_the_sources_own(self):
        queries, weights = self.keys(9), (0.5, 0.3, 0.2)
        for client in self.each_deployment():
            asked, mixture = self.three(client)
            got = mixture.distribution(queries, 40, 3.0, exact=True, sequence_ids=np.arange(9) + 3)
            wanted, alone = self.mixed(asked, weights, queries, temperature=3.0)
            np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), wanted, rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(wanted.sum(1), 1)
            self.check_sources(got, asked, weights, alone)
            np.testing.assert_array_equal(got.sequence_ids, np.arange(9) + 3)

    def test_targets_masks_top_m_and_the_model_hold_for_the_mixture(self):
        queries, weights, allowed = self.keys(7), (0.5, 0.3, 0.2), np.arange(0, VOCABULARY, 2)
        lm, targets = self.lm(7), np.arange(7) * 2
        for client in self.each_deployment():
            asked, mixture = self.three(client)
            p, _ = self.mixed(asked, weights, queries, temperature=2.0)
            top = mixture.distribution(queries, 40, 2.0, top_m=3, exact=True)
            for row in range(7):
                best = np.lexsort((np.arange(VOCABULARY), -p[row]))[:3]
                np.testing.assert_array_equal(top.tokens[top.row(row)], best)
                self.assertAlmostEqual(top.left_out[row], 1 - p[row, best].sum(), places=12)
            got = mixture.distribution(queries, 40, 2.0, mix=(lm, 0.3), exact=True)
            model = np.exp(lm.astype(np.float64))
            np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), 0.3 * p + 0.7 * model, rtol=1e-12)
            by_client = mixture.distribution(queries, 40, 2.0, exact=True).mix(lm, 0.3)
            np.testing.assert_allclose(by_client, got.dense(VOCABULARY), rtol=1e-12)

            ln_lm = lm[np.arange(7), targets]
            got = mixture.distribution(queries, 40, 2.0, targets=targets, mix=(ln_lm, 0.3), exact=True)
            wanted = np.log(0.3 * p[np.arange(7), targets] + 0.7 * np.exp(ln_lm.astype(np.float64)))
            np.testing.assert_allclose(got.target_log_probs, wanted, rtol=1e-12)
            self.assertEqual([memory.statistics().benefit.tokens for memory, _ in asked], [0, 0, 0])

            # With a mask a source without an allowed neighbour gives its weight away.
            _, alone = self.mixed(asked, weights, queries, temperature=2.0, allowed=allowed)
            there = np.array([one.log_total_mass > -np.inf for one in alone])
            share = np.array(weights)[:, None] * there / (np.array(weights)[:, None] * there).sum(0)
            masked = sum(s[:, None] * np.exp(one.dense(VOCABULARY)) for s, one in zip(share, alone))
            got = mixture.distribution(queries, 40, 2.0, allowed=allowed, exact=True)
            np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), masked, rtol=1e-12, atol=1e-15)

            # A grid of targets; ks are those of each source, as far as it has so many.
            grid = mixture.distribution(queries, 40, [1.0, 4.0], ks=[4, 16, 40], targets=targets, exact=True)
            self.assertEqual(grid.target_log_probs.shape, (7, 2, 3))
            self.assertEqual(grid.mixture[2].weights.shape, (7, 2, 3))
            for t, temperature in enumerate((1.0, 4.0)):
                for j, k in enumerate((4, 16, 40)):
                    fewer = [(memory, {**options, "k": min(k, options["k"])}) for memory, options in asked]
                    p, _ = self.mixed(fewer, weights, queries, temperature=temperature)
                    with np.errstate(divide="ignore"):
                        wanted = np.log(p[np.arange(7), targets])
                    np.testing.assert_allclose(grid.target_log_probs[:, t, j], wanted, rtol=1e-11)

    def test_filter_and_exclusions_hold_for_every_source(self):
        queries, weights = self.keys(5), (0.5, 0.3, 0.2)
        how = {"filter": mneme.Filter(sources=[0, 1, 2]), "exclude_ids": np.arange(5)}
        how["exclude_sources"] = [0, 1, 2, 0, 1]
        for client in self.each_deployment():
            asked, mixture = self.three(client)
            wanted, alone = self.mixed(asked, weights, queries, **how)
            got = mixture.distribution(queries, 40, exact=True, **how)
            np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), wanted, rtol=1e-12, atol=1e-15)
            self.check_sources(got, asked, weights, alone)
            self.assertFalse(np.array_equal(np.exp(got.dense(VOCABULARY)), self.mixed(asked, weights, queries)[0]))

    def test_two_halves_of_equal_weight_are_the_mean_of_both(self):
        keys, values, queries = self.keys(200), self.tokens(200), self.keys(4)
        for client in self.each_deployment():
            memory = client.create_memory("halves", DIM, vocab_size=VOCABULARY)
            memory.insert(keys[:100], values[:100], ids=np.arange(100), partition=1)
            memory.insert(keys[100:], values[100:], ids=np.arange(100), partition=2)
            mixture = client.mix([mneme.Source(memory, 3, partitions=1), mneme.Source(memory, 3, partitions=2)])
            got = mixture.distribution(queries, 100, exact=True)
            one, two = (memory.distribution(queries, 100, exact=True, partitions=half) for half in (1, 2))
            mean = (np.exp(one.dense(VOCABULARY)) + np.exp(two.dense(VOCABULARY))) / 2
            np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), mean, rtol=1e-12, atol=1e-15)
            # All entries of both halves as one memory weigh by nearness instead; the masses are the same.
            whole = memory.distribution(queries, 200, exact=True, partitions=[1, 2])
            np.testing.assert_allclose(got.log_total_mass, whole.log_total_mass, rtol=1e-12)

    def test_an_empty_session_leaves_the_global_memory_alone(self):
        queries = self.keys(4)
        for client in self.each_deployment():
            world = client.create_memory("world", DIM, vocab_size=VOCABULARY)
            world.insert(self.keys(100), self.tokens(100), ids=np.arange(100))
            session = client.create_memory("session", DIM, vocab_size=VOCABULARY)
            mixture = client.mix([(world, 0.4), (session, 0.6)])
            got, alone = (each.distribution(queries, 10, exact=True) for each in (mixture, world))
            np.testing.assert_array_equal(got.tokens, alone.tokens)
            np.testing.assert_array_equal(got.log_probs, alone.log_probs)
            np.testing.assert_array_equal([each.weights for each in got.mixture], [np.ones(4), np.zeros(4)])
            world.delete(everything=True)
            nothing = mixture.distribution(queries, 10, mix=(self.lm(4), 0.9))
            np.testing.assert_array_equal([each.weights for each in nothing.mixture], np.zeros((2, 4)))
            lm = self.lm(4)
            np.testing.assert_allclose(mixture.distribution(queries, 10).mix(lm, 0.9), lm)

    def test_each_source_reads_what_its_version_saw(self):
        for client in self.each_deployment():
            memories = [client.create_memory(name, DIM, vocab_size=VOCABULARY) for name in ("one", "two")]
            key = self.keys(1)
            for round in range(5):
                for at, memory in enumerate(memories):
                    done = memory.insert(key, [round * 2 + at], ids=[7], durability="written")
                    versions = [done.version if each is memory else b"" for each in memories]
                    sources = [mneme.Source(each, 1, version=seen) for each, seen in zip(memories, versions)]
                    got = client.mix(sources).distribution(key, 1)
                    self.assertIn(round * 2 + at, got.tokens.tolist())
            foreign = [mneme.Source(memories[0], 1, version=done.version)]
            with self.assertRaisesRegex(mneme.FailedPrecondition, "of another memory"):
                client.mix(foreign).distribution(key, 1)

    def test_attention_is_the_weighted_sum_of_the_sources_own(self):
        queries = self.keys(5)
        for client in self.each_deployment():
            one = client.create_memory("one", DIM, value="vector", value_dim=3)
            two = client.create_memory("two", DIM, value="vector", value_dim=3)
            one.insert(self.keys(80), self.random.normal(size=(80, 3)), ids=np.arange(80))
            two.insert(self.keys(30), self.random.normal(size=(30, 3)), ids=np.arange(30))
            mixture = client.mix([(one, 3), (two, 1)])
            for k, shrink in ((0, 0.0), (12, 0.0), (12, 0.05)):
                how = {"scale": 2.0, "shrink": shrink, "exact": k > 0, "with_weights": True}
                a, b, got = (each.attention(queries, k, **how) for each in (one, two, mixture))
                np.testing.assert_allclose(got.outputs, 0.75 * a.outputs + 0.25 * b.outputs, rtol=1e-12, atol=1e-15)
                np.testing.assert_array_equal(got.found, a.found + b.found)
                for row in range(5):
                    ids, weights = got.weights(row)
                    split = int(got.mixture[0].active[row])
                    for source, share, part in ((a, 0.75, slice(0, split)), (b, 0.25, slice(split, None))):
                        np.testing.assert_array_equal(ids[part], source.weights(row)[0])
                        np.testing.assert_allclose(weights[part], share * source.weights(row)[1], rtol=1e-12)
                    self.assertAlmostEqual(got.entropies[row], -(weights * np.log(weights + 1e-12)).sum(), places=11)
            empty = client.mix([(one, 3), mneme.Source(two, 1, partitions=9)]).attention(queries, 12, exact=True)
            np.testing.assert_array_equal(empty.outputs, one.attention(queries, 12, exact=True).outputs)

    def test_sparse_values_mix_over_the_vocabulary(self):
        queries = self.keys(3)
        for client in self.each_deployment():
            memories = []
            for name, rows in (("one", 40), ("two", 15)):
                memory = client.create_memory(name, DIM, value="sparse", vocab_size=VOCABULARY)
                values = mneme.SparseVectors.from_dense(self.random.normal(size=(rows, VOCABULARY)), 5)
                memory.insert(self.keys(rows), values, ids=np.arange(rows))
                memories.append(memory)
            got = client.mix([(memories[0], 1), (memories[1], 1)]).attention(queries, 6, exact=True)
            alone = [memory.attention(queries, 6, exact=True).dense(VOCABULARY) for memory in memories]
            np.testing.assert_allclose(got.dense(VOCABULARY), (alone[0] + alone[1]) / 2, rtol=1e-12, atol=1e-15)

    def test_all_entries_of_all_sources_have_one_bound(self):
        for client in self.each_deployment():
            wide = client.create_memory("wide", DIM, value="vector", value_dim=4096)
            wide.insert(self.keys(700), np.ones((700, 4096), np.float32), ids=np.arange(700))
            queries = self.keys(25)
            self.assertTrue(wide.attention(queries).ok)  # 25 rows x 700 entries x 16 KiB: just fits
            with self.assertRaisesRegex(mneme.InvalidArgument, "must stay within 536870912"):
                client.mix([(wide, 1), (wide, 1)]).attention(queries)

    def test_a_decode_loop_reads_all_and_teaches_one(self):
        lm = self.lm(1)
        for client in self.each_deployment():
            world = client.create_memory("world", DIM, vocab_size=VOCABULARY)
            world.insert(self.keys(300), self.tokens(300), ids=np.arange(300))
            session = client.create_memory("session", DIM, vocab_size=VOCABULARY)
            mixture = client.mix([(world, 0.4), (session, 0.6)], append=session)
            nats, former = 0.0, None
            with mixture.decode_stream(k=20, temperature=2.0, exact=True) as stream:
                for step, (key, token) in enumerate(zip(self.keys(12), self.tokens(12))):
                    key = key[None]
                    got = stream.step(key)
                    # What step i - 1 taught rides on step i and is seen by step i + 1.
                    self.assertEqual(int(got.mixture[1].found[0]), max(step - 1, 0))
                    p = world.distribution(key, 20, 2.0, exact=True).dense(VOCABULARY)
                    if step > 1:
                        own = stream_session(session, key, step - 1)
                        p = np.logaddexp(np.log(0.4) + p, np.log(0.6) + own)
                    np.testing.assert_allclose(np.exp(got.dense(VOCABULARY)), np.exp(p), rtol=1e-9, atol=1e-12)
                    ln_p = got.mix(lm, 0.3)[0, token]
                    nats += ln_p - float(lm[0, token])
                    stream.learn([token], lm_log_probs=lm[0, [token]], knn_weight=0.3, positions=step)
                stream.wait()
                self.assertEqual(stream.benefit_tokens, 12)
                self.assertAlmostEqual(stream.benefit_nats, nats, places=6)
            self.assertEqual((session.count(), world.count()), (12, 300))
            # The benefit is the mixture's: told once, on the stream, and counted for neither memory.
            self.assertEqual([each.statistics().benefit.tokens for each in (world, session)], [0, 0])
            with client.mix([(world, 1)]).decode_stream(k=5) as stream:
                stream.step(key)
                stream.learn([1])
                with self.assertRaisesRegex(mneme.InvalidArgument, "must name a memory"):
                    stream.wait()
            other = client.create_memory("other", DIM + 1, vocab_size=VOCABULARY)
            with self.assertRaisesRegex(mneme.InvalidArgument, "must be as the first"):
                client.mix([(world, 1)], append=other).decode_stream(k=5).step(key)

    def test_more_rows_than_a_message_may_have_come_back_as_one(self):
        client = self.serve().client
        asked, mixture = self.three(client)
        queries = self.keys(2500)
        got = mixture.distribution(queries, 40, 3.0, targets=np.zeros(2500, int), exact=True)
        wanted, alone = self.mixed(asked, (0.5, 0.3, 0.2), queries[1200:1300], temperature=3.0)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(got.target_log_probs[1200:1300], np.log(wanted[:, 0]), rtol=1e-11)
        self.assertEqual([len(each.found) for each in got.mixture], [2500] * 3)
        np.testing.assert_array_equal(got.mixture[2].found[1200:1300], alone[2].found)

    def test_by_hand(self):
        server = self.serve("data", "--shards", "2")
        self.three(server.client)
        queries = self.keys(300)
        ask = ["distribution", "world", "--keys", self.save("q.npy", queries), "-k", 30, "--temperature", 2, "--exact"]
        mix = ["--mix", "tenant=0.3:5", "--mix", "session=0.2"]
        answer = server.cli(*ask, *mix, "--statistics")
        sources = [("world", 0.5), mneme.Source("tenant", 0.3, partitions=5), ("session", 0.2)]
        p = server.client.mix(sources).distribution(queries, 30, 2.0, exact=True)
        for row, got in enumerate(answer["queries"]):
            self.assertEqual(got["tokens"], p.tokens[p.row(row)].tolist())
            np.testing.assert_allclose(got["probs"], np.exp(p.log_probs[p.row(row)]), rtol=1e-9)
        told = answer["queries"][0]["sources"]
        self.assertEqual([each["memory"] for each in told], ["world", "tenant", "session"])
        self.assertEqual([each["found"] for each in told], [30, 30, 20])
        np.testing.assert_allclose([each["weight"] for each in told], (0.5, 0.3, 0.2))
        self.assertEqual(answer["statistics"]["rows_total"], 600 + 90 + 20)
        self.assertIn("session: 20 found, weight 0.2\n", server.cli_text(*ask, *mix))
        for wrong, why in (
            ("tenant", "must be NAME=WEIGHT"),
            ("tenant=x", "must be NAME=WEIGHT"),
            ("tenant=0.5:x", "must be NAME=WEIGHT"),
            ("=0.5", "must be NAME=WEIGHT"),
            ("tenant=1", "with a weight in"),
            ("tenant=0.8", "leaves nothing for"),
        ):
            with self.assertRaisesRegex(AssertionError, why):
                server.cli_text(*ask, "--mix", wrong, "--mix", "session=0.2")

    def test_attention_by_hand(self):
        server = self.serve("data", "--shards", "2")
        for name, rows, partition in (("one", 80, 0), ("two", 30, 4)):
            memory = server.client.create_memory(name, DIM, value="vector", value_dim=3)
            memory.insert(self.keys(rows), self.random.normal(size=(rows, 3)), ids=np.arange(rows), partition=partition)
        queries = self.keys(5)
        ask = ["attention", "one", "--keys", self.save("q.npy", queries), "--scale", 2]
        mixture = server.client.mix([("one", 0.75), mneme.Source("two", 0.25, partitions=4)])
        for k in (0, 12):
            mix = ["-k", k, "--mix", "two=0.25:4", *(["--exact"] if k else [])]
            answer = server.cli(*ask, *mix, "--weights", "--statistics", "--out", self.scratch / "out.npy")
            wanted = mixture.attention(queries, k, scale=2.0, exact=k > 0, with_weights=True)
            np.testing.assert_array_equal(np.load(self.scratch / "out.npy"), wanted.outputs)
            for row, got in enumerate(answer["queries"]):
                self.assertEqual(got["output"], wanted.outputs[row].tolist())
                self.assertEqual((got["ids"], got["weights"]), tuple(each.tolist() for each in wanted.weights(row)))
                found = [k or 80, k or 30]
                told = [{"memory": "one", "weight": 0.75}, {"memory": "two", "weight": 0.25}]
                wanted_sources = [{**each, "found": count, "active": count} for each, count in zip(told, found)]
                self.assertEqual(got["sources"], wanted_sources)
            self.assertEqual(answer["statistics"]["rows_total"], 80 + 30)
        self.assertIn("two: 12 found, weight 0.25\n", server.cli_text(*ask, *mix))
        self.assertNotIn("sources", server.cli(*ask)["queries"][0])
        with self.assertRaisesRegex(AssertionError, "must be NAME=WEIGHT"):
            server.cli_text(*ask, "--mix", "two")

    def test_asyncio(self):
        server = self.serve()
        asked, mixture = self.three(server.client)
        queries = self.keys(3)

        async def ask():
            async with mneme.aio.connect(server.address) as client:
                session = client.memory("session")
                self.assertEqual((await client.statistics()).entries, server.client.statistics().entries)
                self.assertEqual(await (await client.create_like("copy", "session")).count(), 0)
                async with session.lease(60) as pinned:
                    with self.assertRaisesRegex(ValueError, "is pinned"):
                        client.mix([(pinned, 1.0)])
                    with self.assertRaisesRegex(ValueError, "is pinned"):
                        client.mix([mneme.Source(pinned, 1.0)])
                mixed = client.mix([(client.memory("world"), 0.7), mneme.Source(session, 0.3)], append=session)
                return await mixed.distribution(queries, 10, exact=True)

        wanted = server.client.mix([("world", 0.7), ("session", 0.3)]).distribution(queries, 10, exact=True)
        np.testing.assert_array_equal(asyncio.run(ask()).log_probs, wanted.log_probs)


def stream_session(session, key, entries):
    """ln p of the first so many entries that a stream taught its session."""
    stored = [page for page in session.scan()]
    ids = np.concatenate([page.ids for page in stored])[np.argsort(np.concatenate([page.positions for page in stored]))]
    filter = mneme.Filter(ids=ids[:entries])
    return session.distribution(key, 20, 2.0, exact=True, filter=filter).dense(VOCABULARY)


if __name__ == "__main__":
    harness.main()
