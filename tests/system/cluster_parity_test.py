"""A front end over two shard processes answers what one process with two shards does: to the byte what is made of the
nearest, to 1e-12 what is summed over all entries."""

from __future__ import annotations

import pathlib
import time
import uuid
from typing import Any, Callable

import cluster
import harness
import mneme
import numpy as np

ROWS, DIM, VOCABULARY, QUERIES = 3_000, 16, 500, 24
# What differs between deployments, or between moments, and is no part of an answer.
IGNORED = frozenset(
    {"version", "coverage", "statistics", "deleted_at_ms", "receipt", "created_ms", "lease", "sequence"}
)

Answers = dict[str, Any]


class Workload:
    """The same calls in the same order, whoever is asked; what each answered, by name."""

    def __init__(self, client: mneme.Client, seed: int) -> None:
        self.client, self.random = client, np.random.default_rng(seed)
        self.exact: Answers = {}
        self.sums: dict[str, Any] = {}
        self._request = 0

    def run(self) -> None:
        self.tokens()
        self.vectors()
        self.given_index()
        self.names()
        self.slots()
        self.sessions()
        self.of_one_shard()

    def keep(self, name: str, answer: Any) -> Any:
        self.exact[name] = cluster.plain(answer, IGNORED)
        return answer

    def request(self) -> str:
        """The same ids in every run: batches without ids go by them."""
        self._request += 1
        return str(uuid.uuid5(uuid.NAMESPACE_OID, str(self._request)))

    def refused(self, name: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except mneme.MnemeError as error:
            self.exact[name] = [type(error).__name__, str(error)]
        else:
            self.exact[name] = "was not refused"

    def normal(self, *shape: int) -> Any:
        return self.random.normal(size=shape).astype(np.float32)

    def tokens(self) -> None:
        memory = self.client.create_memory("wiki", DIM, vocab_size=VOCABULARY)
        keys = self.normal(ROWS, DIM)
        keys[self.random.permutation(ROWS)[: ROWS // 10]] = keys[0]  # ties
        tokens = self.random.integers(0, VOCABULARY, ROWS)
        columns = {"labels": np.arange(ROWS) % 7 - 3, "sources": np.arange(ROWS) // 100, "positions": np.arange(ROWS)}
        got = memory.insert(keys, tokens, ids=np.arange(ROWS), request_id=self.request(), **columns)
        self.keep("inserted", got)
        again = np.arange(0, 300, 3)
        weights = self.random.uniform(0.5, 2.0, len(again)).astype(np.float32)
        got = memory.insert(
            self.normal(len(again), DIM), tokens[again], ids=again, weights=weights, sources=again // 100,
            request_id=self.request(),
        )  # fmt: skip
        self.keep("upserted", got)
        unnamed = memory.insert(self.normal(64, DIM), np.arange(64), request_id=self.request())
        self.keep("ids given", unnamed)
        tenant = memory.insert(self.normal(200, DIM), np.arange(200), ids=np.arange(200), partition=42)
        self.keep("partition", tenant)
        for _ in memory.insert_stream(
            [{"keys": self.normal(50, DIM), "values": np.arange(50), "ids": 10_000 + 50 * i + np.arange(50)}
             for i in range(5)]
        ):  # fmt: skip
            pass
        self.keep("deleted by id", memory.delete(ids=np.arange(500, 540), request_id=self.request()))
        self.keep("deleted by filter", memory.delete(sources=[3], request_id=self.request()))
        for name, given in (("ids", {"ids": [1, 2, 505, 99_999]}), ("labels", {"labels": [2]})):
            self.keep(f"dry run by {name}", memory.delete(dry_run=True, **given))
        version = memory.insert(self.normal(2, DIM), [1, 2], ids=[20_000, 20_001]).version
        self.reads(memory, keys, version)
        memory.build()
        queries = keys[:QUERIES] + np.float32(0.25)
        self.keep("sealed", memory.query(queries, 20, exact=True, with_attributes=True))
        self.keep("counted", memory.count())
        self.keep("statistics", int(memory.statistics().entries))

    def reads(self, memory: mneme.Memory, keys: Any, version: bytes) -> None:
        queries = keys[self.random.integers(0, ROWS, QUERIES)] + np.float32(0.25)
        few = mneme.Filter(labels=[-1, 2], sources=np.arange(20))
        searches: dict[str, dict[str, Any]] = {
            "plain": {},
            "filter": {"filter": few},
            "partition": {"partitions": 42},
            "two partitions": {"partitions": [0, 42]},
            "all partitions": {"partitions": "all"},
            "excluded": {"exclude_ids": np.arange(QUERIES), "exclude_sources": np.arange(QUERIES)},
            "version": {"version": version},
        }
        for name, search in searches.items():
            everything = {"exact": True, "with_keys": True, "with_successors": True, "with_attributes": True}
            self.keep(f"query, {name}", memory.query(queries, 100, **everything, **search))
        offsets = np.arange(QUERIES + 1) * 4
        extra = self.random.integers(0, ROWS, QUERIES * 4)
        for k in (0, 10):
            got = memory.query(queries, k, exact=True, extra=(offsets, extra, extra // 100), with_attributes=True)
            self.keep(f"extra candidates, k {k}", got)
            got = memory.query(queries, k, exact=True, extra=(offsets, extra, extra // 100))
            self.keep(f"extra candidates without attributes, k {k}", got)
        self.keep(
            "distribution",
            memory.distribution(queries, 256, [1.0, 10.0], ks=[16, 256], features=True, top_m=50, exact=True),
        )
        targets = self.random.integers(0, VOCABULARY, QUERIES)
        log_probs = np.full(QUERIES, -3.0, np.float32)
        self.keep(
            "distribution of targets",
            memory.distribution(queries, 64, 10.0, targets=targets, mix=(log_probs, 0.25), exact=True),
        )
        for name, given in (("all", {}), ("some", {"labels": [-3, 0, 99]}), ("filter", {"filter": few})):
            self.sums[f"centroids, {name}"] = memory.centroids(**given)
            self.sums[f"means, {name}"] = memory.centroids(mean=True, **given)
        self.sums["centroids, nearest"] = memory.centroids(nearest=(queries, 30))
        self.refused("a match by distances", lambda: memory.match(source_partitions=42, csls_k=5))
        self.keep("get", memory.get([7, 20_000, 1, 505, 300], with_keys=True, allow_missing=True, version=version))
        self.refused("get of what is not there", lambda: memory.get([1, 505]))
        for name, given in (("all", {"partitions": "all", "with_keys": True}), ("filter", {"filter": few})):
            self.keep(f"scan, {name}", list(memory.scan(page_size=700, **given)))
        for name, search in (("plain", {}), ("filter", {"filter": few}), ("all", {"partitions": "all"})):
            self.keep(f"count, {name}", memory.count(**search))
        self.refused("a version of nobody", lambda: memory.query(queries, 10, version=b"nonsense"))
        with memory.lease(60, partitions=[0, 42]) as pinned:
            memory.insert(self.normal(40, DIM), np.arange(40), ids=np.arange(40), request_id=self.request())
            self.keep("leased query", pinned.query(queries, 50, exact=True, with_successors=True))
            self.keep("leased count", pinned.count())
            self.sums["leased centroids"] = pinned.centroids()
            pinned.renew(30)
        self.keep("after the lease", memory.query(queries, 50, exact=True))
        self.refused("a lease that was released", lambda: pinned.query(queries, 5))
        with memory.decode_stream(64, 10.0, exact=True, allowed=np.arange(0, VOCABULARY, 2)) as stream:
            steps = []
            for i in range(20):
                steps.append(stream.step(queries[i]))
            self.keep("decode stream", steps)

    def vectors(self) -> None:
        memory = self.client.create_memory("slots", 8, metric="cosine", value="vector", value_dim=5)
        keys = self.normal(400, 8)
        memory.insert(
            keys, self.normal(400, 5), ids=np.arange(400), labels=np.arange(400) % 5, scores=np.arange(400) / 7.0
        )  # fmt: skip
        for pool in (1, 2, 3):
            scores = self.random.uniform(size=30)
            memory.insert(self.normal(30, 8), self.normal(30, 5), ids=np.arange(30), partition=pool, scores=scores)
        queries = self.normal(12, 8)
        self.keep("attention, nearest", memory.attention(queries, 20, scale=0.5, with_weights=True, exact=True))
        self.keep("attention, all", memory.attention(queries, scale=0.5, shrink=0.001))
        self.keep("selected", memory.select(partitions=[1, 2, 3], n=3))
        self.keep("drawn", memory.select(partitions=[1, 2, 3], mode="softmax", temperature=0.5, seed=7, n=4))
        self.keep("selected of all", memory.select(n=5))
        other = self.client.create_memory("words", 8, metric="cosine", value="vector", value_dim=5)
        other.insert(self.normal(60, 8), self.normal(60, 5), ids=np.arange(60))
        self.keep("match of two", memory.match("words", csls_k=3))
        self.keep(
            "mixture",
            self.client.mix([("slots", 2.0), ("words", 1.0)]).attention(
                queries, 10, scale=0.5, exact=True
            ),
        )

    def given_index(self) -> None:
        """Centroids and sub-vectors that were trained elsewhere: the codes tell on which a shard was built."""
        memory = self.client.create_memory("coded", DIM, vocab_size=VOCABULARY, index="pq:4")
        keys = self.normal(2_000, DIM)
        memory.insert(keys, np.arange(2_000) % VOCABULARY, ids=np.arange(2_000), request_id=self.request())
        memory.build(centroids=keys[:20], subvectors=self.normal(4 * 256, DIM // 4))
        queries = self.normal(QUERIES, DIM)
        for name, search in (("by codes", {"approximate_distances": True}), ("reranked", {})):
            got = self.keep(f"given index, {name}", memory.query(queries, 10, nprobe=7, **search))
            self.exact[f"given index, {name}, is exact"] = got.statistics.exact
        few = self.client.create_memory("few", DIM, vocab_size=VOCABULARY, index="pq:4")
        few.insert(keys[:100], np.arange(100), ids=np.arange(100))
        self.refused("given index of few", lambda: few.build(centroids=keys[:5]))
        wrong = self.normal(4 * 256, DIM)
        self.refused("sub-vectors of another width", lambda: few.build(centroids=keys[:5], subvectors=wrong))

    def of_one_shard(self) -> None:
        """What one shard has whole: it leaves out of its answers what the read-out does not take."""
        memory = self.client.create_memory("single", DIM, vocab_size=VOCABULARY, spread="one")
        keys, ids = self.normal(1_000, DIM), np.arange(1_000) << 33
        tokens = self.random.integers(0, VOCABULARY, 1_000)
        memory.insert(keys, tokens, ids=ids, request_id=self.request())
        memory.insert(self.normal(50, DIM), tokens[:50], request_id=self.request())
        weights = self.random.uniform(0.5, 2.0, 50).astype(np.float32)
        memory.insert(keys[:50], tokens[:50], ids=ids[:50], weights=weights, partition=7, request_id=self.request())
        queries = keys[:QUERIES] + np.float32(0.25)
        queries[0] = keys[0]
        extra = (np.arange(QUERIES + 1) * 2, ids[self.random.integers(0, 1_000, QUERIES * 2)])
        searches: dict[str, dict[str, Any]] = {
            "plain": {},
            "partition": {"partitions": 7},
            "all partitions": {"partitions": "all"},
            "extra candidates": {"extra": extra},
        }
        for precision in ("double", "single"):
            for name, search in searches.items():
                how = {"exact": True, "precision": precision, **search}
                name = f"of one shard, {name}, {precision}"
                self.keep(name, memory.query(queries, 100, **how))
                self.keep(f"{name}, successors", memory.query(queries, 100, with_successors=True, **how))
                self.keep(f"{name}, attributes", memory.query(queries, 100, with_attributes=True, **how))
                self.keep(f"{name}, distributions", memory.distribution(queries, 100, [1.0, 9.0], **how))
                self.read_out(memory, queries, name, how)
        slots = self.client.create_memory("single-slots", 8, value="vector", value_dim=5, spread="one")
        slots.insert(self.normal(400, 8), self.normal(400, 5), ids=np.arange(400), request_id=self.request())
        rows = self.normal(12, 8)
        self.keep("of one shard, attention", slots.attention(rows, 20, with_weights=True, exact=True))
        self.keep("of one shard, attention, all", slots.attention(rows, shrink=0.001))

    def read_out(self, memory: mneme.Memory, queries: Any, name: str, how: dict[str, Any]) -> None:
        """Distributions that the shard makes itself, unless candidates are added to what it finds."""
        even = np.arange(0, VOCABULARY, 2)
        targets = even[np.arange(QUERIES) % len(even)]
        log_probs = np.full(QUERIES, -3.0, np.float32)
        self.keep(f"{name}, distribution", memory.distribution(queries, 100, 9.0, **how))
        self.keep(f"{name}, distribution, more than there are", memory.distribution(queries, 3_000, 9.0, **how))
        self.keep(f"{name}, distribution, masked", memory.distribution(queries, 100, 9.0, allowed=even, **how))
        got = memory.distribution(queries, 100, 9.0, ks=[5, 100], targets=targets, mix=(log_probs, 0.25), **how)
        self.keep(f"{name}, distribution, of targets", got)
        self.keep(f"{name}, distribution, cut", memory.distribution(queries, 100, [1.0, 9.0], top_m=7, **how))

    def names(self) -> None:
        client = self.client
        for name in ("a", "b"):
            memory = client.create_memory(name, 2, vocab_size=10)
            memory.insert(np.eye(2, dtype=np.float32), [1, 2], ids=[0, 1 if name == "a" else 2])
        self.exact["alias made"] = client.set_alias("live", "a")
        self.keep("through an alias", client.memory("live").get([0, 1]))
        self.exact["alias swung"] = client.set_alias("live", "b", expected="a")
        self.refused("swung again", lambda: client.set_alias("live", "b", expected="a"))
        self.keep("through it again", client.memory("live").get([0, 2]))
        self.exact["aliases"] = client.aliases()
        self.refused("drop of what an alias has", lambda: client.drop_memory("b"))
        self.refused("create of a name that is taken", lambda: client.create_memory("live", 2))
        client.drop_alias("live")
        client.drop_memory("b")
        self.refused("query of what was dropped", lambda: client.memory("b").query(np.zeros((1, 2)), 1))
        self.refused("drop of what was dropped", lambda: client.drop_memory("b"))
        self.exact["memories"] = [memory.name for memory in client.memories()]

    def slots(self) -> None:
        memory = self.client.create_memory("rare", 6, metric="cosine", vocab_size=50, capacity=20)
        answers = []
        for i in range(6):
            queries = self.normal(8, 6)
            answers.append(
                memory.remember(queries, self.random.integers(0, 50, 8), mask=True, request_id=self.request())
            )
        self.keep("remembered", answers)
        self.keep("recalled", memory.remember(self.normal(4, 6), learn=False))
        self.keep("slots", memory.count())

    def sessions(self) -> None:
        memory = self.client.create_memory("agents", 4, vocab_size=10)
        names = [f"agent{i}" for i in range(6)]
        for name in names:
            session = memory.session(name)
            self.keep(f"{name} put", session.put("draft", name.encode()))
            self.keep(f"{name} swapped", session.cas("draft", 1, b"next"))
            self.refused(f"{name} swapped too late", lambda session=session: session.cas("draft", 1, b"lost"))
            keys, values = self.normal(5, 4), self.normal(5, 3)
            self.keep(f"{name} linear", session.linear("m", keys, values, keys, rule="delta"))
            self.keep(f"{name} linear state", session.linear_state("m"))
            for block in range(3):
                rows = [self.normal(4, 3) for _ in range(6)]
                fam = dict(zip(("fam_queries", "fam_keys", "fam_values"), rows[3:]))
                self.keep(f"{name} block {block}", session.attend("f", block, *rows[:3], ring_blocks=2, **fam))
            self.keep(f"{name} feedback", session.feedback_state("f"))
            rows, columns = self.random.integers(0, 9, 40), self.random.integers(0, 9, 40)
            self.keep(f"{name} counted", session.count("pairs", rows, columns))
            self.keep(f"{name} counts", session.counts("pairs", [1, 2, 3]))
            session.fork(f"{name}/beam1").put("draft", b"of the beam")
            self.keep(f"{name} export", session.export())
        batch = [mneme.working.get(name, "draft") for name in (*names, "agent0/beam1", "nobody")]
        self.keep("read in one batch", memory.apply(batch))
        batch = [mneme.working.put(name, "note", b"x") for name in names]
        self.keep("written in one batch", memory.apply(batch))
        content = memory.session("agent0").export()
        memory.session("moved").load(content)
        self.keep("moved", memory.session("moved").export() == content)
        self.keep("listed", [[each.session, each.states] for each in memory.sessions("agent")])
        self.keep("reset", memory.reset_sessions(["agent1", "agent2", "nobody"]))
        self.keep("listed again", [each.session for each in memory.sessions()])


class Rewritten:
    """Prunes, guarded and not, and exports, whoever is asked: what each came to, what is then there, and the files."""

    ROWS = 3_000

    def __init__(self, client: mneme.Client, folder: pathlib.Path, seed: int) -> None:
        self.client, self.folder, self.random = client, folder, np.random.default_rng(seed)
        self.exact: Answers = {}

    def keep(self, name: str, answer: Any) -> Any:
        self.exact[name] = cluster.plain(answer, IGNORED)
        return answer

    def run(self) -> None:
        half = self.ROWS // 2
        keys = self.random.normal(size=(self.ROWS, 8)).astype(np.float32)
        keys[half:] = keys[:half] + np.float32(0.01)
        tokens = np.arange(self.ROWS) % half % 20
        memory = self.client.create_memory("spread", 8, vocab_size=50)
        memory.insert(keys, tokens, ids=np.arange(self.ROWS), request_id="rows")
        for batch in range(4):  # each whole on a shard, which gives the ids
            memory.insert(np.repeat(keys[:20], 3, axis=0), np.full(60, 30 + batch), request_id=f"unnamed {batch}")
        queries = keys[:300] + self.random.normal(size=(300, 8)).astype(np.float32) * np.float32(0.3)
        self.prune(memory, "spread", queries, tokens[:300])
        self.keep("found", memory.query(queries, 30, exact=True, with_attributes=True))
        self.keep("scanned", list(memory.scan(with_keys=True)))
        whole = self.client.create_memory("whole", 8, vocab_size=50, spread="one")
        whole.insert(keys, tokens, ids=np.arange(self.ROWS), request_id="whole")
        self.prune(whole, "whole", queries, tokens[:300])
        self.export(memory, keys)

    def prune(self, memory: mneme.Memory, name: str, queries: Any, targets: Any) -> None:
        def guard(rise: float) -> mneme.PruneGuard:
            return mneme.PruneGuard(queries, targets, np.full(300, -3.0, np.float32), 40, 0.5, 0.4, rise)

        search = mneme.Search(exact=True)
        dry = memory.prune(4, guard=guard(0.0), dry_run=True, search=search)
        self.keep(f"{name}, would be", dry)
        rise = dry.perplexity_after - dry.perplexity_before
        if rise > 0:  # else no guard can refuse
            try:
                memory.prune(4, guard=guard(rise / 2), search=search)
            except mneme.FailedPrecondition as error:
                self.exact[f"{name}, refused"] = str(error)
            self.keep(f"{name}, nothing was written", memory.count())
        self.keep(f"{name}, done", memory.prune(4, guard=guard(abs(rise) + 1.0), search=search))
        self.keep(f"{name}, again", memory.prune(9, search=search))
        self.keep(f"{name}, left", memory.count())

    def export(self, memory: mneme.Memory, keys: Any) -> None:
        memory.build()
        written = memory.export_index(self.folder / "own.faiss")
        self.exact["own lists"] = (written.rows, written.lists, (self.folder / "own.faiss").read_bytes())
        memory.build(centroids=keys[:16])
        written = memory.export_index(self.folder / "given.faiss")
        self.exact["given lists"] = (written.rows, written.lists, (self.folder / "given.faiss").read_bytes())
        few = self.client.create_memory("few", 4, vocab_size=50)
        try:
            few.export_index(self.folder / "none.faiss")
        except mneme.FailedPrecondition as error:
            self.exact["no index"] = str(error)
        self.keep("nothing was left", [path.name for path in self.folder.glob("none*")])
        # However they fall, one of two shards has the 256 entries that an index needs, and the other has not; of four
        # none has.
        few.insert(keys[:511, :4], np.zeros(511, np.uint32), ids=np.arange(511))
        few.build()
        try:
            written = few.export_index(self.folder / "few.faiss")
            self.exact["few"] = (written.rows, (self.folder / "few.faiss").read_bytes())
        except mneme.FailedPrecondition as error:
            self.exact["few"] = str(error)


class ClusterParity(cluster.ClusterTest):
    maxDiff = 4_000

    def test_a_front_end_over_shard_processes_answers_as_one_process_does(self):
        for shards in (1, 2):
            with self.subTest(shards=shards):
                self.compare(shards)

    def compare(self, shards: int) -> None:
        one = Workload(self.serve(f"whole-{shards}", "--shards", str(shards)).client, harness.SEED)
        one.run()
        several = Workload(self.start_cluster(shards=shards, name=f"parts-{shards}").client, harness.SEED)
        several.run()
        self.assertEqual(list(several.exact), list(one.exact))
        self.assertGreater(len(one.exact), 170)
        self.assertNotIn("was not refused", one.exact.values())
        for name, answer in one.exact.items():
            with self.subTest(name):
                self.assertEqual(several.exact[name], answer)
        for name, answer in one.sums.items():
            with self.subTest(name):
                np.testing.assert_array_equal(several.sums[name].labels, answer.labels)
                np.testing.assert_array_equal(several.sums[name].counts, answer.counts)
                np.testing.assert_allclose(several.sums[name].centroids, answer.centroids, rtol=1e-12, atol=1e-12)
        harness.note(f"{len(one.exact)} answers equal to the byte, {len(one.sums)} sums to 1e-12")

    def test_prunes_and_exports_come_to_the_same(self):
        for shards in (2, 4):
            folders = [self.scratch / f"{who}-{shards}" for who in ("one", "several")]
            for folder in folders:
                folder.mkdir()
            one = Rewritten(self.serve(f"one-of-{shards}", "--shards", str(shards)).client, folders[0], harness.SEED)
            one.run()
            deployment = self.start_cluster(shards=shards, name=f"cluster-{shards}")
            several = Rewritten(deployment.client, folders[1], harness.SEED)
            several.run()
            self.assertEqual(list(several.exact), list(one.exact))
            for name, answer in one.exact.items():
                with self.subTest(f"{name}, {shards} shards"):
                    self.assertEqual(several.exact[name], answer)
            again = folders[1] / "by-the-command-line.faiss"
            deployment.front_ends[0].cli("export", "spread", "--faiss", again)
            self.assertEqual(again.read_bytes(), (folders[1] / "given.faiss").read_bytes())
            end = time.monotonic() + 20  # a call gives its lease back, be it a moment later
            while any(shard.metrics()["mneme_leases"] for shard in deployment.shards):
                self.assertLess(time.monotonic(), end, "an export left a lease")
                time.sleep(0.05)


if __name__ == "__main__":
    harness.main()
