"""Everything at once, for as long as there is time, with a fault every ten seconds: inserts, replacements, deletes,
queries, sessions, memories that come and go, backups; kill -9, a process that sleeps, index files that are damaged or
gone, a memory that is dropped under load. What was acknowledged is never lost and what was deleted never back. Then
the same without restarts, for what one process takes more of with time."""

import contextlib
import signal
import statistics
import subprocess
import threading
import time

import cluster
import harness
import kill_entries
import mneme
import numpy as np
import processes
import soak_model
from soak_model import MEMORY, PASSING, STATES

SECONDS = 45 * 60.0 if harness.FULL else 50.0
CALM_S = 15 * 60.0 if harness.FULL else 10.0  # without restarts
EVERY = 10.0
WORKERS = 3
MB = 1 << 20


class Soak(harness.SystemTest):
    def test_nothing_is_lost_or_comes_back_while_everything_happens(self):
        flags = ("--shards", "2", "--backup-dir", str(self.scratch / "backups"))
        self.server = cluster.Steady(self.scratch / "data", *flags)
        self.addCleanup(self.server.kill)
        client = self.server.client
        client.create_memory(MEMORY, soak_model.DIMENSION, vocab_size=kill_entries.TOKENS)
        client.create_memory(STATES, 2)
        client.create_memory(PASSING, soak_model.DIMENSION)
        going = threading.Event()
        going.set()
        self.workers = [soak_model.Worker(number, self.server.address, going) for number in range(WORKERS)]
        passing = soak_model.Passing(WORKERS, self.server.address, going)
        threads = [*self.workers, passing]
        self.addCleanup(going.clear)
        for thread in threads:
            thread.start()
        # Moments that a fault was under way: what a call took then says nothing of drift.
        self.faults, self.held, self.checks, self.backups = [], [], 0, 0
        start = time.monotonic()
        every = {name: 0 for name in ("killed", "slept", "damaged", "dropped", "backed_up")}
        self.run_faults(threads, every, SECONDS)
        calm = {name: 0 for name in ("slept", "dropped", "backed_up_whole")}
        pid, self.held = self.server.pid, []
        self.run_faults(threads, calm, CALM_S)
        self.assertEqual(self.server.pid, pid, "it was to be one process")
        going.clear()
        for thread in threads:
            thread.join(300)
            self.assertFalse(thread.is_alive(), "a thread never ended")
        self.assert_well(threads)
        self.check()
        self.verify_backup()
        self.tell({**every, **{f"{name} without restarts": count for name, count in calm.items()}}, passing, start)
        self.assertEqual(self.server.stop(), 0, self.server.tail_of_log())

    def run_faults(self, threads, every, seconds):
        """One of `every`, which counts them, after the other."""
        start = time.monotonic()
        while time.monotonic() < start + seconds:
            end = min(time.monotonic() + EVERY, start + seconds)
            while time.monotonic() < end:
                self.assert_well(threads)
                self.held.append((processes.own_bytes(self.server.pid), processes.descriptors(self.server.pid)))
                time.sleep(0.1)
            # In an order of its own for each round, so that every kind has its turn.
            kind = min(every, key=lambda name: (every[name], self.random.random()))
            every[kind] += 1
            began = time.monotonic()
            getattr(self, kind)()
            self.faults.append((began, time.monotonic() + 1.0))
            self.check()

    def assert_well(self, threads):
        for thread in threads:
            if thread.failure is not None:
                raise thread.failure
        self.assertTrue(self.server.alive(), self.server.tail_of_log())

    # --- faults ---

    def killed(self):
        self.server.kill()
        self.server.start()

    def slept(self):
        """Its clients wait, and are answered when it wakes: by another process, should this one be gone by then."""
        command = f"sleep {self.random.uniform(1.0, 4.0):.2f}; kill -CONT {self.server.pid}"
        self.server.signal(signal.SIGSTOP)
        self.assertEqual(subprocess.run(["sh", "-c", command], timeout=60).returncode, 0)

    def damaged(self):
        """Killed, or stopped in order; some index files are cut, changed or gone when it starts again."""
        with contextlib.suppress(mneme.MnemeError):
            self.server.client.memory(MEMORY).build(timeout=30)
        if self.random.random() < 0.5:
            self.server.kill()
        else:
            self.assertEqual(self.server.stop(), 0, self.server.tail_of_log())
        files = sorted(
            path
            for path in self.server.data_dir.rglob("*")
            if path.is_file() and "index" in path.relative_to(self.server.data_dir).parts[:-1]
        )
        for at in self.random.permutation(len(files))[:2]:
            content = bytearray(files[at].read_bytes())
            how = self.random.integers(3)
            if how == 0 or not content:
                files[at].unlink()
                continue
            where = int(self.random.integers(len(content)))
            if how == 1:
                content = content[:where]
            else:
                content[where] ^= 1 << int(self.random.integers(8))
            files[at].write_bytes(content)
        self.server.start()

    def dropped(self):
        """And made anew, under load."""
        for _ in range(3):
            with contextlib.suppress(mneme.NotFound):
                self.server.client.drop_memory(PASSING)
            time.sleep(0.3)
            self.server.client.create_memory(PASSING, soak_model.DIMENSION, exist_ok=True)
            time.sleep(0.3)

    def backed_up(self):
        """While everybody writes; now and then the server is killed on the way."""
        made = []
        if self.random.random() < 0.7:
            self.backed_up_whole()
        else:
            client = mneme.connect(self.server.address, attempts=1, timeout=60)

            def attempt():
                with contextlib.suppress(mneme.MnemeError):
                    made.append(client.back_up(keep=2))

            thread = threading.Thread(target=attempt)
            thread.start()
            time.sleep(self.random.uniform(0.0, 0.3))
            self.killed()
            thread.join(60)
            client.close()
        self.backups += len(made)

    def backed_up_whole(self):
        self.server.client.back_up(keep=2)
        self.backups += 1

    # --- checks ---

    def check(self):
        """With everybody between two steps."""
        with contextlib.ExitStack() as turns:
            for worker in self.workers:
                turns.enter_context(worker.turn)
            if any(worker.failure is not None for worker in self.workers):
                return
            self.entries = soak_model.check_all(self.server.client, self.workers)
            self.checks += 1

    def verify_backup(self):
        self.server.client.back_up(keep=2)
        number = self.server.client.backups()[-1].number
        command = [harness.BIN / "mneme-server", "--verify-backup", self.scratch / "backups", "--backup-number", number]
        done = subprocess.run([str(each) for each in command], capture_output=True, text=True, timeout=600)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def tell(self, every, passing, start):
        calm = {}
        for worker in self.workers:
            for begun, name, seconds in worker.took:
                if not any(first - seconds <= begun <= last for first, last in self.faults):
                    calm.setdefault(name, []).append((begun, 1000 * seconds))
        third = (time.monotonic() - start) / 3
        worst = 0.0
        for name, calls in sorted(calm.items()):
            early = [took for begun, took in calls if begun < start + third]
            late = [took for begun, took in calls if begun > start + 2 * third]
            if len(early) < 100 or len(late) < 100:
                continue
            before, after = float(np.percentile(early, 99)), float(np.percentile(late, 99))
            worst = max(worst, after / before)
            median = statistics.median(took for _, took in calls)
            harness.note(f"{name}: {len(calls):,} calls, p50 {median:.1f} ms; "
                         f"{before:.1f} ms in the first third, {after:.1f} in the last")
        # Of one process: how much it had in the second third of its time, when it is warm, and in the last.
        third = len(self.held) // 3
        (ram, files), (later_ram, later_files) = (
            [float(np.median(each)) for each in zip(*self.held[first : first + third])] for first in (third, 2 * third)
        )
        steps = sum(worker.steps for worker in self.workers)
        faults = ", ".join(f"{count} {name}" for name, count in every.items())
        harness.note(f"{steps:,} steps and {passing.steps:,} of a memory that came and went; {faults}; {self.backups} "
                     f"backups; {self.checks} whole comparisons, the last of {self.entries:,} entries: 0 lost, 0 back, "
                     f"0 altered, 0 twice")
        harness.note(f"{CALM_S:.0f} s without restarts: ram {ram / MB:.0f} MiB, then {later_ram / MB:.0f}; descriptors "
                     f"{files:.0f}, then {later_files:.0f}; p99 grew {worst:.2f} times at most")
        self.assertGreater(steps, 10 * len(self.faults))
        if harness.FULL:  # within a minute there is no drift to see
            self.assertGreater(worst, 0.0, "too few calls to compare")
            self.assertLess(worst, 1.5)
            self.assertLess(later_ram, 1.1 * ram + 16 * MB)
            self.assertLess(later_files, files + 16)


if __name__ == "__main__":
    harness.main()
