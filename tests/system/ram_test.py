"""Ram that is scarce: writes that outrun the index are refused at --ram-limit, which tails and queued writes keep to.
Answers stay right, nothing acknowledged is lost. T16 of docs/reliability.md."""

import threading
import time

import harness
import mneme
import numpy as np
import processes

LIMIT = 64  # MiB: the least that is taken
SECONDS = 120.0 if harness.FULL else 6.0
WRITERS, BATCH, DIMENSION = 4, 2_048, 256
MB = 1 << 20
# What a server holds besides tails and queued writes: RocksDB's memtables and blocks (256 MiB each at most), calls in
# flight, and what an index takes while it is built. Only in the full form more is written than that.
BESIDES = 896 * MB
COUNTED = ('mneme_memory_bytes{kind="tail_ram"}', "mneme_queued_write_bytes")  # against the limit


class Load(threading.Thread):
    """Does something again and again, and counts refusals; `failure` is what went wrong otherwise."""

    def __init__(self, address, going, step):
        super().__init__(daemon=True)
        self.client = mneme.connect(address, timeout=60, attempts=1)
        self.going, self.act, self.failure, self.done = going, step, None, 0
        self.refused = {}

    def run(self):
        while self.going.is_set() and self.failure is None:
            try:
                self.act(self.client, self.done + sum(self.refused.values()))
                self.done += 1
            except mneme.ResourceExhausted as error:
                self.refused[error.reason] = self.refused.get(error.reason, 0) + 1
                if error.retry_after is None:
                    self.failure = AssertionError(f"does not say when to come back: {error}")
                time.sleep(min(error.retry_after or 0, 0.05))
            except Exception as error:  # noqa: BLE001  (whatever it is, it is what this test looks for)
                self.failure = error


class Ram(harness.SystemTest):
    def begin(self, server):
        client = server.client
        self.keys = self.random.normal(size=(4_000, 64)).astype(np.float32)
        known = client.create_memory("known", 64)
        known.insert(self.keys, np.arange(4_000), ids=np.arange(4_000))
        client.create_memory("filled", DIMENSION)
        client.create_memory("states", 4)
        # One batch for everybody, so that this process has nothing to compute.
        self.batch = self.random.normal(size=(BATCH, DIMENSION)).astype(np.float32)
        self.written = [[] for _ in range(WRITERS)]

    def run_load(self, server, seconds):
        """The most bytes of its own, and of what counts against the limit; and refusals by reason."""
        going = threading.Event()
        going.set()

        def write(number):
            def step(client, at):
                first = (number * 10**6 + at) * BATCH
                ids = np.arange(first, first + BATCH)
                client.memory("filled").insert(self.batch, ids % 997, ids=ids, durability="written")
                self.written[number].append(first)

            return step

        def read(client, at):
            row = at * 37 % 4_000
            found = client.memory("known").query(self.keys[row], 1, exact=True)
            assert (found.ids.tolist(), found.distances.tolist()) == ([row], [0.0]), (row, found.ids, found.distances)

        def read_much(client, at):
            rows = np.arange(at % 7, 4_000, 7)[:64]
            found = client.memory("known").query(self.keys[rows], 1_024, exact=True)
            assert found.ids[found.offsets[:-1]].tolist() == rows.tolist(), "not its own neighbour"

        def keep(client, at):
            session = client.memory("states").session(f"s{at % 5}", durability="written")
            value = bytes([at % 251]) * MB
            session.put("register", value)
            assert session.get("register").value == value

        loads = [Load(server.address, going, write(number)) for number in range(WRITERS)]
        loads += [Load(server.address, going, step) for step in (read, read_much, keep)]
        for load in loads:
            load.start()
        most, counted, end = 0, 0, time.monotonic() + seconds
        while time.monotonic() < end and server.alive() and all(load.failure is None for load in loads):
            most = max(most, processes.own_bytes(server.pid))
            metrics = server.metrics()
            counted = max(counted, sum(metrics[name] for name in COUNTED))
            time.sleep(0.05)
        going.clear()
        for load in loads:
            load.join(90)
            self.assertFalse(load.is_alive(), "a call never ended")
        self.assertTrue(server.alive(), server.tail_of_log())
        for load in loads:
            if load.failure is not None:
                raise load.failure
        writes, reads, much, kept = loads[:WRITERS], *loads[WRITERS:]
        refused = {}
        for load in loads:
            for reason, count in load.refused.items():
                refused[reason] = refused.get(reason, 0) + count
        harness.note(
            f"{sum(load.done for load in writes) * BATCH:,} entries, {reads.done} and {much.done} queries, {kept.done} "
            f"registers; refused: {refused}; tails and queued writes had {counted / MB:.0f} MiB at most, of {LIMIT}; "
            f"the process {most / MB:.0f} of its own"
        )
        self.assertGreater(min(load.done for load in (reads, much, kept)), 5)
        return most, counted, refused

    def check(self, server):
        """What was acknowledged is there."""
        promised = np.concatenate([np.arange(first, first + BATCH) for each in self.written for first in each])
        memory = server.client.memory("filled")
        for first in range(0, len(promised), 65_536):
            ids = promised[first : first + 65_536]
            self.assertEqual(len(memory.get(ids, allow_missing=True)), len(ids), "acknowledged and lost")

    def test_a_small_ram_limit_refuses_and_stays_right(self):
        server = self.serve("data", "--ram-limit", f"{LIMIT}MiB")
        self.begin(server)
        idle = processes.own_bytes(server.pid)
        most, counted, refused = self.run_load(server, SECONDS)
        self.assertGreater(refused.get("MEMORY_LIMIT", 0), 0, "the limit was never reached")
        self.assertLessEqual(set(refused), {"MEMORY_LIMIT", "QUEUE_FULL"})
        self.assertGreater(counted, 0.5 * LIMIT * MB)
        # Each of those who write may have found room before the others took it.
        self.assertLess(counted, LIMIT * MB + 1.1 * WRITERS * self.batch.nbytes + 2 * MB)
        if harness.FULL:
            written = sum(len(each) for each in self.written) * self.batch.nbytes
            self.assertGreater(written, LIMIT * MB + BESIDES, "less was written than would fit without a limit")
            self.assertLess(most, idle + LIMIT * MB + BESIDES)
        self.check(server)
        # Sealing catches up by itself, and then there is room again.
        memory = server.client.memory("filled")
        began = time.monotonic()

        def taken():
            try:
                memory.insert(self.batch, np.zeros(BATCH, int), ids=np.arange(BATCH) + 2**60)
                return True
            except mneme.ResourceExhausted:
                return False

        self.assertTrue(processes.await_true(taken, 60), "it never takes a write again")
        harness.note(f"a write is taken again after {time.monotonic() - began:.1f} s")
        server.kill()
        server.start()
        self.check(server)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    harness.main()
