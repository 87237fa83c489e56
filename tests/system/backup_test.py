"""Backups of a server that is written to: every one of them is restored elsewhere and compared, entry by entry, with
what its writers know of the sequences that it says it was made at. Damage is refused before anything is touched, and
whoever is killed or stopped on the way leaves nothing half-made."""

import collections
import hashlib
import os
import pathlib
import random
import shutil
import signal
import struct
import subprocess
import threading
import time

import harness
import mneme
import numpy as np
from mneme import working

ROUNDS = 25 if harness.FULL else 3  # of each deployment
SHARDS = (1, 3)
WRITERS = 3
DAMAGES = 400 if harness.FULL else 100
KILLS = 20 if harness.FULL else 3
DIMENSION = 8
ONTO = {1: (2, 4, 3), 3: (1, 4, 2)}  # of how many shards, every fifth backup goes onto others, too
PARTITIONS = (1, 2, 3, 4, 5)  # each whole on one shard

# One write: of `shard` at `sequence`, to a partition. put: {id: entry}; ids that it deletes, and a source (None: none).
Write = collections.namedtuple("Write", "shard sequence partition put ids source")


def parts_of(version):
    """{shard: sequence} of a version (docs/formats.md)."""
    return dict(struct.unpack_from("<HQ", version, at) for at in range(13, len(version), 10))


class Writer(threading.Thread):
    """Inserts, replaces and deletes, and remembers at which sequence; `failure` is what went wrong."""

    def __init__(self, number, address, shards, going):
        super().__init__()
        self.random = np.random.default_rng([harness.SEED, number])
        self.number, self.shards, self.going, self.failure = number, shards, going, None
        self.memory = mneme.connect(address, timeout=300).memory("entries")
        self.writes = []

    def run(self):
        try:
            while self.going.is_set():
                self.step()
        except Exception as error:
            self.failure = error

    def step(self):
        durability = ("sync", "written")[int(self.random.integers(2))]
        # Of one shard partition 0 is whole, too.
        partition = int(self.random.choice(PARTITIONS if self.shards > 1 else (0, *PARTITIONS)))
        kind = self.random.random()
        if kind < 0.7:
            # The ids of all writers overlap: who replaces whom is told by their sequences.
            ids = self.random.choice(400, int(self.random.integers(1, 60)), replace=False)
            self.insert(partition, durability, ids=ids)
        elif kind < 0.8:
            self.insert(0, durability)
        elif kind < 0.95:
            ids = self.random.choice(400, int(self.random.integers(1, 40)), replace=False)
            done = self.memory.delete(ids=ids, partitions=partition, durability=durability)
            self.note(done, partition, ids=ids.tolist())
        else:
            source = int(self.random.integers(20))
            done = self.memory.delete(sources=[source], partitions=partition, durability=durability)
            self.note(done, partition, source=source)

    def insert(self, partition, durability, ids=None):
        count = int(self.random.integers(1, 60)) if ids is None else len(ids)
        keys = self.random.normal(size=(count, DIMENSION)).astype(np.float32)
        tokens, sources = self.random.integers(0, 1000, count), self.random.integers(0, 20, count)
        labels = self.random.integers(-5, 5, count)
        columns = {"sources": sources, "labels": labels, "weights": labels + 10.5}
        done = self.memory.insert(keys, tokens, ids=ids, partition=partition, durability=durability, **columns)
        given = done.ids if ids is None else ids
        rows = zip(given.tolist(), keys, tokens.tolist(), sources.tolist(), labels.tolist())
        self.note(done, partition, put={each: entry_of(*rest) for each, *rest in rows})

    def note(self, done, partition, put={}, ids=(), source=None):
        parts = parts_of(done.version)
        assert len(parts) <= 1, parts
        for shard, sequence in parts.items():
            self.writes.append(Write(shard, sequence, partition, put, ids, source))


def entry_of(key, token, source, label, weight=None):
    return (np.asarray(key, "<f4").tobytes(), token, source, label, label + 10.5 if weight is None else weight)


