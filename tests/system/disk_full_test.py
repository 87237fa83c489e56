"""A disk that is full, a real one: writes are refused and say why, reads go on, nothing that was acknowledged is lost,
and after room was made a restart takes writes again, whether it was stopped, killed, or started with no room at all.

The disk is a tmpfs of its own. Where none may be mounted, a bound on the size of files (RLIMIT_FSIZE) stands in for it:
the log cannot grow either, though the reason is another one."""

import contextlib
import os
import resource
import shutil
import subprocess
import time

import harness
import mneme
import numpy as np

DIMENSION, BATCH = 64, 500
DISK, BALLAST = (384, 128) if harness.FULL else (112, 40)  # MiB
ROUNDS = 12 if harness.FULL else 3
MB = 1 << 20


def keys_of(ids):
    """[n, DIMENSION], different for each id."""
    return (np.asarray(ids)[:, None] * 31 % 8_191 + np.arange(DIMENSION) * (np.asarray(ids)[:, None] % 97 + 1)).astype(
        np.float32
    )


class Disk(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.disk, self.data = self.scratch / "disk", self.scratch / "data"
        self.disk.mkdir()
        self.data.mkdir(mode=0o700)
        self.mounted = self.mount("-t", "tmpfs", "-o", f"size={DISK}m,mode=0700", "tmpfs", str(self.disk))
        if self.mounted:
            (self.disk / "data").mkdir(mode=0o700)
            # So that the log and the ports of the server are elsewhere.
            assert self.mount("--bind", str(self.disk / "data"), str(self.data))
            self.ballast(True)
            harness.note(f"a tmpfs of {DISK} MiB, {BALLAST} of which are taken for now")
        else:
            harness.note("a file system may not be mounted here; the size of files is bounded instead (RLIMIT_FSIZE)")

    def mount(self, *arguments):
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
        if done.returncode != 0:
            harness.note(f"mount: {done.stderr.strip()}")
            return False
        self.addCleanup(subprocess.run, ["umount", "--lazy", arguments[-1]], check=True)
        return True

    def ballast(self, there):
        path = self.disk / "ballast"
        if not there:
            path.unlink(missing_ok=True)
            return
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST * MB)

    def start(self):
        # The server's own signal for files that are too large would end it: it is told to go on, as it is with EFBIG.
        under = () if self.mounted else ("sh", "-c", 'trap "" XFSZ; exec "$0" "$@"')
        server = harness.Server(self.data, "--backup-dir", str(self.scratch / "backups"), under=under)
        self.addCleanup(server.kill)
        return server

    def take_room(self, server):
        if not self.mounted:
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            largest = max(path.stat().st_size for path in self.data.rglob("*") if path.is_file())
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (largest + 4 * MB, hard))
        else:
            self.ballast(True)

    def give_room(self):
        if self.mounted:
            self.ballast(False)

    def fill(self, memory, acknowledged, first):
        """Writes until it is refused; returns the error and the ids of the write that was."""
        while True:
            ids = np.arange(first, first + BATCH)
            try:
                memory.insert(keys_of(ids), ids % 997, ids=ids)
            except mneme.MnemeError as error:
                return error, ids
            acknowledged.append(first)
            first += BATCH
            self.assertLess(first, 4_000_000, "the disk never filled")

    def check(self, memory, acknowledged, refused):
        """Everything acknowledged is there and as it was; a refused message is there whole or not at all."""
        promised = {first + i for first in acknowledged for i in range(BATCH)}
        stored = []
        for page in memory.scan(with_keys=True):
            stored += page.ids.tolist()
            np.testing.assert_array_equal(page.keys, keys_of(page.ids.astype(np.int64)))
        self.assertEqual(len(stored), len(set(stored)), "duplicates")
        self.assertEqual(promised - set(stored), set(), "acknowledged and lost")
        beyond = set(stored) - promised
        for ids in refused:
            here = beyond & set(ids.tolist())
            self.assertIn(len(here), (0, BATCH), "a message in part")
            beyond -= here
        self.assertEqual(beyond, set(), "never written")

    def assert_reads_go_on(self, server, memory, acknowledged):
        began = time.monotonic()
        ids = np.asarray(acknowledged[:: max(1, len(acknowledged) // 40)])
        found = memory.query(keys_of(ids), 1, exact=True)
        self.assertEqual(found.distances.tolist(), [0.0] * len(ids))
        self.assertEqual(len(memory.get(ids)), len(ids))
        self.assertEqual(server.metrics()["mneme_writes_refused"], 1)
        self.assertLess(time.monotonic() - began, 10)

    def test_a_full_disk_refuses_writes_loses_nothing_and_takes_them_again(self):
        for number in range(ROUNDS):
            server = self.start()
            server.client.create_memory("full", DIMENSION, index="flat")
            acknowledged, refused = [], []
            memory = mneme.connect(server.address, attempts=1, timeout=60).memory("full")
            self.take_room(server)
            error, ids = self.fill(memory, acknowledged, 0)
            refused.append(ids)
            if self.mounted:
                self.assertIsInstance(error, mneme.ResourceExhausted)
                self.assertEqual(error.reason, "STORAGE_FULL")
                self.assertIn("the disk is full", error.message)
                self.assertIsNotNone(error.retry_after)
            else:
                self.assertIsInstance(error, (mneme.ResourceExhausted, mneme.Unavailable))
                self.assertIn("File too large", error.message)
            again = self.fill(memory, acknowledged, int(ids[0]))
            self.assertEqual((type(again[0]), len(acknowledged) > 20), (type(error), True))
            self.assert_reads_go_on(server, memory, acknowledged)
            with contextlib.suppress(mneme.MnemeError):  # an index has no room either, and nobody is worse off
                memory.build(timeout=60)
            with self.assertRaises(mneme.MnemeError):  # it would flush first
                server.client.back_up()
            self.assert_reads_go_on(server, memory, acknowledged)
            self.assertTrue(server.alive(), server.tail_of_log())

            how = ("stopped", "killed", "killed, and started once without room")[number % 3]
            if how == "stopped":
                self.give_room()
            began = time.monotonic()
            if how == "stopped":
                self.assertEqual(server.stop(), 0, server.tail_of_log())
            else:
                server.kill()
            if how.endswith("without room"):
                self.start_without_room(server, acknowledged, refused)
                began = time.monotonic()
            self.give_room()
            server.start()
            memory = mneme.connect(server.address, attempts=1, timeout=60).memory("full")
            ids = np.arange(*(BATCH * (len(acknowledged) + len(refused) + i) for i in (0, 1)))
            memory.insert(keys_of(ids), ids % 997, ids=ids)
            took = time.monotonic() - began
            acknowledged.append(int(ids[0]))
            self.check(memory, acknowledged, refused)
            self.assertEqual(server.metrics()["mneme_writes_refused"], 0)
            harness.note(f"{how}: {len(acknowledged) * BATCH:,} acknowledged until it was full; writes go on "
                         f"{took:.2f} s after there is room")
            self.assertLess(took, 10)
            self.assertEqual(server.stop(), 0)
            self.begin_anew()

    def begin_anew(self):
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def start_without_room(self, server, acknowledged, refused):
        """It may serve reads or say what it lacks; it damages nothing in any case."""
        try:
            server.start()
        except harness.ServerDied as died:
            harness.note("without room it does not start, and says why")
            self.assertRegex(str(died), "disk is full|No space left|File too large")
            return
        harness.note("without room it starts and is read")
        self.check(server.client.memory("full"), acknowledged, refused)
        server.kill()


if __name__ == "__main__":
    harness.main()
