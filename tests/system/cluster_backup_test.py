"""Backups of deployments whose shards have processes of their own: each writes a part, and what comes back, on other
processes, in one, or on another number of shards, is what was acknowledged."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import threading
import time
from typing import Any, Optional

import cluster
import harness
import mneme
import numpy as np

DIMENSION = 8
ROUNDS = 12 if harness.FULL else 3


def run(*arguments: Any) -> Any:
    """What a verb that asks no server says, where the environment is that of a shard."""
    done = subprocess.run(
        [str(harness.BIN / "mneme"), *map(str, arguments), "-o", "json"],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "MNEME_ROLE": "shard", "MNEME_LOG": "kafka://nowhere:1/none"},
    )
    assert done.returncode == 0, done.stderr.decode()
    return harness.json.loads(done.stdout)


def refused(*arguments: Any) -> str:
    done = subprocess.run(
        [str(harness.BIN / "mneme"), *map(str, arguments)], capture_output=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode != 0, done.stdout.decode()
    return done.stderr.decode()


def fill(client: mneme.Client, keys: Any) -> mneme.Memory:
    """Something of every kind, some of it gone again."""
    memory = client.create_memory("wiki", DIMENSION, vocab_size=1_000)
    count = len(keys)
    memory.insert(keys, np.arange(count) % 1_000, ids=np.arange(count), labels=np.arange(count) % 7)
    memory.insert(keys[:100], np.arange(100))
    memory.insert(keys[:50], np.arange(50), ids=np.arange(50), partition=5)
    memory.delete(ids=np.arange(0, count, 9))
    for number in range(10):
        memory.session(f"agent{number}").put("draft", f"text {number}".encode())
    client.set_alias("live", "wiki")
    return memory


def content(client: mneme.Client, keys: Any) -> Any:
    """What it answers, to the byte, however many processes and shards it has."""
    memory = client.memory("live")
    found = memory.query(keys[:40], 20, exact=True, partitions="all", with_attributes=True)
    columns = ("offsets", "ids", "distances", "values", "partitions", "labels", "sources")
    sessions = [memory.session(f"agent{number}").get("draft").value for number in range(10)]
    counts = [memory.count(partitions=partition) for partition in ("all", 0, 5)]
    return [getattr(found, name).tobytes() for name in columns], sessions, counts


class Swinger(threading.Thread):
    """Loads a memory, points the alias to it and drops the one before, over and over, at times without a pause."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self.client = mneme.connect(address, timeout=120)
        self.going, self.done, self.pause = True, 0, 0.2
        self.failure: Optional[BaseException] = None

    def run(self) -> None:
        try:
            while self.going:
                number = self.done + 1
                fresh = self.client.create_memory(f"generation-{number}", 2, vocab_size=1_000_000)
                fresh.insert(np.ones((20, 2), np.float32), np.full(20, number), ids=np.arange(20))
                old = self.client.set_alias("live", fresh.name)
                self.done = number
                if old:
                    self.client.drop_memory(old)
                time.sleep(self.pause)
        except BaseException as error:  # for whoever joins it
            self.failure = error

    def end(self) -> None:
        self.going = False
        self.join(120)
        if self.failure is not None:
            raise self.failure


