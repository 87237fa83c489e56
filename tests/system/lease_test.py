"""A pinned memory answers byte for byte as it did when its lease was taken, by every read-out, with 1 and 4 shards."""

import asyncio
import threading
import time
from unittest import mock

import harness
import mneme
import numpy as np
from mneme import leasing

ROWS, DIMENSION = (40_000 if harness.FULL else 4_000), 8


class Leases(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
        self.queries = self.random.normal(size=(5, DIMENSION)).astype(np.float32)

    def filled(self, client, name, **options):
        memory = client.create_memory(name, DIMENSION, metric="cosine", **options)
        values = np.arange(ROWS) % 97
        if options.get("value") == "vector":
            values = self.keys[:, : options["value_dim"]]
        for partition in (0, 5):
            memory.insert(
                self.keys,
                values,
                ids=np.arange(ROWS),
                partition=partition,
                labels=np.arange(ROWS) % 4,
                sources=np.arange(ROWS) // 100,
                scores=np.sin(np.arange(ROWS)),
            )
        return memory

    def answers(self, tokens, vectors):
        """What every read-out says, as arrays."""
        found = tokens.query(self.queries, k=9, exact=True, with_keys=True, with_successors=True, with_attributes=True)
        extra = (np.arange(len(self.queries) + 1) * 2, np.tile([7, 4_321], len(self.queries)))
        more = tokens.query(self.queries, k=2, exact=True, partitions=[0], extra=extra)
        near = tokens.query(self.queries, k=9)
        p = tokens.distribution(self.queries, k=50, temperature=0.1, exact=True)
        y = vectors.attention(self.queries, scale=0.1)
        centres = tokens.centroids()
        chosen = tokens.select(n=3)
        matched = vectors.match(csls_k=3, source_partitions=[0], filter=mneme.Filter(ids=np.arange(60)))
        return [
            *(found.ids, found.distances, found.values, found.keys, found.successors, found.has_successor,
              found.labels),
            *(more.ids, more.distances, near.ids, near.distances),
            *(p.tokens, p.log_probs, y.outputs, centres.labels, centres.centroids, centres.counts),
            *(chosen.ids, chosen.scores, matched.source_ids, matched.best_targets, matched.target_scores),
            np.array([tokens.count(), vectors.count(filter=mneme.Filter(labels=[2]))]),
        ]

    def change(self, memory, round):
        """Overwrites, deletes and adds; then seals, or trains anew."""
        values = np.arange(ROWS) % 89
        if memory.describe().value_dimension:
            values = self.keys[:, :3] * (round + 2)
        memory.insert(self.keys[::-1], values, ids=np.arange(ROWS) + round * (ROWS // 2))
        memory.delete(ids=np.arange(round, 50 + round))
        memory.delete(sources=[1 + round])
        memory.build(retrain=round > 0)

    def test_every_read_out_sees_what_was_there(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                client = self.serve(f"data-{shards}", "--shards", str(shards)).client
                tokens = self.filled(client, "tokens", vocab_size=100)
                vectors = self.filled(client, "vectors", value="vector", value_dim=3)
                tokens.build()
                with tokens.lease(600) as pinned, vectors.lease(600, partitions="all") as pinned_vectors:
                    # A lease of all partitions reads one of them as well as all.
                    reader = _Default(pinned_vectors, [0])
                    before = self.answers(tokens, vectors)
                    for round in range(3):
                        for now, then in zip(self.answers(pinned, reader), before):
                            np.testing.assert_array_equal(now, then)
                        self.change(tokens, round)
                        self.change(vectors, round)
                    for now, then in zip(self.answers(pinned, reader), before):
                        np.testing.assert_array_equal(now, then)
                    after = self.answers(tokens, vectors)
                    self.assertFalse(all(np.array_equal(now, then) for now, then in zip(after, before)))
                    self.assertEqual(pinned_vectors.count(partitions="all"), 2 * ROWS)
                    self.assertEqual(pinned.query(self.queries, k=1).version, pinned.version)
                client.drop_memory("tokens")
                client.drop_memory("vectors")

    def test_a_decode_stream_reads_the_pinned_version_and_learns_into_the_present(self):
        client = self.serve("data", "--shards", "2").client
        memory = self.filled(client, "tokens", vocab_size=100)
        before = memory.count()
        with memory.lease(60) as pinned, pinned.decode_stream(k=3) as stream:
            first = stream.step(self.queries[:1])
            for _ in range(3):  # each of them would be its own nearest neighbour
                stream.learn([99])
                again = stream.step(self.queries[:1])
                np.testing.assert_array_equal(again.tokens, first.tokens)
                np.testing.assert_array_equal(again.log_probs, first.log_probs)
            stream.wait()
            self.assertEqual(pinned.count(), before)
        self.assertEqual(memory.count(), before + 3)
        self.assertEqual(list(memory.query(self.queries[:1], k=3).values), [99, 99, 99])

    def test_a_lease_ends_by_its_time_by_its_block_and_with_its_server(self):
        server = self.serve("data")
        memory = self.filled(server.client, "tokens", vocab_size=100)
        with memory.lease(0.2) as short:
            short.renew(0.3)
            end = time.monotonic() + 30
            with self.assertRaises(mneme.FailedPrecondition) as raised:
                while time.monotonic() < end:
                    short.count()
            self.assertEqual(raised.exception.reason, "LEASE_EXPIRED")
            self.assertIn("take another", raised.exception.message)
        with memory.lease(60) as given_back:
            given_back.query(self.queries, k=1)
        for call in (
            lambda: given_back.query(self.queries, k=1),
            given_back.select,
            given_back.count,
            given_back.renew,
            given_back.release,
        ):
            with self.assertRaises(mneme.FailedPrecondition) as raised:
                call()
            self.assertEqual(raised.exception.reason, "LEASE_EXPIRED")
        lease = memory.lease(60)
        lease.query(self.queries, k=1)
        server.restart()
        memory = server.client.memory("tokens")
        with self.assertRaises(mneme.FailedPrecondition) as raised:
            memory.query(self.queries, k=1, lease=lease.lease)
        self.assertEqual(raised.exception.reason, "LEASE_EXPIRED")
        self.assertEqual(memory.query(self.queries, k=1).ids.shape, (5,))

    def test_a_lease_stays_with_the_memory_that_an_alias_pointed_to(self):
        client = self.serve("data").client
        self.filled(client, "first", vocab_size=100)
        client.set_alias("live", "first")
        live = client.memory("live")
        with live.lease(60) as pinned:
            before = pinned.query(self.queries, k=4)
            client.replace("live", self.keys, np.full(ROWS, 98), keep_old=True)
            np.testing.assert_array_equal(pinned.query(self.queries, k=4).ids, before.ids)
            self.assertEqual(set(live.query(self.queries, k=4).values), {98})
            client.drop_memory("first")
            with self.assertRaises(mneme.NotFound):
                pinned.query(self.queries, k=4)

    def test_what_it_was_not_taken_for_is_refused(self):
        client = self.serve("data").client
        memory = self.filled(client, "tokens", vocab_size=100)
        with memory.lease(60) as pinned:
            for call in (
                lambda: pinned.query(self.queries, k=1, partitions=[5]),
                lambda: pinned.count(partitions="all"),
                lambda: pinned.select(partitions=[0, 5]),
                lambda: pinned.match(source_partitions=[5]),
            ):
                with self.assertRaises(mneme.InvalidArgument) as raised:
                    call()
                self.assertIn("partitions", raised.exception.violations[0].field)
            with self.assertRaises(mneme.InvalidArgument) as raised:
                pinned.query(self.queries, k=1, version=pinned.version)
            self.assertEqual(raised.exception.violations[0].field, "at_least_version")
        with self.assertRaises(ValueError):
            memory.lease(601)

    def test_a_match_with_a_memory_that_another_lease_holds_is_refused(self):
        client = self.serve("data").client
        memory = self.filled(client, "tokens", vocab_size=100)
        other = self.filled(client, "other", vocab_size=100)
        with memory.lease(60) as pinned, other.lease(60) as source:
            for target in (memory, pinned):
                with self.assertRaisesRegex(ValueError, "'other'.* is pinned"):
                    target.match(source=source)
            self.assertEqual(len(pinned.match(other).best_targets), ROWS)
            self.assertEqual(len(pinned.match(pinned).best_targets), ROWS)

    def test_a_lease_can_be_awaited(self):
        server = self.serve("data")
        self.filled(server.client, "tokens", vocab_size=100)

        async def ask():
            async with mneme.aio.connect(server.address) as client:
                awaited = client.memory("tokens")
                async with awaited.lease(60) as pinned:
                    before = await pinned.query(self.queries, k=4)
                    await awaited.delete(everything=True)
                    again = await pinned.query(self.queries, k=4)
                    np.testing.assert_array_equal(again.ids, before.ids)
                    self.assertEqual(await pinned.count(), ROWS)
                    self.assertGreater(await pinned.renew(30), 0)
                    self.assertEqual(pinned.version, again.version)
                    with self.assertRaisesRegex(ValueError, "is pinned"):  # as mneme.Pinned, also by its keyword
                        await awaited.match(source=pinned)
                self.assertEqual(await awaited.count(), 0)

        asyncio.run(ask())


    def test_a_lease_whose_taking_is_cancelled_is_given_back(self):
        server = self.serve("data")
        memory = self.filled(server.client, "tokens", vocab_size=100)
        begun, go_on, given_back, taken = threading.Event(), threading.Event(), threading.Event(), []
        acquire, release = leasing.acquire, mneme.Pinned.release

        def slowly(*arguments):
            taken.append(acquire(*arguments))
            begun.set()
            go_on.wait(60)
            return taken[0]

        def told(pinned, *arguments):
            release(pinned, *arguments)
            given_back.set()

        async def ask():
            async with mneme.aio.connect(server.address) as client:
                async def enter():
                    async with client.memory("tokens").lease(60):
                        self.fail("it was cancelled")

                entering = asyncio.create_task(enter())
                await asyncio.to_thread(begun.wait, 60)
                entering.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await entering
                go_on.set()
                await asyncio.to_thread(given_back.wait, 10)

        with mock.patch.object(leasing, "acquire", slowly), mock.patch.object(mneme.Pinned, "release", told):
            asyncio.run(ask())
        self.assertTrue(given_back.is_set())
        with self.assertRaises(mneme.FailedPrecondition):
            memory.query(self.queries, k=1, lease=taken[0].lease)


class _Default:
    """Asks with these partitions where none are named."""

    def __init__(self, memory, partitions):
        self._memory, self._partitions = memory, partitions

    def __getattr__(self, name):
        return lambda *given, **options: getattr(self._memory, name)(
            *given, **{"partitions": self._partitions, **options}
        )


if __name__ == "__main__":
    harness.main()
