"""`mneme plan` against what real servers report: disk and ram within 15 %. Build time and queries per second are
printed beside the plan's; they depend on the machine and on what else runs, so they are compared by eye."""

import json
import subprocess
import time

import numpy as np

import harness

# (entries, dimension, key dtype, index)
SIZES = [(30_000, 64, "f32", "auto"), (100_000, 128, "f16", "int8"), (60_000, 256, "f16", "flat")]
if harness.FULL:
    SIZES += [(400_000, 128, "f16", "auto"), (200_000, 768, "f16", "auto")]
WITHIN = 0.15
BATCH = 4096


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096


class Plan(harness.SystemTest):
    def test_plans_are_within_15_percent_of_real_servers(self):
        for size in SIZES:
            with self.subTest(size):
                self.compare(*size)

    def compare(self, entries, dimension, dtype, index):
        server = self.serve(f"data-{entries}-{dimension}")
        server.cli("create", "wiki", "--dim", dimension, "--metric", "l2", "--value", "token", "--key-dtype", dtype,
                   "--index", index)
        memory = server.client.memory("wiki")
        centres = self.random.standard_normal((400, dimension)).astype(np.float32)
        for first in range(0, entries, BATCH):
            ids = np.arange(first, min(first + BATCH, entries), dtype=np.uint64)
            memory.insert(self.near(centres, len(ids)).astype(np.float16), (ids % 400).astype(np.uint32), ids=ids)
        started = time.monotonic()
        memory.build(retrain=True)
        build_seconds = time.monotonic() - started
        server.restart()  # buffers of the import are gone, files are mapped
        memory = server.client.memory("wiki")
        queries = self.near(centres, 64)
        memory.query(queries, k=10)
        started = time.monotonic()
        for _ in range(4):
            memory.query(queries, k=10)
        queries_per_second = 4 * len(queries) / (time.monotonic() - started)
        memory.query(queries[:1], k=10, exact=True)  # what no search has read since the start is not resident
        statistics = server.cli("stats")
        for second in range(20):  # tables that a compaction replaced go a little later
            time.sleep(1)
            before, statistics = statistics, server.cli("stats")
            if statistics["store_bytes"] == before["store_bytes"] and second > 2:
                break
        plan = server.cli("plan", "--entries", entries, "--dim", dimension, "--dtype", dtype, "--index", index)
        harness.note(
            f"{entries} x {dimension} {dtype} {index}: "
            f"build {build_seconds:.1f} s, planned {plan['build_seconds']:.1f}; "
            f"{queries_per_second:.0f} queries a second, planned {plan['queries_per_second']:.0f}"
        )
        self.within("index", plan["index_bytes"], statistics["index_bytes"])
        self.within("disk", plan["disk_bytes"], statistics["index_bytes"] + statistics["store_bytes"])
        self.within("ram", plan["ram_bytes"], resident_bytes(server.pid))
        server.stop()

    def near(self, centres, count):
        chosen = centres[self.random.integers(0, len(centres), count)]
        return chosen + self.random.standard_normal(chosen.shape).astype(np.float32) / 2

    def within(self, what, planned, measured):
        harness.note(f"  {what}: measured {measured / 1e6:.1f} MB, planned {planned / measured:.2f} of it")
        self.assertLess(abs(planned / measured - 1), WITHIN, what)


class Arithmetic(harness.SystemTest):
    SIZE = ["--entries", 10_000_000, "--dim", 256, "--dtype", "f16"]

    def plan(self, *arguments, code=0):
        command = [harness.BIN / "mneme", "--server", "127.0.0.1:1", "plan", *arguments, "-o", "json"]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        return json.loads(done.stdout) if code == 0 else done.stderr

    def test_no_server_is_asked_and_machines_are_counted(self):
        plan = self.plan(*self.SIZE)
        self.assertEqual((plan["lists"], plan["code_bytes_per_entry"], plan["machines"]), (12_649, 260, 1))
        self.assertEqual(plan["disk_bytes"], plan["store_bytes"] + plan["index_bytes"])
        self.assertEqual(self.plan(*self.SIZE, "--ram", 2)["machines"], -(-plan["ram_bytes"] // 2**31))
        self.assertEqual(self.plan(*self.SIZE, "--qps", 9.5 * plan["queries_per_second"])["machines"], 10)
        self.assertEqual(self.plan("--entries", 100, "--dim", 8)["lists"], 0)

    def test_every_index_has_its_bytes_of_code(self):
        wanted = {"flat": 0, "int8": 260, "pq:64": 68, "pq:64x4": 40, "rabitq:1": 40, "pca:64": 68, "opq:64x4": 40}
        for index, code_bytes in wanted.items():
            self.assertEqual(self.plan(*self.SIZE, "--index", index)["code_bytes_per_entry"], code_bytes, index)

    def test_what_does_not_fit_together_is_refused(self):
        self.assertIn("M must divide", self.plan(*self.SIZE, "--index", "pq:7", code=2))
        self.assertIn("--value-dim", self.plan(*self.SIZE, "--value", "vector", code=2))
        self.assertIn("--value-bytes", self.plan(*self.SIZE, "--value", "bytes", code=2))


if __name__ == "__main__":
    harness.main()
