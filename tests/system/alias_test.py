"""A memory is replaced behind an alias while it is read: every answer is of one memory, and none is an error."""

import threading
import time

import harness
import mneme
import numpy as np

ROWS, DIMENSION, GENERATIONS = (20_000 if harness.FULL else 3_000), 16, (20 if harness.FULL else 5)


class Reader(threading.Thread):
    """Asks through an alias until it is told to stop, and keeps which generation each answer is of."""

    def __init__(self, address, keys):
        super().__init__(daemon=True)
        self.client = mneme.connect(address, timeout=120)
        self.memory, self.keys = self.client.memory("live"), keys
        self.over = threading.Event()
        self.generations, self.failures = [], []

    def run(self):
        turn = 0
        while not self.over.is_set():
            turn += 1
            try:
                self.generations.append(self.ask(turn))
            except Exception as error:  # whatever it is, the test has to see it
                self.failures.append(repr(error))
                return

    def ask(self, turn):
        """Each way of reading in turn. Every value of a memory is its generation."""
        if turn % 4 == 0:
            found = self.memory.query(self.keys, k=20)
            values, complete = found.values, len(found.ids) == 20 * len(self.keys)
        elif turn % 4 == 1:
            found = self.memory.query(np.repeat(self.keys, 400, axis=0), k=2, exact=True)  # several messages
            values, complete = found.values, len(found.ids) == 2 * 400 * len(self.keys)
        elif turn % 4 == 2:
            entries = self.memory.get([3, ROWS - 1])
            values, complete = entries.values, len(entries.ids) == 2
        else:
            chosen = self.memory.select(n=3)
            values, complete = chosen.values, len(chosen.ids) == 3
        assert complete, f"turn {turn} got {len(values)} values"
        assert len(set(values)) == 1, f"turn {turn} mixes {set(values)}"
        return int(values[0])


