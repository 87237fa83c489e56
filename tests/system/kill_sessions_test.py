"""kill -9 of the real server while many sessions are written to: registers, compare-and-set, counters, delta rule,
feedback and learned writes. Who is refused for want of a server asks again under the same request id. In the end
everything is as twins have it: nothing acknowledged is lost, nothing is applied twice, each session's order is kept."""

import threading
import time
import unittest.mock

import harness
import mneme
import numpy as np
from flip_flop import SplitMix, flip_flop
from mneme import working

KILLS = 60 if harness.FULL else 6
WORKERS = 8
SESSIONS = 3  # of each worker
DK, DV, SLOTS = 4, 3, 40


def sigma(x):
    return np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))


class Twin:
    """What one session must hold."""

    def __init__(self):
        self.steps, self.counts = 0, np.zeros((30, 20), np.int64)
        self.matrix, self.normaliser = np.zeros((DK, DV)), np.zeros(DK)
        self.blocks = []

    def delta(self, keys, values):
        keys = sigma(keys.astype(np.float64))
        held = keys @ self.matrix / np.maximum(keys @ self.normaliser, 1e-10)[:, None]
        self.matrix = self.matrix + keys.T @ (values - held)
        self.normaliser = self.normaliser + keys.sum(0)


class Worker(threading.Thread):
    """Writes to its sessions until it is told to stop; `failure` is what went wrong."""

    def __init__(self, number, address, going):
        super().__init__()
        self.number, self.going, self.failure = number, going, None
        self.random = np.random.default_rng([harness.SEED, number])
        client = mneme.connect(address, timeout=300, attempts=100_000)
        self.memory, self.slots = client.memory("wm"), client.memory("slots")
        self.twins = {f"worker{number}-{i}": Twin() for i in range(SESSIONS)}
        self.shared, self.remembered, self.calls = np.zeros(WORKERS, np.int64), [], 0

    def run(self):
        try:
            while self.going.is_set():
                self.step()
        except Exception as error:
            self.failure = error

    def step(self):
        durability = ("sync", "written")[self.calls % 2]
        operations, expected = [], []
        for session, twin in self.twins.items():
            rows, columns = self.random.integers(0, 30, 5), self.random.integers(0, 20, 5)
            added = self.random.integers(-2, 4, 5)
            keys = self.random.normal(size=(3, DK)).astype(np.float32)
            values = self.random.normal(size=(3, DV)).astype(np.float32)
            block = self.random.normal(size=(3, 2, DK)).astype(np.float32)
            operations += [
                # Only the next step fits: another order, a loss or a second time is a mismatch.
                working.cas(session, "order", twin.steps, str(twin.steps).encode()),
                working.put(session, "last", str(twin.steps).encode()),
                working.count(session, "cooc", rows, columns, added),
                working.linear(session, "head", keys, values, rule="delta"),
                working.attend(session, "fam", twin.steps, *block, fam_queries=block[0][:1], ring_blocks=2),
                working.get(session, "last"),
            ]
            expected += [twin.steps + 1] * 6
            np.add.at(twin.counts, (rows, columns), added)
            twin.delta(keys, values)
            twin.blocks.append(block)
            twin.steps += 1
        operations.append(working.count("shared", "sum", [0], [self.number]))
        self.shared[self.number] += 1
        answers = self.memory.apply(operations, durability=durability)
        for answer, version in zip(answers, expected):
            assert answer.error is None, answer.error
            assert answer.version == version, f"version {answer.version}, not {version}"
        assert answers[-1].error is None, answers[-1].error
        queries, labels = self.random.normal(size=(2, 6)), self.random.integers(0, 9, 2)
        self.slots.remember(queries, labels, partition=1 + self.number, durability=durability)
        self.remembered.append((queries, labels))
        self.calls += 1