class ClusterBackups(cluster.ClusterTest):
    def start_with_directory(self, name: str = "cluster", backups: str = "backups") -> cluster.Cluster:
        return self.start_cluster(2, 1, "--backup-dir", str(self.scratch / backups), name=name)

    def keys(self) -> Any:
        return self.random.normal(size=(2_000, DIMENSION)).astype(np.float32)

    def serve_restored(self, folders: list[pathlib.Path]) -> mneme.Client:
        addresses = [f"127.0.0.1:{port}" for port in cluster.free_ports(len(folders))]
        for number, folder in enumerate(folders):
            self.addCleanup(cluster.ShardProcess(folder, number, addresses).kill)
        front = harness.Server(
            self.scratch / f"front-{folders[0].name}", "--role", "frontend", "--shard-addresses", ",".join(addresses)
        )
        self.addCleanup(front.kill)
        return front.client

    @staticmethod
    def told(process: harness.Server, event: str) -> str:
        """What the log of a process says of the one event of that name."""
        lines = [harness.json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
        (detail,) = [line["detail"] for line in lines if line["msg"] == event]
        return str(detail)

    def test_it_comes_back_on_as_many_shards_on_others_and_in_one_process(self) -> None:
        started = self.start_with_directory()
        keys = self.keys()
        memory = fill(started.client, keys)
        stages: list[str] = []
        made = started.client.back_up(progress=lambda stage, *_: stages.append(stage))
        self.assertEqual(stages[-1], "done")
        self.assertEqual((made.backup.number, made.backup.shards, list(made.backup.missing_shards)), (1, 2, []))
        self.assertEqual(made.backup.entries, memory.count(partitions="all"))
        expected = content(started.client, keys)
        version = memory.insert(keys[:1], [1], ids=[9_000]).version  # after it
        self.assertEqual(started.client.backups(), [made.backup])
        shown = started.front_ends[0].cli("backups")["backups"]
        self.assertEqual([(each["number"], each["shards"]) for each in shown], [(1, 2)])
        self.assertRegex(shown[0]["deployment"], "^[0-9a-f]{16}$")
        self.assertIn(shown[0]["deployment"], started.front_ends[0].cli_text("backups"))
        backups = self.scratch / "backups"
        self.assertEqual({each.name for each in backups.iterdir()}, {"part-000", "part-001"})
        self.assertEqual(run("verify", backups)["entries"], made.backup.entries)
        self.assertEqual(run("verify", backups, "--shard", 1)["number"], 1)

        for shards in (0, 1, 3):
            target = self.scratch / f"one-{shards}"
            told = run("restore", backups, "--data-dir", target, "--shards", shards)
            self.assertEqual((told["shards"], told["entries"]), (shards or 2, made.backup.entries))
            with harness.Server(target, "--shards", str(shards or 2)) as server:
                self.assertEqual(content(server.client, keys), expected)
                with self.assertRaises(mneme.FailedPrecondition) as foreign:
                    server.client.memory("wiki").count(version=version)
                self.assertEqual(foreign.exception.reason, "FOREIGN_VERSION")

        folders = [self.scratch / f"again-{shard}" for shard in range(2)]
        told = run("restore", backups, "--data-dir", folders[0], "--shard", 0)
        self.assertNotEqual(told["deployment"], shown[0]["deployment"])
        error = refused("restore", backups, "--data-dir", folders[1], "--shard", 1)
        self.assertIn("needs the number of its deployment", error)
        run("restore", backups, "--data-dir", folders[1], "--shard", 1, "--deployment", told["deployment"])
        client = self.serve_restored(folders)
        self.assertEqual(content(client, keys), expected)
        with self.assertRaises(mneme.FailedPrecondition):
            client.memory("wiki").count(version=version)
        given = client.memory("wiki").insert(keys[:10], np.arange(10)).ids
        self.assertEqual(len(np.unique(given)), 10)
        # The same by one command, for all processes.
        apart = self.scratch / "apart"
        told = run("restore", backups, "--data-dir", apart, "--apart")
        self.assertEqual({each.name for each in apart.iterdir()}, {"shard-000", "shard-001"})
        self.assertIn(f"deployment {told['deployment']}", (apart / "shard-001" / "FORMAT").read_text())
        client = self.serve_restored([apart / "shard-000", apart / "shard-001"])
        self.assertEqual(content(client, keys), expected)

    def test_a_shard_that_lost_its_disk_gets_its_part_back(self) -> None:
        started = self.start_with_directory()
        keys = self.keys()
        memory = fill(started.client, keys)
        started.client.back_up()
        expected = content(started.client, keys)
        lost, backups = started.shards[1], self.scratch / "backups"
        lost.kill()
        shutil.rmtree(lost.data_dir)
        told = run("verify", backups)["deployment"]
        run("restore", backups, "--data-dir", lost.data_dir, "--shard", 1, "--deployment", told)
        lost.start()
        self.assertEqual(content(started.client, keys), expected)
        memory.insert(keys[:5], np.arange(5), ids=8_000 + np.arange(5))
        self.assertEqual(memory.get([8_000]).ids.tolist(), [8_000])

    def test_names_and_entries_of_backups_that_are_made_while_names_change_agree(self) -> None:
        started = self.start_with_directory()
        swinger = Swinger(started.front_ends[0].address)
        swinger.start()
        try:
            end = time.monotonic() + 60
            while swinger.done < 2 and swinger.failure is None and time.monotonic() < end:
                time.sleep(0.02)
            made = []
            for each in range(ROUNDS):
                swinger.pause = 0.2 * (each % 2)
                low = swinger.done
                made.append((started.client.back_up().backup.number, low, swinger.done + 1))
        finally:
            swinger.end()
        for number, low, high in made:
            target = self.scratch / f"restored-{number}"
            run("restore", self.scratch / "backups", "--data-dir", target, "--number", number)
            with harness.Server(target, "--shards", "2") as server:
                live = server.client.memory("live")
                generations = set(np.concatenate([page.values for page in live.scan()]).tolist())
                self.assertEqual((len(generations), live.count()), (1, 20))
                self.assertTrue(low <= generations.pop() <= high)

    def test_one_that_was_cut_is_told_and_goes_with_the_next(self) -> None:
        started = self.start_with_directory()
        keys = self.keys()
        memory = fill(started.client, keys)
        first = started.client.back_up()
        started.shards[1].kill()
        with self.assertRaises(mneme.Unavailable):
            mneme.connect(started.front_ends[0].address, timeout=30, attempts=1).back_up()
        failures = started.front_ends[0].metrics()['mneme_maintenance_failures_total{kind="backup"}']
        self.assertEqual(failures, 1)
        self.assertIn("shard 1", self.told(started.front_ends[0], "backup_failed"))
        started.shards[1].start()
        self.assertEqual([each.damage for each in started.client.backups()], [""])
        # As a front end leaves it that dies between two parts.
        second = started.client.back_up()
        self.assertLess(second.new_bytes, first.new_bytes)
        (self.scratch / "backups" / "part-001" / "BACKUP-000002").unlink()
        listed = started.client.backups()
        self.assertEqual([list(each.missing_shards) for each in listed], [[], [1]])
        self.assertIn("1 of 2", started.front_ends[0].cli_text("backups"))
        self.assertIn("parts of 1 are missing", refused("verify", self.scratch / "backups", "--number", 2))
        self.assertEqual(run("verify", self.scratch / "backups")["number"], 1)
        third = started.client.back_up(keep=1)
        self.assertEqual((third.backup.number, third.removed), (3, 1))
        manifests = sorted(each.name for each in (self.scratch / "backups").glob("part-*/BACKUP-*"))
        self.assertEqual(manifests, ["BACKUP-000003"] * 2)
        self.assertEqual(memory.count(partitions="all"), third.backup.entries)
        # A client that goes leaves nothing, or a whole one when it came too late.
        for seconds in (0.01, 0.05):
            try:
                started.client.back_up(timeout=seconds)
            except (mneme.DeadlineExceeded, mneme.FailedPrecondition):  # the one before may be on its way out
                pass
        end = time.monotonic() + 60
        while any(list((shard.data_dir / "checkpoint").glob("backup-*")) for shard in started.shards):
            self.assertLess(time.monotonic(), end, "links are left")
            time.sleep(0.05)
        started.client.back_up()
        self.assertEqual({each.damage for each in started.client.backups()}, {""})

    def test_a_directory_that_is_away_takes_no_parts_of_other_shards_with_it(self) -> None:
        started = self.start_with_directory()
        fill(started.client, self.keys())
        for _ in range(2):
            started.client.back_up()
        parts, away = self.scratch / "backups" / "part-001", self.scratch / "away"
        parts.rename(away)  # as a disk that is not mounted
        made = started.client.back_up(keep=2)
        self.assertEqual((made.backup.number, made.removed), (3, 0))
        self.assertEqual([list(each.missing_shards) for each in started.client.backups()], [[1], [1], []])
        shutil.rmtree(parts)
        away.rename(parts)
        self.assertEqual([list(each.missing_shards) for each in started.client.backups()], [[], [], [1]])
        started.client.back_up()  # the third one is taken for one that was cut
        self.assertEqual([(each.number, each.damage) for each in started.client.backups()], [(1, ""), (2, ""), (4, "")])
        # As old ones they go, seen whole or not.
        parts.rename(away)
        started.client.back_up(keep=1)
        manifests = sorted(each.name for each in (self.scratch / "backups").glob("part-*/BACKUP-*"))
        self.assertEqual(manifests, ["BACKUP-000005"] * 2)

    def test_each_shard_may_have_a_directory_of_its_own(self) -> None:
        started = self.start_cluster(2, 1)
        for shard in started.shards:
            self.assertEqual(shard.stop(), 0)
            shard.flags = (*shard.flags, "--backup-dir", str(self.scratch / f"backups-{shard.number}"))
            shard.start()
        end = time.monotonic() + harness.START_SECONDS
        while not started.front_ends[0].ready() and time.monotonic() < end:
            time.sleep(0.05)
        keys = self.keys()
        memory = fill(started.client, keys)
        started.client.back_up()
        expected = content(started.client, keys)
        together = self.scratch / "together"
        for shard in range(2):
            shutil.copytree(self.scratch / f"backups-{shard}", together, dirs_exist_ok=True)
        self.assertIn("no backup that is whole", refused("verify", self.scratch / "backups-0"))
        target = self.scratch / "restored"
        self.assertEqual(run("restore", together, "--data-dir", target)["shards"], 2)
        with harness.Server(target, "--shards", "2") as server:
            self.assertEqual(content(server.client, keys), expected)


if __name__ == "__main__":
    harness.main()
