"""An open loop at five times what the server can do: it goes on at nearly its best, refuses the rest at once, lets
nothing wait longer than its queue is long, and is as quick as before when it is over.

The generator shares two cores with the server here. What it takes of them, and what the refusals take, is not there for
searches, so goodput is compared with what a closed loop of the same generator reached before and after, whichever was
less, and with queries that are long enough for calls themselves to be cheap beside them. Where something else had the
cores, the overload is tried once more; times are not held against bounds while the generator itself was late."""

import time

import harness
import mneme
import numpy as np
import open_loop
import processes
from mneme._proto import memory_pb2
from witness import percentile

ROWS, DIMENSION, K, BATCH = 120_000, 256, 10, 8
SECONDS = 60 if harness.FULL else 6
TIMES = 5
# Of the best: what T15 asks for, and in the bounded form what a burst on shared cores leaves of it.
GOOD = 0.8 if harness.FULL else 0.7
QUEUED = 512  # kMaxQueuedSearches
PATH = "/mneme.v1.MemoryService/Query"
OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 4, 8
LATE_MS = 50.0  # of the generator


class Overload(harness.SystemTest):
    def test_five_times_what_it_can(self):
        server = self.serve()
        keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
        memory = server.client.create_memory("overload", DIMENSION, index="flat")
        memory.bulk_load(keys, np.arange(ROWS) % 1_000)
        query = memory_pb2.QueryRequest(memory="overload", k=K)
        query.keys.CopyFrom(mneme.wire.vectors(keys[:BATCH]))
        query.search.exact = True
        message = self.scratch / "query"
        message.write_bytes(query.SerializeToString())

        def load(rate, seconds, **more):
            before = processes.processor_seconds(server.pid)
            report = open_loop.report(open_loop.start(server.address, PATH, message, rate, seconds, **more))
            report["cores"] = (processes.processor_seconds(server.pid) - before) / seconds
            self.assertTrue(server.alive(), server.tail_of_log())
            self.assertEqual(report["lost"], 0, "calls that nobody answered")
            return report

        def alone():
            began = time.monotonic()
            answer = server.client.memory("overload").query(keys[7], 1, exact=True)
            self.assertEqual((answer.ids.tolist(), answer.distances.tolist()), ([7], [0.0]))
            return 1000 * (time.monotonic() - began)

        nominal = percentile([alone() for _ in range(50)], 0.9)
        peak = max(self.rate(load(0, SECONDS / 2)) for _ in range(2))
        harness.note(f"alone: p90 {nominal:.1f} ms; the best of closed loops: {peak:.0f} answers a second")

        for _ in range(2):
            over = load(TIMES * peak, SECONDS)
            first = self.first_after(alone)
            after = percentile([alone() for _ in range(50)], 0.9)
            peak = min(peak, self.rate(load(0, SECONDS / 2)))
            goodput = self.rate(over)
            took, refused = over["milliseconds"].get(OK, []), over["milliseconds"].get(RESOURCE_EXHAUSTED, [])
            bound = 1000 * (QUEUED + 2 * 64 / BATCH) / peak
            if goodput > GOOD * peak and percentile(took, 0.99) < 1.5 * bound and over["latest_ms"] < LATE_MS:
                break
        harness.note(
            f"{TIMES} times that for {SECONDS} s: {over['calls']} calls, {over['unsent']} of which found no room; "
            f"{goodput:.0f} answers a second ({goodput / peak:.0%} of the best), p50 {percentile(took, 0.5):.0f} and "
            f"p99 {percentile(took, 0.99):.0f} ms (the queue is {bound:.0f} ms long); {len(refused)} refused, p50 "
            f"{percentile(refused, 0.5):.2f} and p99 {percentile(refused, 0.99):.1f} ms; the server had "
            f"{over['cores']:.2f} cores, the generator was {over['latest_ms']:.0f} ms late at most"
        )
        self.assertEqual(sorted(over["milliseconds"]), [OK, RESOURCE_EXHAUSTED])
        self.assertGreater(goodput, GOOD * peak)
        self.assertGreater(len(refused), (over["calls"] - QUEUED) // 2)  # the queue takes the first of them
        if over["latest_ms"] < LATE_MS:
            self.assertLess(percentile(refused, 0.5), 5.0)
            self.assertLess(percentile(took, 0.99), 1.5 * bound)
        else:
            harness.note("the generator was late: how long calls took is not held against bounds")

        # At once, and then as before.
        harness.note(f"afterwards: the first after {first:.2f} s, then p90 {after:.1f} ms")
        self.assertLess(first, 2.0)
        self.assertLess(after, max(3 * nominal, 50.0))

        # Who waits no longer than the queue is long costs nothing once he is gone: no collapse into work for nobody.
        deadline = int(bound / 4)
        hasty = load(TIMES * peak, SECONDS / 2, deadline_ms=deadline)
        good = self.rate(hasty)
        late = sum(len(hasty["milliseconds"].get(code, [])) for code in (DEADLINE_EXCEEDED, -1))
        harness.note(f"the same with deadlines of {deadline} ms: {good:.0f} answers in time a second "
                     f"({good / peak:.0%} of the best), {late} too late")
        self.assertGreater(good, 0.5 * peak)
        self.assertLessEqual(set(hasty["milliseconds"]), {OK, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, -1})
        self.assertLess(alone(), 2_000)
        self.assertEqual(server.stop(), 0)

    @staticmethod
    def first_after(alone):
        """Seconds until one is answered."""
        began = time.monotonic()
        alone()
        return time.monotonic() - began

    @staticmethod
    def rate(report):
        """Answers a second while calls were begun."""
        return report["answered"].get(OK, 0) / report["seconds"]


if __name__ == "__main__":
    harness.main()