class KillSessions(harness.SystemTest):
    def kill_again_and_again(self, server, threads, moments):
        """Kills the server at each moment, which is waited for, while the threads run, and then waits for their end,
        after what the caller does in between."""
        pauses, pause = [], mneme.calls.Caller._pause

        def counted(caller, error, attempt):
            pauses.append(attempt == 1)
            return pause(caller, error, attempt)

        with unittest.mock.patch.object(mneme.calls.Caller, "_pause", counted):
            for thread in threads:
                thread.start()
            for moment in moments:
                moment()
                server.kill()
                server.start()
            yield
            for thread in threads:
                thread.join(300)
        harness.note(f"{len(moments)} kills, {sum(pauses)} calls asked again")
        self.assertGreater(sum(pauses), 0)

    def test_nothing_acknowledged_is_lost_or_applied_twice(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                server = self.serve(f"data{shards}", "--shards", str(shards))
                server.listen = server.address
                server.client.create_memory("wm", 2)
                server.client.create_memory("slots", 6, metric="cosine", capacity=SLOTS)
                going = threading.Event()
                going.set()
                workers = [Worker(number, server.address, going) for number in range(WORKERS)]
                # The moment of the kill is the point of this test.
                soon = [lambda: time.sleep(self.random.uniform(0.2, 0.8))] * KILLS
                for _ in self.kill_again_and_again(server, workers, soon):
                    going.clear()
                for worker in workers:
                    self.assertFalse(worker.is_alive(), "a worker never ended")
                    if worker.failure is not None:
                        raise worker.failure
                server.kill()
                server.start()
                self.check(server.client, workers)
                steps = sum(worker.calls for worker in workers)
                harness.note(
                    f"{shards} shards: {steps * (6 * SESSIONS + 1):,} operations of {WORKERS * SESSIONS} sessions, "
                    f"{2 * steps:,} learned writes; 0 lost, 0 twice"
                )
                self.assertGreater(steps, 5 * WORKERS)
                server.kill()

    def check(self, client, workers):
        memory, twins = client.memory("wm"), client.create_memory("twins", 6, metric="cosine", capacity=SLOTS)
        for worker in workers:
            for session, twin in worker.twins.items():
                self.check_session(memory, memory.session(session), twin)
            partition = 1 + worker.number
            for queries, labels in worker.remembered:
                twins.remember(queries, labels, partition=partition, durability="written")
            got, want = (
                each.get(np.arange(SLOTS), with_keys=True, partition=partition, allow_missing=True)
                for each in (client.memory("slots"), twins)
            )
            self.assertEqual(got.ids.tolist(), want.ids.tolist())
            np.testing.assert_array_equal(got.keys, want.keys)
            self.assertEqual(got.labels.tolist(), want.labels.tolist())
            self.assertEqual(got.positions.tolist(), want.positions.tolist())
        shared = memory.session("shared").counts("sum")
        self.assertEqual(shared.counts.tolist(), sum(worker.shared for worker in workers).tolist())

    def check_session(self, memory, session, twin):
        order = session.get("order")
        self.assertEqual((order.version, int(order.value)), (twin.steps, twin.steps - 1))
        self.assertEqual(session.get("last").version, twin.steps)
        cells, dense = session.counts("cooc"), np.zeros_like(twin.counts)
        dense[np.repeat(cells.rows, np.diff(cells.offsets).astype(int)), cells.columns] = cells.counts
        np.testing.assert_array_equal(dense, twin.counts)
        head = session.linear_state("head")
        self.assertEqual(head.tokens, 3 * twin.steps)
        np.testing.assert_allclose(head.matrix, twin.matrix, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(head.normaliser, twin.normaliser, rtol=1e-9)
        again = memory.session(session.name + "/twin", durability="written")
        again.reset()
        for start in range(0, twin.steps, 500):
            blocks = enumerate(twin.blocks[start : start + 500], start)
            memory.apply(
                [
                    working.attend(again.name, "fam", at, *block, fam_queries=block[0][:1], ring_blocks=2)
                    for at, block in blocks
                ]
            )
        got, want = session.feedback_state("fam"), again.feedback_state("fam")
        self.assertEqual(got.last_block, twin.steps - 1)
        for name in ("ring_keys", "ring_values", "ring_offsets", "fam_keys", "fam_values"):
            np.testing.assert_array_equal(getattr(got, name), getattr(want, name))

    def test_flip_flop_has_no_glitch_in_concurrent_sessions_through_kills(self):
        for shards, p_ignore in ((1, 0.1), (4, 0.8), (4, 0.98)):
            with self.subTest(shards=shards, p_ignore=p_ignore):
                server = self.serve(f"ffl{int(p_ignore * 100)}", "--shards", str(shards))
                server.listen = server.address
                server.client.create_memory("wm", 2)
                random, failures, reads, at_step = SplitMix(7), [], [0] * WORKERS, [0] * WORKERS
                strings = [flip_flop(random, p_ignore) for _ in range(WORKERS * (125 if harness.FULL else 16))]

                def play(number):
                    memory = mneme.connect(server.address, timeout=300, attempts=100_000).memory("wm")
                    own = range(number, len(strings), WORKERS)
                    try:
                        for at in range(256):
                            at_step[number] = at
                            steps = [(f"ffl{string}", *strings[string][at]) for string in own]
                            asked = [each for each in steps if each[1] != "i"]
                            operations = [
                                working.put(session, "cell", bytes([bit]))
                                if instruction == "w"
                                else working.get(session, "cell")
                                for session, instruction, bit in asked
                            ]
                            answers = memory.apply(operations, durability="written") if operations else []
                            for (session, instruction, bit), answer in zip(asked, answers):
                                if answer.error is not None:
                                    failures.append(answer.error)
                                elif instruction == "r":
                                    reads[number] += 1
                                    if answer.value != bytes([bit]):
                                        failures.append(f"{session}[{at}] read {answer.value}, not {bit}")
                    except Exception as error:
                        failures.append(error)

                threads = [threading.Thread(target=play, args=(number,)) for number in range(WORKERS)]

                def reached(step):
                    while max(at_step) < step and any(thread.is_alive() for thread in threads):
                        time.sleep(0.001)

                moments = [lambda: reached(60), lambda: reached(150)]
                for _ in self.kill_again_and_again(server, threads, moments):
                    pass
                self.assertFalse(any(thread.is_alive() for thread in threads))
                self.assertEqual(failures[:3], [])
                self.assertGreater(sum(reads), 0)
                harness.note(f"FFL({p_ignore}), {shards} shards: 0 glitches in {sum(reads):,} concurrent reads")
                server.kill()


if __name__ == "__main__":
    harness.main()