class Swinger(threading.Thread):
    """Loads a memory, points the alias to it, drops the one before; and steps a session whose two registers agree."""

    def __init__(self, address, going):
        super().__init__()
        self.client = mneme.connect(address, timeout=300)
        self.going, self.failure = going, None
        self.begun = self.done = 0  # generations of the alias
        self.steps_begun = self.steps_done = 0

    def run(self):
        try:
            while self.going.is_set():
                self.swing()
                self.session()
        except Exception as error:
            self.failure = error

    def swing(self):
        generation = self.begun + 1
        fresh = self.client.create_memory(f"generation-{generation}", dim=2, vocab_size=1_000_000)
        load = fresh.bulk_load if generation % 2 else fresh.insert
        load(np.ones((50, 2)), np.full(50, generation), ids=np.arange(50))
        self.begun = generation
        old = self.client.set_alias("live", fresh.name)
        self.done = generation
        if old:
            self.client.drop_memory(old)

    def session(self):
        step = self.steps_begun = self.steps_begun + 1
        value = str(step).encode()
        self.client.memory("entries").apply([working.put("chat", "a", value), working.put("chat", "b", value)])
        self.steps_done = step


class Backup(harness.SystemTest):
    def test_backups_of_a_server_that_is_written_to(self):
        figures = []
        for shards in SHARDS:
            with self.subTest(shards=shards):
                figures += self._rounds(shards)
        self.assertEqual(len(figures), ROUNDS * len(SHARDS))
        compared, seconds = sum(each[0] for each in figures), [each[1] for each in figures]
        resharded = sum(each[2] for each in figures)
        self.assertEqual(resharded, len(range(0, ROUNDS, 5)) * len(SHARDS))
        harness.note(
            f"{len(figures)} of {len(figures)} backups taken during writes restored to equal entries, {compared} of "
            f"them; {resharded} of the backups onto another number of shards, too, with equal digests of answers; "
            f"a backup took {np.median(seconds):.2f} s (median), {max(seconds):.2f} s (most)"
        )

    def _rounds(self, shards):
        backups = self.scratch / f"backups-{shards}"
        server = self.serve(f"data-{shards}", "--shards", str(shards), "--backup-dir", str(backups))
        server.client.create_memory("entries", dim=DIMENSION, vocab_size=1000)
        going = threading.Event()
        going.set()
        swinger = Swinger(server.address, going)
        writers = [Writer(number, server.address, shards, going) for number in range(WRITERS)]
        for thread in (swinger, *writers):
            thread.start()
        taken = []
        try:
            while swinger.steps_done < 2:
                self.assertIsNone(swinger.failure)
                time.sleep(0.01)
            for _ in range(ROUNDS):
                time.sleep(float(self.random.uniform(0, 0.4)))
                low = (swinger.done, swinger.steps_done)
                acknowledged = [len(writer.writes) for writer in writers]
                start = time.monotonic()
                made = server.client.back_up()
                seconds = time.monotonic() - start
                taken.append((made.backup, low, (swinger.begun, swinger.steps_begun), acknowledged, seconds))
        finally:
            going.clear()
            for thread in (swinger, *writers):
                thread.join()
        for thread in (swinger, *writers):
            self.assertIsNone(thread.failure)
        version = server.client.memory("entries").insert(np.ones((1, DIMENSION)), [1]).version
        server.stop()
        return [self._compare(backups, shards, writers, version, i, *each) for i, each in enumerate(taken)]

    def _compare(self, backups, shards, writers, version, round, backup, low, high, acknowledged, seconds):
        # What was acknowledged before the backup began is in it.
        for writer, count in zip(writers, acknowledged):
            for write in writer.writes[:count]:
                self.assertLessEqual(write.sequence, backup.applied[write.shard])
        expected = collections.defaultdict(dict)
        writes = sorted((each for writer in writers for each in writer.writes), key=lambda each: each[:2])
        for write in writes:
            if write.sequence > backup.applied[write.shard]:
                continue
            entries = expected[write.partition]
            for each in write.ids:
                entries.pop(each, None)
            if write.source is not None:
                for each in [each for each, entry in entries.items() if entry[2] == write.source]:
                    del entries[each]
            entries.update(write.put)
        expected = {(at, each): entry for at, entries in expected.items() for each, entry in entries.items()}

        digest = self._look(backups, shards, 0, expected, version, backup, low, high)
        reshard = round % 5 == 0
        if reshard:
            onto = ONTO[shards][round // 5 % 3]
            self.assertEqual(self._look(backups, shards, onto, expected, version, backup, low, high), digest)
        return len(expected), seconds, int(reshard)

    def _look(self, backups, shards, onto, expected, version, backup, low, high):
        """Restores it, `onto` another number of shards if that is not 0; a digest of what it answers."""
        target = self.scratch / f"restored-{shards}-{backup.number}-{onto}"
        told = self._mneme("restore", backups, "--data-dir", target, "--number", backup.number, "--shards", onto)
        self.assertEqual((told["number"], told["entries"]), (backup.number, backup.entries))
        self.assertEqual(told["shards"], onto or shards)
        with harness.Server(target, "--shards", str(onto or shards)) as restored:
            memory = restored.client.memory("entries")
            found, count = {}, 0
            for page in memory.scan(with_keys=True, partitions="all"):
                columns = (page.keys, page.values, page.sources, page.labels, page.weights)
                for partition, each, key, *rest in zip(page.partitions.tolist(), page.ids.tolist(), *columns):
                    found[partition, each] = entry_of(key, *(one.item() for one in rest))
                count += len(page)
            self.assertEqual(count, len(found))
            missing, extra = expected.keys() - found.keys(), found.keys() - expected.keys()
            self.assertFalse(missing or extra, f"backup {backup.number}: {len(missing)} missing, {len(extra)} extra")
            self.assertEqual(found, expected)

            live = restored.client.memory("live")
            generations = set(np.concatenate([page.values for page in live.scan()]).tolist())
            self.assertEqual(len(generations), 1)
            self.assertEqual(live.count(), 50)
            self.assertTrue(low[0] <= generations.pop() <= high[0])
            both = [memory.session("chat").get(name).value for name in "ab"]
            self.assertEqual(both[0], both[1])
            self.assertTrue(low[1] <= int(both[0]) <= high[1])
            with self.assertRaises(mneme.FailedPrecondition) as refused:
                memory.count(version=version)
            self.assertEqual(refused.exception.reason, "FOREIGN_VERSION")
            digest = self._digest(memory, sorted(found))
            # It goes on: ids that it gives are new ones.
            given = memory.insert(np.ones((3, DIMENSION)), [1, 2, 3]).ids.tolist()
            self.assertFalse({(0, each) for each in given} & expected.keys())
            # Entries go by the ids that they have, whoever gave them.
            zero = [each for partition, each in sorted(expected) if partition == 0]
            if zero:
                self.assertEqual(memory.delete(ids=zero[::2], partitions=0).deleted, len(zero[::2]))
                self.assertEqual(memory.count(partitions=0), len(zero) - len(zero[::2]) + 3)
        shutil.rmtree(target)
        return digest

    def _digest(self, memory, names):
        """Of exact answers over all partitions, and of entries that are asked for by id."""
        keys = np.random.default_rng(harness.SEED).normal(size=(8, DIMENSION)).astype(np.float32)
        found = memory.query(keys, 200, exact=True, partitions="all", with_attributes=True, with_successors=True)
        columns = ("offsets", "ids", "distances", "values", "partitions", "weights", "labels", "sources", "positions")
        digest = hashlib.sha256()
        for name in (*columns, "successors", "has_successor"):
            digest.update(np.ascontiguousarray(getattr(found, name)).tobytes())
        for partition in (0, *PARTITIONS):
            ids = [each for at, each in names if at == partition]
            entries = memory.get(ids, partition=partition, with_keys=True) if ids else None
            digest.update(b"" if entries is None else entries.keys.tobytes() + entries.values.tobytes())
        return digest.hexdigest()

    def test_a_second_backup_copies_what_is_new_and_old_ones_go(self):
        server = self.serve("data", "--backup-dir", str(self.scratch / "backups"))
        memory = server.client.create_memory("wide", dim=256)
        memory.bulk_load(self.random.normal(size=(20_000, 256)).astype(np.float32), np.arange(20_000))
        first = server.cli("backup")
        memory.insert(self.random.normal(size=(10, 256)), np.arange(10))
        seen = []
        second = server.client.back_up(progress=lambda *step: seen.append(step))
        harness.note(f"first backup {first['new_bytes']} bytes, second {second.new_bytes} of {second.backup.bytes}")
        self.assertEqual(seen[-1], ("done", second.backup.bytes, second.backup.bytes))
        self.assertGreater(first["new_bytes"], 20_000 * 1024)
        self.assertLess(second.new_bytes, first["new_bytes"] / 50)
        self.assertEqual([each["number"] for each in server.cli("backups")["backups"]], [1, 2])
        third = server.cli("backup", "--keep", "1")
        self.assertEqual((third["removed"], [each.number for each in server.client.backups()]), (2, [3]))
        self.assertEqual(self._mneme("verify", self.scratch / "backups")["entries"], 20_010)
        self.assertIn("3", server.cli_text("backups"))
        onto = ("--data-dir", self.scratch / "on-3", "--shards", 3)
        shown = self._at_a_terminal("restore", self.scratch / "backups", *onto)
        self.assertRegex(shown, r"\rverifying  \d+ of \d\d MB.*\rrestoring  \d+ of \d\d MB")
        self.assertTrue(shown.endswith("\r\x1b[K"), shown)

    def test_without_a_directory_it_says_so(self):
        server = self.serve()
        with self.assertRaises(mneme.FailedPrecondition) as refused:
            server.client.back_up()
        self.assertEqual(refused.exception.reason, "NO_BACKUP_DIRECTORY")
        self.assertIn("--backup-dir", str(refused.exception))

    def test_damage_is_refused_before_anything_is_touched(self):
        backups, damaged, target = (self.scratch / name for name in ("backups", "damaged", "restored"))
        server = self.serve("data", "--backup-dir", str(backups))
        for round in range(3):
            server.client.create_memory(f"m{round}", dim=4).insert(self.random.normal(size=(50, 4)), np.arange(50))
            server.client.back_up()
        server.stop()
        latest = self._files_of(backups, 3)
        stale = [file for number in (1, 2) for file in self._files_of(backups, number)]
        dice = random.Random(harness.SEED)
        counts = collections.Counter()
        while sum(counts.values()) < DAMAGES:
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(backups, damaged)
            kind = dice.choice(("flip", "truncate", "remove", "swap", "stale"))
            file = damaged / dice.choice(latest)
            content = file.read_bytes()
            if kind == "remove":
                file.unlink()
            elif kind == "flip":
                at = dice.randrange(len(content))
                file.write_bytes(content[:at] + bytes([content[at] ^ 1 << dice.randrange(8)]) + content[at + 1 :])
            elif kind == "truncate":
                file.write_bytes(content[: dice.randrange(len(content))])
            elif kind == "swap":
                other = damaged / dice.choice(latest)
                file.write_bytes(other.read_bytes())
                other.write_bytes(content)
            else:
                file.write_bytes((backups / dice.choice(stale)).read_bytes())
            if file.exists() and file.read_bytes() == content:
                continue
            onto = ("--shards", dice.choice((1, 2)))
            code, error = self._refused("restore", damaged, "--data-dir", target, "--number", 3, *onto)
            self.assertEqual(code, 1, f"{kind} of {file}: {error}")
            self.assertRegex(error, "^error: .*(cannot be restored|has no backup)", f"{kind} of {file}")
            self.assertFalse(target.exists(), f"{kind} of {file}")
            counts[kind] += 1
        told = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        harness.note(f"{sum(counts.values())} of {sum(counts.values())} damaged backups refused: {told}")
        others = {**os.environ, "MNEME_SHARDS": "2"}
        # What the environment says is for mneme-server, which this is without the CLI.
        self.assertEqual(self._mneme("restore", backups, "--data-dir", target, env=others)["shards"], 1)
        shutil.rmtree(target)
        command = [str(harness.BIN / "mneme-server"), "--restore-backup", str(backups), "--data-dir", str(target)]
        told = subprocess.run([*command, "--log-format", "json"], check=True, capture_output=True, env=others)
        told = harness.json.loads(told.stdout)
        self.assertEqual((told["shards"], told["entries"]), (2, 150))
        shutil.rmtree(target)
        self.assertEqual(self._mneme("restore", backups, "--data-dir", target)["entries"], 150)

    def test_whoever_is_stopped_leaves_nothing_half_made(self):
        backups = self.scratch / "backups"
        server = self.serve("data", "--backup-dir", str(backups))
        memory = server.client.create_memory("wide", dim=256)
        memory.bulk_load(self.random.normal(size=(60_000, 256)).astype(np.float32), np.arange(60_000))
        whole = 0
        # The client goes, then the server is killed.
        for round in range(KILLS):
            seconds = float(self.random.uniform(0.001, 0.15))
            if round % 2 == 0:
                try:
                    whole += server.client.back_up(timeout=seconds) is not None
                except mneme.MnemeError as error:
                    self.assertIsInstance(error, mneme.DeadlineExceeded)
            else:
                threading.Timer(seconds, server.kill).start()
                try:
                    whole += mneme.connect(server.address).back_up() is not None
                except mneme.MnemeError:
                    pass
                while server.alive():
                    time.sleep(0.01)
                server.start()
                self.assertFalse((server.data_dir / "checkpoint").exists())
        made = self._patient_backup(server)
        self.assertEqual(made.backup.entries, 60_000)
        listed = server.client.backups()
        self.assertEqual([each.damage for each in listed], [""] * len(listed))
        tables = {file.name for file in backups.glob("*/shared_checksum/*")}
        named = {pathlib.Path(file).name for each in listed for file in self._files_of(backups, each.number)}
        self.assertEqual(tables - named, set(), "files that no backup has")

        # Ctrl-C while it restores.
        target, stopped, dice = self.scratch / "restored", 0, random.Random(harness.SEED)
        for _ in range(KILLS):
            onto = dice.choice(("0", "3"))
            command = [str(harness.BIN / "mneme"), "restore", str(backups), "--data-dir", str(target), "--shards", onto]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            time.sleep(float(self.random.uniform(0.05, 0.2)))
            process.send_signal(signal.SIGINT)
            error = process.communicate(timeout=300)[1]
            if process.returncode == 0:
                shutil.rmtree(target)
                continue
            # The signal itself ends a program that has not begun yet.
            self.assertIn(process.returncode, (130, -signal.SIGINT), error)
            self.assertFalse(target.exists())
            stopped += 1
        harness.note(f"{whole} of {KILLS} backups ended before they were stopped; {stopped} restores were stopped")
        self.assertEqual(self._mneme("restore", backups, "--data-dir", target)["entries"], 60_000)
        code, error = self._refused("restore", backups, "--data-dir", target)
        self.assertEqual(code, 1)
        self.assertIn("is a data directory already", error)

    def _patient_backup(self, server):
        """One that waits for what a client that went has left running."""
        end = time.monotonic() + 60
        while True:
            try:
                return server.client.back_up()
            except mneme.FailedPrecondition:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)

    def _files_of(self, backups, number):
        """The files that a backup consists of, as text relative to the directory."""
        manifest = f"BACKUP-{number:06}"
        ids = [line.split()[1] for line in (backups / manifest).read_text().splitlines() if line.startswith("store ")]
        files = [manifest]
        for store, each in enumerate(ids):
            folder = "catalogue" if store == 0 else f"shard-{store - 1:03}"
            meta = f"{folder}/meta/{each}"
            names = [line.split()[0] for line in (backups / meta).read_text().splitlines() if "/" in line]
            files += [meta, *(f"{folder}/{name}" for name in names)]
        return files

    def _at_a_terminal(self, *arguments):
        """What is shown there beside the result."""
        mine, its = os.openpty()
        try:
            command = [str(harness.BIN / "mneme"), *map(str, arguments)]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=its)
            return os.read(mine, 65_536).decode()
        finally:
            os.close(mine)
            os.close(its)

    def _run(self, *arguments, env=None):
        command = [str(harness.BIN / "mneme"), *map(str, arguments), "-o", "json"]
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, env=env)

    def _mneme(self, *arguments, env=None):
        done = self._run(*arguments, env=env)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return harness.json.loads(done.stdout)

    def _refused(self, *arguments, env=None):
        done = self._run(*arguments, env=env)
        return done.returncode, done.stderr.decode()


if __name__ == "__main__":
    harness.main()
