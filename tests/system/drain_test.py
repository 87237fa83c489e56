"""SIGTERM under load: calls in flight are answered, what was acknowledged stays, the exit code is 0, in time."""

import threading
import time

import harness
import mneme
import numpy as np

WRITERS, READERS = 2, 2


class Drain(harness.SystemTest):
    def test_a_drain_under_load_answers_what_it_took_and_loses_nothing(self):
        server = self.serve()
        memory = server.client.create_memory("drain", 16)
        memory.insert(np.zeros((1, 16), np.float32), [0], ids=[10**9])
        acknowledged, failures, answered = [], [], []
        ready = threading.Barrier(WRITERS + READERS + 1)

        def run(number, work):
            client = mneme.connect(server.address, attempts=1, timeout=30)
            ready.wait()
            try:
                for step in range(10**6):
                    work(client.memory("drain"), number, step)
            except mneme.Unavailable:
                pass  # the drain: the one refusal that is right
            except Exception as error:  # noqa: BLE001  (whatever it is, it is what this test looks for)
                failures.append(f"{type(error).__name__}: {error}")

        def write(mine, number, step):
            ids = np.arange(8) + (number * 10**7 + step * 8)
            mine.insert(np.full((8, 16), step, np.float32), np.zeros(8, np.uint32), ids=ids)
            acknowledged.extend(ids.tolist())

        def read(mine, number, step):
            mine.query(np.full((4, 16), step % 50, np.float32), 5)
            answered.append(1)

        threads = [threading.Thread(target=run, args=(i, write)) for i in range(WRITERS)]
        threads += [threading.Thread(target=run, args=(i, read)) for i in range(READERS)]
        for thread in threads:
            thread.start()
        ready.wait()
        while len(acknowledged) < 200 or len(answered) < 50:
            self.assertEqual(failures, [])
            time.sleep(0.005)
        start = time.monotonic()
        code = server.stop()
        took = time.monotonic() - start
        for thread in threads:
            thread.join(60)
        self.assertEqual(code, 0, server.tail_of_log())
        self.assertLess(took, 10)
        self.assertEqual(failures, [])
        server.start()
        again = server.client.memory("drain").get(acknowledged[-65_000:])
        self.assertEqual(len(again), min(len(acknowledged), 65_000))
        harness.note(f"drained in {took:.2f} s after {len(acknowledged)} entries and {len(answered)} queries")


if __name__ == "__main__":
    harness.main()
