"""Working memory over the wire: flip-flop strings without a glitch, through kill -9 and with two clients; what a retry
and a failed operation do. Goldens of the papers' states."""

import threading
import time

import harness
import mneme
import numpy as np
from flip_flop import SplitMix, flip_flop
from mneme import working


class WorkingMemory(harness.SystemTest):
    def memory(self, shards, name="data"):
        server = self.serve(f"{name}{shards}", "--shards", str(shards))
        return server, server.client.create_memory("wm", 2)

    def test_flip_flop_reads_are_exact_through_a_kill(self):
        sequences = 1000 if harness.FULL else 60
        for shards, p_ignore in ((1, 0.1), (4, 0.8), (4, 0.98)):
            with self.subTest(shards=shards, p_ignore=p_ignore):
                server, memory = self.memory(shards, f"ffl{int(p_ignore * 100)}-")
                random = SplitMix(7)
                strings = [flip_flop(random, p_ignore) for _ in range(sequences)]
                reads = glitches = 0
                kills = {64, 200}
                for at in range(256):
                    if at in kills:  # everything was acknowledged: nothing may be lost, and versions go on
                        server.kill()
                        server.start()
                        memory = server.client.memory("wm")
                    operations, expected = [], []
                    for number, string in enumerate(strings):
                        instruction, bit = string[at]
                        if instruction == "w":
                            operations.append(working.put(f"ffl{number}", "cell", bytes([bit])))
                            expected.append(None)
                        elif instruction == "r":
                            operations.append(working.get(f"ffl{number}", "cell"))
                            expected.append(bit)
                    if not operations:
                        continue
                    durability = "sync" if at + 1 in kills else "written"
                    for state, bit in zip(memory.apply(operations, durability=durability), expected):
                        self.assertIsNone(state.error)
                        if bit is not None:
                            reads += 1
                            glitches += state.value != bytes([bit])
                harness.note(f"FFL({p_ignore}), {shards} shards: {glitches} glitches in {reads:,} reads")
                self.assertGreater(reads, 0)
                self.assertEqual(glitches, 0)
                self.assertEqual(sum(1 for _ in memory.sessions("ffl")), sequences)
                server.kill()

    def test_two_clients_write_one_counter_by_compare_and_set(self):
        server, memory = self.memory(2)
        clients = [mneme.connect(server.address) for _ in range(2)]
        lost = []

        def add(client):
            session = client.memory("wm").session("shared")
            for _ in range(40):
                while True:
                    state = session.get("sum")
                    try:
                        session.cas("sum", state.version, str(int(state.value or b"0") + 1).encode())
                        break
                    except mneme.Aborted:
                        lost.append(1)

        threads = [threading.Thread(target=add, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = memory.session("shared").get("sum")
        self.assertEqual((int(state.value), state.version), (80, 80))
        harness.note(f"80 increments by two clients, {len(lost)} lost races")

    def test_a_failed_operation_takes_only_its_session_along(self):
        _, memory = self.memory(4)
        answers = memory.apply(
            [working.put("a", "x", b"1"), working.cas("a", "y", 3, b"2"), working.put("b", "x", b"3")]
        )
        self.assertIsInstance(answers[1].error, mneme.Aborted)
        self.assertEqual([each.error is None for each in answers], [False, False, True])
        self.assertIsNone(memory.session("a").get("x").value)
        self.assertEqual(memory.session("b").get("x").value, b"3")
        with self.assertRaises(mneme.Aborted):
            memory.session("b").cas("x", 7, b"")
        self.assertEqual(memory.reset_sessions(["a", "b"]), 1)

    def test_a_retry_is_applied_once(self):
        server, memory = self.memory(1)
        operations = [working.put("s", "x", b"1"), working.get("s", "x")]
        first = memory.apply(operations, request_id="once")
        memory.session("s").put("x", b"2")
        server.kill()
        server.start()
        memory = server.client.memory("wm")
        self.assertEqual(memory.apply(operations, request_id="once"), first)
        self.assertEqual(memory.session("s").get("x").value, b"2")

    def test_what_expired_goes_by_itself_after_a_crash_too(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                server = self.serve(f"expiry{shards}", "--shards", str(shards))
                memory = server.client.create_memory("wm", 2)
                # The first look at a shard removes at once what is past, those after it ten seconds later.
                past = int(time.time() * 1000) - 20_000
                memory.apply([working.put(f"first{i}", "x", b"1") for i in range(40)], session_expiry_ms=past)
                self.await_expired(server, (40, 0))
                soon = int(time.time() * 1000)
                memory.apply([working.put(f"goes{i}", "x", b"1") for i in range(200)], session_expiry_ms=soon)
                memory.apply([working.put(f"stays{i}", "x", b"1") for i in range(20)])
                memory.session("stays7").put("y", bytes(1_000), expiry_ms=soon)
                self.assertFalse(memory.session("stays7").get("y").found)
                self.assertEqual(sum(1 for _ in memory.sessions()), 20)
                self.assertEqual(next(memory.sessions("stays7")).states, 2)
                server.kill()
                server.start()
                self.await_expired(server, (200, 1))
                memory = server.client.memory("wm")
                self.assertEqual(sum(1 for _ in memory.sessions()), 20)
                self.assertEqual(next(memory.sessions("stays7")).states, 1)
                self.assertEqual(memory.session("goes7").put("x", b"2").version, 1)
                self.assertEqual(memory.session("stays7").put("y", b"2").version, 1)
                server.kill()

    def await_expired(self, server, wanted):
        end = time.monotonic() + 60
        while (gone := self.expired(server)) != wanted:
            self.assertLess(time.monotonic(), end, gone)
            time.sleep(0.05)

    @staticmethod
    def expired(server):
        """(sessions, states) that the server removed since it started."""
        metrics = server.metrics()
        return tuple(int(metrics[f"mneme_expired_{what}_total"]) for what in ("sessions", "states"))

    def near(self, got, want):
        self.assertLess(float(np.abs(np.asarray(got, np.float64) - np.asarray(want)).max()), 1e-6)

    def test_goldens_of_infini_attention(self):
        for shards in (1, 4):
            server, memory = self.memory(shards, "infini")
            for rule in ("linear", "delta"):
                head = memory.session(f"infini-{rule}")
                empty = head.linear("head", queries=[[0.5, -0.5]], value_dim=2)
                self.assertFalse(empty.found)
                self.near(empty.value, [[0, 0]])
                wrote = head.linear("head", [[1.0, 0], [0, -1]], [[1.0, 2], [3, 4]], [[0.5, -0.5]], rule="linear")
                self.near(wrote.value, [[0, 0]])  # read before the write
                state = head.linear_state("head")
                self.near(state.matrix, [[5, 8], [2.1036383235, 3.4715177647]])
                self.near(state.normaliser, [3, 1.3678794412])
                self.near(head.linear("head", queries=[[0.5, -0.5]]).value, [[1.6466190695, 2.6466190695]])
                server.kill()
                server.start()
                memory = server.client.memory("wm")
                head = memory.session(f"infini-{rule}")
                last = head.linear("head", [[1.0, 0]], [[5.0, 6]], [[1.0, 0]], rule=rule, order="write_then_read")
                state = head.linear_state("head")
                self.assertEqual((last.version, state.tokens), (2, 3))
                self.near(state.normaliser, [5, 2.3678794412])
                if rule == "linear":
                    self.near(state.matrix, [[15, 20], [7.1036383235, 9.4715177647]])
                    self.near(last.value, [[3, 4]])
                else:
                    self.near(state.matrix, [[11.7144852409, 14.7144852409], [5.4608809440, 6.8287603851]])
                    self.near(last.value, [[2.3358775094, 2.9316044872]])
                with self.assertRaisesRegex(mneme.FailedPrecondition, "keys of 2 and values of 2"):
                    head.linear("head", [[1.0, 0, 0]], [[5.0, 6]])
                with self.assertRaisesRegex(mneme.FailedPrecondition, "not a register"):
                    head.get("head")

    def test_a_passkey_is_read_behind_a_hundred_thousand_tokens(self):
        _, memory = self.memory(2)
        head, digits = memory.session("passkey"), [7, 1, 3, 3, 9]
        # Five places that fillers do not touch: with sigma = exp below 0, a key of -40 is as good as 0.
        keys = np.full((5, 16), -40.0, np.float32)
        keys[np.arange(5), np.arange(5)] = 8.0
        head.linear("head", keys, np.eye(10, dtype=np.float32)[digits])
        for _ in range(10):
            fillers = np.full((10_000, 16), -40.0, np.float32)
            fillers[:, 5:] = self.random.normal(size=(10_000, 11))
            head.linear("head", fillers, self.random.normal(size=(10_000, 10)).astype(np.float32))
        self.assertEqual(head.linear("head", queries=keys).value.argmax(1).tolist(), digits)
        self.assertEqual(head.linear_state("head").tokens, 100_005)
        self.assertLess(next(memory.sessions("passkey")).bytes, 2_000)

    def test_goldens_of_transformer_fam(self):
        for shards in (1, 4):
            server, memory = self.memory(shards, "fam")
            queries, keys = [[1.0, 1], [2, 0]], [[1.0, 0], [0, 1]]
            head = memory.session("first")
            tokens, fam = head.attend("head", 0, queries, keys, keys, fam_queries=[[1.0, -1]]).value
            self.near(tokens, [[1, 0], [0.804429682507, 0.195570317493]])
            self.near(fam, [[0.804429682507, 0.195570317493]])

            head = memory.session("golden")
            head.attend("head", 0, [[1.0, 0]], [[-1.0, 0]], [[3.0, 3]], ring_blocks=1)
            block = dict(
                fam_queries=[[1.0, -1]], fam_keys=[[0.5, 0.5]], fam_values=[[0.25, 0.75]], ring_blocks=1
            )
            first = head.attend("head", 1, queries, keys, keys, **block)
            self.near(first.value[0], [[0.882410698889, 0.659506560935], [0.724442047360, 0.440171212792]])
            self.near(first.value[1], [[0.646974197651, 0.353025802349]])
            server.kill()
            server.start()
            head = server.client.memory("wm").session("golden")
            again = head.attend("head", 1, queries, keys, keys, **block)
            self.assertEqual(again.version, first.version)
            self.assertTrue((again.value[0] == first.value[0]).all())
            for index, other in ((3, queries), (1, [[9.0, 9], [2, 0]])):
                with self.assertRaisesRegex(mneme.FailedPrecondition, "block_index"):
                    head.attend("head", index, other, keys, keys, **block)
            state = head.feedback_state("head")
            self.assertEqual((state.last_block, state.ring_offsets.tolist()), (1, [0, 2]))
            self.near(state.ring_keys, keys)
            self.near(state.fam_values, [[0.25, 0.75]])

    def test_beams_fork_move_and_survive(self):
        server, memory = self.memory(4)
        chat = memory.session("chat42")
        chat.put("mode", b"draft")
        chat.linear("head", [[1.0, 0], [0, -1]], [[1.0, 2], [3, 4]])
        beams = [chat.fork(f"chat42/beam{i}") for i in range(4)]
        for number, beam in enumerate(beams):
            beam.put("mode", bytes([number]))
        server.kill()
        server.start()
        memory = server.client.memory("wm")
        modes = [memory.session(f"chat42/beam{i}").get("mode").value for i in range(4)]
        self.assertEqual(modes, [b"\0", b"\1", b"\2", b"\3"])
        self.assertEqual(memory.session("chat42").get("mode").value, b"draft")
        self.near(memory.session("chat42/beam3").linear_state("head").normaliser, [3, 1.3678794412])
        with self.assertRaises(mneme.AlreadyExists):
            memory.session("chat42").fork("chat42/beam1")
        with self.assertRaisesRegex(mneme.InvalidArgument, "root"):
            memory.session("chat42").fork("chat43")
        with self.assertRaises(mneme.NotFound):
            memory.session("nobody").export()
        # To another deployment of another number of shards.
        other = self.serve("elsewhere", "--shards", "1").client.create_memory("wm", 2)
        moved = other.session("moved")
        moved.load(memory.session("chat42/beam2").export())
        self.assertEqual(moved.get("mode"), memory.session("chat42/beam2").get("mode"))
        self.near(moved.linear("head", queries=[[0.5, -0.5]]).value, [[1.6466190695, 2.6466190695]])
        with self.assertRaisesRegex(mneme.InvalidArgument, "content"):
            moved.load(b"no session")

    def test_counts_add_up(self):
        server, memory = self.memory(4)
        counts, expected = memory.session("counts"), np.zeros((50, 40), np.int64)
        for _ in range(20):
            rows, columns = self.random.integers(0, 50, 300), self.random.integers(0, 40, 300)
            added = self.random.integers(-2, 5, 300)
            counts.count("cooc", rows, columns, added)
            np.add.at(expected, (rows, columns), added)
        counts.count("cooc", [7, 7], [3, 3])
        expected[7, 3] += 2
        server.kill()
        server.start()
        counts = server.client.memory("wm").session("counts")
        whole, some = counts.counts("cooc"), counts.counts("cooc", [9, 1_000, 7])
        dense = np.zeros_like(expected)
        dense[np.repeat(whole.rows, np.diff(whole.offsets).astype(int)), whole.columns] = whole.counts
        self.assertTrue((dense == expected).all())
        self.assertTrue((whole.counts != 0).all())
        self.assertEqual(some.rows.tolist(), [9, 1_000, 7])
        at = some.offsets.astype(int)
        self.assertEqual(at[1], at[2])
        self.assertEqual(some.counts[at[2] :].tolist(), expected[7][expected[7] != 0].tolist())


if __name__ == "__main__":
    harness.main()
