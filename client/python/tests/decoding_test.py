"""Decode streams of the Python client against a real server."""

import asyncio
import pathlib
import sys
import threading

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests" / "system"))
import harness  # noqa: E402
import mneme  # noqa: E402
import numpy as np  # noqa: E402
from client_case import DIMENSION, ClientCase  # noqa: E402


class Decoding(ClientCase):
    def test_a_step_predicts_before_it_learns_and_the_next_one_sees_it(self):
        memory = self.memory()
        key = np.ones(DIMENSION, np.float32)
        with memory.decode_stream(k=4, temperature=1, exact=True) as stream:
            self.assertEqual(stream.step(key, learn=42, ids=1).found[0], 0)
            second = stream.step(key)
            self.assertEqual((second.found[0], second.tokens[0]), (1, 42))
        self.assertEqual(memory.count(), 1)

    def test_what_was_learned_after_a_step_rides_on_the_next_message(self):
        memory = self.memory()
        keys = self.random.normal(size=(4, DIMENSION)).astype(np.float32)
        with memory.decode_stream(k=4, temperature=1, exact=True, durability="sync") as stream:
            for step, key in enumerate(keys):
                stream.step(key)
                stream.learn([step + 10], lm_log_probs=[-2.0], knn_weight=0.3, sources=3)
            version = stream.wait()
            self.assertEqual(memory.count(version=version), 4)
            self.assertEqual(stream.benefit_tokens, 4)
        got = memory.query(keys, 1, exact=True)
        np.testing.assert_array_equal(got.values, [10, 11, 12, 13])
        np.testing.assert_array_equal(got.distances, 0)
        self.assertEqual(memory.count(filter=mneme.Filter(sources=[3])), 4)

    def test_beams_are_rows_of_one_step(self):
        memory = self.memory()
        keys = self.random.normal(size=(3, DIMENSION)).astype(np.float32)
        with memory.decode_stream(k=1, temperature=1, exact=True) as stream:
            stream.step(keys, learn=[1, 2, 3], ids=[0, 1, 2])
            np.testing.assert_array_equal(stream.step(keys).tokens, [1, 2, 3])

    def test_a_wrong_step_is_a_typed_error(self):
        memory = self.memory()
        with self.assertRaises(mneme.InvalidArgument):
            with memory.decode_stream(k=1) as stream:
                stream.step(np.ones(DIMENSION + 1, np.float32))

    def test_with_asyncio_it_is_the_same_loop(self):
        names = [f"{self.name}-{i}" for i in range(2)]
        keys = self.random.normal(size=(6, DIMENSION)).astype(np.float32)
        for name in names:
            self.client.create_memory(name, DIMENSION, vocab_size=100).insert(keys, np.arange(6), ids=np.arange(6))
        asked = {"k": 4, "temperature": 3, "exact": True}
        with self.client.memory(names[0]).decode_stream(**asked) as stream:
            wanted = []
            for at, key in enumerate(keys):
                wanted.append(stream.step(key))
                stream.learn([at + 50], lm_log_probs=[-2.0], knn_weight=0.3)
            stream.wait()
            benefit = stream.benefit_nats

        async def loop():
            async with mneme.aio.connect(self.server.address) as client:
                async with client.memory(names[1]).decode_stream(**asked) as stream:
                    for at, key in enumerate(keys):
                        got = await stream.step(key)
                        np.testing.assert_array_equal(got.tokens, wanted[at].tokens)
                        np.testing.assert_array_equal(got.log_probs, wanted[at].log_probs)
                        await stream.learn([at + 50], lm_log_probs=[-2.0], knn_weight=0.3)
                    version = await stream.wait()
                    self.assertEqual(await client.memory(names[1]).count(version=version), 12)
                    self.assertEqual((stream.benefit_tokens, stream.benefit_nats), (6, benefit))
                    with self.assertRaises(mneme.InvalidArgument):
                        await stream.step(keys[0][1:])
                    self.assertEqual(stream.error.code.name, "INVALID_ARGUMENT")
                one, two = map(client.memory, names)
                async with client.mix([(one, 0.5), (two, 0.5)], append=two).decode_stream(**asked) as stream:
                    self.assertEqual([each.memory for each in (await stream.step(keys[0], learn=[1])).mixture], names)
                self.assertEqual([await each.count() for each in (one, two)], [12, 13])

        asyncio.run(loop())

    def test_a_step_that_is_no_longer_awaited_comes_before_the_next(self):
        memory, key = self.memory(), np.ones(DIMENSION, np.float32)
        begun, go = threading.Event(), threading.Event()

        class Slow:
            def __array__(self, *_):
                begun.set()
                go.wait(60)
                return key

        async def loop():
            async with mneme.aio.connect(self.server.address) as client:
                async with client.memory(memory.name).decode_stream(k=9, exact=True) as stream:
                    first = asyncio.create_task(stream.step(Slow(), learn=[7]))
                    await asyncio.to_thread(begun.wait, 60)
                    first.cancel()
                    with self.assertRaises(asyncio.CancelledError):
                        await first
                    second = asyncio.create_task(stream.step(key))
                    await asyncio.sleep(0)
                    go.set()
                    self.assertEqual((await second).tokens.tolist(), [7])
                self.assertEqual((memory.count(), stream.lost), (1, 0))

        asyncio.run(loop())


if __name__ == "__main__":
    harness.main()