class Aliases(harness.SystemTest):
    def serve_generation(self, shards, name="first"):
        server = self.serve(f"data-{shards}", "--shards", str(shards))
        client = server.client
        memory = client.create_memory(name, DIMENSION, vocab_size=1_000, fingerprint={"model": "slots"})
        memory.bulk_load(self.keys, np.zeros(ROWS, int))
        self.assertIsNone(client.set_alias("live", name))
        return server

    def setUp(self):
        super().setUp()
        self.keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)

    def wait_for_answers(self, reader, more):
        seen = len(reader.generations)
        while len(reader.generations) < seen + more and not reader.failures:
            time.sleep(0.005)

    def test_a_reader_never_sees_a_mix_nor_an_error_while_memories_are_replaced(self):
        for shards in (1, 4):
            with self.subTest(shards=shards):
                server = self.serve_generation(shards)
                reader = Reader(server.address, self.keys[:8])
                reader.start()
                self.wait_for_answers(reader, 1)  # of the first memory
                for generation in range(1, GENERATIONS + 1):
                    fresh = server.client.replace("live", self.keys, np.full(ROWS, generation))
                    self.assertEqual(server.client.aliases(), {"live": fresh.name})
                    self.assertEqual([each.name for each in server.client.memories()], [fresh.name])
                    self.wait_for_answers(reader, 8)
                reader.over.set()
                reader.join()
                self.assertEqual(reader.failures, [])
                self.assertEqual(reader.generations, sorted(reader.generations), "the past comes back")
                self.assertEqual(set(reader.generations), set(range(GENERATIONS + 1)))
                harness.note(f"{shards} shards: {len(reader.generations)} answers over {GENERATIONS} replacements")
                while server.client.statistics().entries != ROWS:  # the data of the dropped ones goes
                    time.sleep(0.01)
                server.stop()

    def test_an_alias_and_what_it_points_to_survive_a_kill(self):
        server = self.serve_generation(1)
        fresh = server.client.replace("live", self.keys, np.ones(ROWS, int), keep_old=True)
        server.kill()
        server.start()
        self.assertEqual(server.client.aliases(), {"live": fresh.name})
        self.assertEqual(set(server.client.memory("live").query(self.keys[:1], k=9).values), {1})
        self.assertEqual(set(server.client.memory("first").query(self.keys[:1], k=9).values), {0})
        description = server.client.memory("live").describe()
        self.assertEqual(description.name, fresh.name)
        self.assertEqual((description.dimension, description.fingerprint.model), (DIMENSION, "slots"))

    def test_a_name_is_taken_by_a_memory_or_an_alias_but_not_by_both(self):
        client = self.serve_generation(1).client
        with self.assertRaises(mneme.AlreadyExists) as raised:
            client.create_memory("live", DIMENSION)
        self.assertEqual(raised.exception.reason, "ALIAS_EXISTS")
        with self.assertRaises(mneme.AlreadyExists):
            client.set_alias("first", "first")
        with self.assertRaises(mneme.FailedPrecondition) as raised:
            client.drop_memory("first")
        self.assertEqual(raised.exception.reason, "MEMORY_ALIASED")
        self.assertIn('"live"', raised.exception.message)
        with self.assertRaises(mneme.FailedPrecondition):
            client.drop_memory("live")
        client.drop_alias("live")
        with self.assertRaises(mneme.NotFound) as raised:
            client.drop_alias("live")
        self.assertEqual(raised.exception.reason, "ALIAS_NOT_FOUND")
        client.drop_memory("first")

    def test_an_alias_swings_only_from_where_it_is_expected(self):
        client = self.serve_generation(1).client
        client.create_like("second", "live")
        for expected in ("", "second"):
            with self.assertRaises(mneme.Aborted) as raised:
                client.set_alias("live", "second", expected=expected)
            self.assertEqual(raised.exception.reason, "ALIAS_MOVED")
        with self.assertRaises(mneme.Aborted):
            client.set_alias("other", "second", expected="first")
        self.assertEqual(client.set_alias("live", "second", expected="first"), "first")
        self.assertIsNone(client.set_alias("other", "live", expected=""))  # to the memory, not to the alias
        client.set_alias("live", "first")
        self.assertEqual(client.aliases(), {"live": "first", "other": "second"})

    def test_a_version_of_the_memory_before_is_refused(self):
        client = self.serve_generation(1).client
        live = client.memory("live")
        version = live.insert(self.keys[:1], [7]).version
        self.assertEqual(live.query(self.keys[:1], k=1, version=version).version[:12], version[:12])
        client.replace("live", self.keys, np.ones(ROWS, int))
        with self.assertRaises(mneme.FailedPrecondition) as raised:
            live.query(self.keys[:1], k=1, version=version)
        self.assertEqual(raised.exception.reason, "FOREIGN_VERSION")

    def test_a_decode_stream_goes_on_with_the_new_memory(self):
        client = self.serve_generation(1).client
        live = client.memory("live")
        with live.decode_stream(k=4) as stream:
            self.assertEqual(set(stream.step(self.keys[:1]).tokens), {0})
            fresh = client.replace("live", self.keys, np.ones(ROWS, int))
            self.assertEqual(set(stream.step(self.keys[:1]).tokens), {1})
            stream.learn([7])
            stream.wait()
            self.assertEqual(stream.lost, 0)
        self.assertEqual(fresh.count(), ROWS + 1)

    def test_a_replacement_that_fails_leaves_everything_as_it_was(self):
        client = self.serve_generation(1).client
        with self.assertRaises(mneme.InvalidArgument):
            client.replace("live", self.keys, np.full(ROWS, 1_000))  # beyond the vocabulary
        self.assertEqual([each.name for each in client.memories()], ["first"])
        self.assertEqual(client.aliases(), {"live": "first"})
        with self.assertRaises(mneme.NotFound):
            client.replace("nothing", self.keys, np.ones(ROWS, int))
        made = client.replace("nothing", self.keys, np.ones(ROWS, int), like="first")
        self.assertEqual(client.aliases(), {"live": "first", "nothing": made.name})


if __name__ == "__main__":
    harness.main()
