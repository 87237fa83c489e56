"""A disk that fills, a real one. With a reserve writes are refused before it is full, and taken again by themselves
once there is room. Without one it is full in the end: writes are refused and say why, reads go on, nothing acknowledged
is lost, and the server ends with code 0 when it is stopped then. Room alone brings no write back: after a restart with
room it takes them again, whether it was stopped, killed, or started with no room at all.

The disk is a tmpfs in a mount namespace of this program alone, which goes with it, however it ends. What fills it are
inserts: the log meets the end of the disk first. That flushes fail too is the subject of storage_failed_log_test."""

import contextlib
import os
import shutil
import subprocess
import sys
import time

import harness
import mneme
import numpy as np

DIMENSION, BATCH = 64, 500
DISK, BALLAST = (384, 128) if harness.FULL else (112, 40)  # MiB
# That is kept where there is a reserve: in full more than a table and a log of RocksDB, both of which it writes then.
RESERVE = 160 if harness.FULL else 24
HOWS = ("stopped while it is full", "stopped when there is room", "killed", "killed, and started once without room")
ROUNDS = 3 if harness.FULL else 1  # of each
# RocksDB looks every five seconds whether a disk that was full has room.
LOOK_SECONDS = 6
IN_NAMESPACE = "MNEME_TEST_IN_NAMESPACE"
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
        self.mount("-t", "tmpfs", "-o", f"size={DISK}m,mode=0700", "tmpfs", str(self.disk))
        (self.disk / "data").mkdir(mode=0o700)
        # So that the log and the ports of the server are elsewhere.
        self.mount("--bind", str(self.disk / "data"), str(self.data))
        self.ballast(True)
        harness.note(f"a tmpfs of {DISK} MiB, {BALLAST} of which are taken for now")

    def mount(self, *arguments):
        subprocess.run(["mount", *arguments], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", arguments[-1]], check=True)

    def ballast(self, there):
        path = self.disk / "ballast"
        if not there:
            path.unlink(missing_ok=True)
            return
        with open(path, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, BALLAST * MB)

    def start(self, reserve=0):
        flags = ("--backup-dir", str(self.scratch / "backups"), "--disk-reserve", f"{reserve}MiB")
        server = harness.Server(self.data, *flags)
        self.addCleanup(server.kill)
        return server

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

    def assert_reads_go_on(self, server, memory, acknowledged, refused="store"):
        began = time.monotonic()
        ids = np.asarray(acknowledged[:: max(1, len(acknowledged) // 40)])
        found = memory.query(keys_of(ids), 1, exact=True)
        self.assertEqual(found.distances.tolist(), [0.0] * len(ids))
        self.assertEqual(len(memory.get(ids)), len(ids))
        self.assert_refuses(server, refused)
        self.assertLess(time.monotonic() - began, 10)

    def assert_refuses(self, server, why):
        """What its metrics say: that a "store" failed, that the "disk" runs low, or None."""
        metrics = server.metrics()
        for kind in ("store", "disk"):
            self.assertEqual(metrics[f'mneme_writes_refused{{kind="{kind}"}}'], int(kind == why), kind)

    def test_a_full_disk_refuses_writes_loses_nothing_and_takes_them_again(self):
        for how in HOWS * ROUNDS:
            with self.subTest(how):
                self.live(how)
            self.begin_anew()

    def live(self, how):
        server = self.start()
        server.client.create_memory("full", DIMENSION, index="flat")
        acknowledged, refused = [], []
        memory = mneme.connect(server.address, attempts=1, timeout=60).memory("full")
        error, ids = self.fill(memory, acknowledged, 0)
        refused.append(ids)
        self.assert_full(error)
        self.assertGreater(len(acknowledged), 20)
        self.assert_still_refused(memory, acknowledged, ids)
        self.assert_reads_go_on(server, memory, acknowledged)
        with contextlib.suppress(mneme.MnemeError):  # an index has no room either, and nobody is worse off
            memory.build(timeout=60)
        with self.assertRaises(mneme.MnemeError):  # it would flush first
            server.client.back_up()
        self.assert_reads_go_on(server, memory, acknowledged)

        if how == "stopped when there is room":
            self.ballast(False)
            time.sleep(LOOK_SECONDS)
            self.assert_still_refused(memory, acknowledged, ids)
            self.assert_reads_go_on(server, memory, acknowledged)
        began = time.monotonic()
        if how.startswith("stopped"):
            self.assertEqual(server.stop(), 0, server.tail_of_log())
        else:
            self.assertTrue(server.alive(), server.tail_of_log())
            server.kill()
        if how.endswith("without room"):
            self.start_without_room(server, acknowledged, refused)
            began = time.monotonic()
        self.ballast(False)
        server.start()
        memory = mneme.connect(server.address, attempts=1, timeout=60).memory("full")
        ids = np.arange(*(BATCH * (len(acknowledged) + len(refused) + i) for i in (0, 1)))
        memory.insert(keys_of(ids), ids % 997, ids=ids)
        took = time.monotonic() - began
        acknowledged.append(int(ids[0]))
        self.check(memory, acknowledged, refused)
        self.assert_refuses(server, None)
        harness.note(
            f"{how}: {len(acknowledged) * BATCH:,} acknowledged until it was full; writes go on {took:.2f} s after "
            "the end began"
        )
        self.assertLess(took, 10)
        self.assertEqual(server.stop(), 0, server.tail_of_log())

    def test_with_a_reserve_writes_are_refused_before_the_disk_is_full_and_taken_again_by_themselves(self):
        server = self.start(RESERVE)
        server.client.create_memory("full", DIMENSION, index="flat")
        acknowledged = []
        memory = mneme.connect(server.address, attempts=1, timeout=60).memory("full")
        memory.session("agent").put("draft", b"text")
        error, ids = self.fill(memory, acknowledged, 0)
        before = 0
        while len(acknowledged) != before:  # an index that is merged gives some back in the end
            self.assert_low(error)
            before = len(acknowledged)
            time.sleep(1)
            error, ids = self.fill(memory, acknowledged, int(ids[0]))
        self.assert_low(error)
        written = len(acknowledged) * BATCH
        self.assertGreater(len(acknowledged), 20)
        self.assert_reads_go_on(server, memory, acknowledged, refused="disk")
        free = server.metrics()['mneme_disk_bytes{kind="free"}']
        self.assertEqual(server.metrics()["mneme_disk_reserve_bytes"], RESERVE * MB)
        self.assertTrue(0 < free < RESERVE * MB, free)
        self.assertTrue(server.ready())
        self.assertIn("--disk-reserve", server.cli_text("stats", "full"))
        with self.assertRaises(mneme.ResourceExhausted) as raised:
            memory.session("agent").put("draft", b"longer")
        self.assert_low(raised.exception)
        with self.assertRaises(mneme.ResourceExhausted) as raised:
            memory.insert(keys_of(ids), ids % 997, ids=ids)
        self.assert_low(raised.exception)
        # What makes room is taken.
        gone = acknowledged.pop(0)
        self.assertEqual(memory.delete(ids=np.arange(gone, gone + BATCH)).deleted, BATCH)
        self.assertTrue(memory.session("agent").reset())
        self.assert_reads_go_on(server, memory, acknowledged, refused="disk")

        self.ballast(False)
        began = time.monotonic()
        while True:
            try:
                memory.insert(keys_of(ids), ids % 997, ids=ids)
                break
            except mneme.ResourceExhausted as refused:
                self.assert_low(refused)
                self.assertLess(time.monotonic() - began, 10, "it does not come back by itself")
            time.sleep(0.02)
        took = time.monotonic() - began
        acknowledged.append(int(ids[0]))
        self.assert_refuses(server, None)
        self.check(memory, acknowledged, [])
        harness.note(
            f"with {RESERVE} MiB kept: {written:,} acknowledged until writes were refused, with {free / MB:.0f} MiB "
            f"free; taken again {took:.2f} s after there was room"
        )
        self.assertEqual(server.stop(), 0, server.tail_of_log())
        server.start()
        self.check(server.client.memory("full"), acknowledged, [])

    def assert_low(self, error):
        self.assertIsInstance(error, mneme.ResourceExhausted)
        self.assertEqual(error.reason, "STORAGE_LOW")
        self.assertIn("--disk-reserve", error.message)
        self.assertGreater(error.retry_after, 0)

    def assert_full(self, error):
        self.assertIsInstance(error, mneme.ResourceExhausted)
        self.assertEqual(error.reason, "STORAGE_FULL")
        self.assertIn("the disk is full", error.message)

    def assert_still_refused(self, memory, acknowledged, ids):
        before = len(acknowledged)
        self.assert_full(self.fill(memory, acknowledged, int(ids[0]))[0])
        self.assertEqual(len(acknowledged), before)

    def begin_anew(self):
        for path in self.data.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.ballast(True)

    def start_without_room(self, server, acknowledged, refused):
        """It may serve reads or say what it lacks; it damages nothing in any case."""
        try:
            server.start()
        except harness.ServerDied as died:
            harness.note("without room it does not start, and says why")
            self.assertRegex(str(died), "disk is full|No space left")
            return
        harness.note("without room it starts and is read")
        self.check(server.client.memory("full"), acknowledged, refused)
        server.kill()


def enter_namespace():
    """Starts this program anew where nobody else sees its mounts, which end with it, as every process it started."""
    if os.environ.get(IN_NAMESPACE) == "1":
        return
    os.environ[IN_NAMESPACE] = "1"
    as_root = () if os.geteuid() == 0 else ("--map-root-user",)
    command = ["unshare", "--mount", "--propagation", "private", *as_root]
    command += ["--pid", "--fork", "--kill-child", "--mount-proc", sys.executable, *sys.argv]
    os.execvp(command[0], command)


if __name__ == "__main__":
    enter_namespace()
    harness.main()
