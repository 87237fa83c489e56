"""A deployment of several processes when some of them go: kill -9 of front ends and shards under writes, names through
several front ends, and what is told while a shard is away."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Callable

import cluster
import harness
import mneme
import numpy as np
from mneme import requests, wire
from mneme._proto import memory_pb2

HERE = harness.ROOT / "tests" / "system"
ROUNDS = 50 if harness.FULL else 4


def becomes(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Waits until something holds, if it ever does."""
    end = time.monotonic() + seconds
    while not (held := holds()) and time.monotonic() < end:
        time.sleep(0.02)
    return held


class Kill(cluster.ClusterTest):
    def test_no_acknowledged_entry_is_lost_altered_or_duplicated(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        log = self.scratch / "acknowledged.log"
        log.touch()
        deployment.client.create_memory("kill", 32, vocab_size=1_009)
        first, acknowledged = 0, []
        for number in range(ROUNDS):
            front = deployment.front_ends[number % 2]
            victim = (front, deployment.shards[1], deployment.shards[0])[number % 3]
            before = log.read_bytes().count(b"\n")
            way = ("sync", "stream") if number % 2 == 0 else ("written", "bulk")
            arguments = (front.address, log, harness.SEED, first, *way)
            writer = subprocess.Popen([sys.executable, HERE / "kill_writer.py", *map(str, arguments)])
            self.addCleanup(writer.kill)
            end = time.monotonic() + 60
            while log.read_bytes().count(b"\n") == before:
                self.assertLess(time.monotonic(), end, "nothing was acknowledged in a minute")
                time.sleep(0.01)
            time.sleep(self.random.uniform(0.1, 0.5))  # the moment of the kill is the point of this test
            victim.kill()
            writer.wait(120)
            acknowledged.append(log.read_bytes().count(b"\n") - before)
            start = time.monotonic()
            victim.start()
            took = time.monotonic() - start
            checked = subprocess.run(
                [sys.executable, HERE / "kill_checker.py", front.address, str(log), str(harness.SEED)],
                stdout=subprocess.PIPE,
                timeout=600,
            )
            verdict = checked.stdout.decode().strip()
            name = victim.data_dir.name
            harness.note(f"round {number + 1}, {name}: {acknowledged[-1]} acknowledged, up in {took:.2f} s; {verdict}")
            self.assertEqual(checked.returncode, 0, verdict)
            first = int(verdict.split()[-1])

    def test_a_write_that_was_cut_off_is_applied_once_when_it_is_made_again(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        stop, failures, done = threading.Event(), [], []

        def write() -> None:
            # Without ids: whoever answers a second time must give those that were given.
            number = 0
            with mneme.connect(deployment.front_ends[1].address, timeout=60, attempts=30) as client:
                while not stop.is_set():
                    keys = np.full((10, 4), number, np.float32)
                    try:
                        got = client.memory("wiki").insert(keys, np.full(10, number % 100))
                    except mneme.MnemeError as error:
                        failures.append(error)
                        return
                    done.append((number, got.ids))
                    number += 1

        writer = threading.Thread(target=write)
        writer.start()
        for round_number in range(3):
            time.sleep(0.3)
            deployment.shards[round_number % 2].kill()
            deployment.shards[round_number % 2].start()
        time.sleep(0.3)
        stop.set()
        writer.join(120)
        self.assertEqual(failures, [])
        ids = np.concatenate([each for _, each in done])
        self.assertEqual(len(np.unique(ids)), len(ids), "an id was given twice")
        self.assertEqual(memory.count(), len(ids))
        harness.note(f"{len(done)} writes of 10 through 3 kills, each applied once")


class Names(cluster.ClusterTest):
    def test_a_name_is_new_everywhere_once_a_change_was_acknowledged(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        writer, reader = (front.client for front in deployment.front_ends)
        for name in ("a", "b"):
            writer.create_memory(name, 2, vocab_size=10).insert(
                np.eye(2, dtype=np.float32), [1, 2], ids=[0, 1 if name == "a" else 2]
            )
        stale = 0
        for number in range(200):
            now = "ab"[number % 2]
            (writer, reader)[number // 2 % 2].set_alias("live", now)
            for client in (writer, reader):
                found = client.memory("live").get([0, 1, 2], allow_missing=True).ids.tolist()
                stale += found != [0, 1 if now == "a" else 2]
        self.assertEqual(stale, 0)
        writer.drop_alias("live")
        for number in range(50):
            writer.create_memory("brief", 2)
            reader.memory("brief").describe()
            reader.drop_memory("brief")
            with self.assertRaises(mneme.NotFound):
                writer.memory("brief").query(np.zeros((1, 2)), 1)

    def test_a_front_end_that_slept_does_not_tell_what_was(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        awake, sleeper = deployment.front_ends
        for name in ("a", "b"):
            awake.client.create_memory(name, 2, vocab_size=10).insert(np.eye(2, dtype=np.float32), [1, 2], ids=[0, 1])
        awake.client.set_alias("live", "a")
        self.assertEqual(sleeper.client.aliases(), {"live": "a"})
        os.kill(sleeper.pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            awake.client.set_alias("live", "b")  # waits until the lease of the sleeper is over
            waited = time.monotonic() - start
        finally:
            os.kill(sleeper.pid, signal.SIGCONT)
        self.assertLess(waited, 10)
        with mneme.connect(sleeper.address, timeout=30, attempts=20) as client:
            self.assertEqual(client.aliases(), {"live": "b"})
        harness.note(f"a swing beside a front end that sleeps took {waited:.2f} s")

    def test_a_query_is_of_the_new_memory_when_the_old_is_dropped_under_it(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        keys = self.random.normal(size=(100, 4)).astype(np.float32)
        client, other = deployment.client, deployment.front_ends[1].client
        for value, name in enumerate("ab"):
            client.create_memory(name, 4, vocab_size=10).insert(keys, np.full(100, value), ids=np.arange(100))
        client.set_alias("live", "a")
        # Every shard scores extra candidates in a second step, when all have answered the first.
        extra = (np.arange(101) * 4, np.arange(400) % 100, np.arange(400))
        answers = []

        def ask() -> None:
            answers.append(set(client.memory("live").query(keys, 5, exact=True, extra=extra, timeout=60).values))

        def step() -> None:
            search = requests.search("query", {"exact": True, "extra": extra}, None)
            query = requests.query("live", keys, 5, search)
            query.neighbours.SetInParent()
            steps = client._data.QueryStream(iter([memory_pb2.QueryStreamRequest(step=1, query=query)]), timeout=60)
            answers.extend(set(wire.read_values(each.response.neighbours.values)) for each in steps)

        asking = [threading.Thread(target=each) for each in (ask, step)]
        os.kill(deployment.shards[1].pid, signal.SIGSTOP)
        try:
            for each in asking:
                each.start()
            front = deployment.front_ends[0]
            self.assertTrue(becomes(lambda: front.metrics()['mneme_queue_depth{queue="shard"}'] == 2))
            other.set_alias("live", "b")
            other.drop_memory("a")
            self.assertEqual(answers, [])
        finally:
            os.kill(deployment.shards[1].pid, signal.SIGCONT)
        for each in asking:
            each.join()
        self.assertEqual(answers, [{1}, {1}])

    def test_a_front_end_that_was_stopped_is_not_waited_for(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        self.assertEqual(deployment.front_ends[1].stop(), 0)
        start = time.monotonic()
        deployment.client.create_memory("wiki", 2)
        self.assertLess(time.monotonic() - start, 1.0)

    def test_names_are_unknown_rather_than_old_while_the_catalogue_is_away(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        deployment.client.create_memory("wiki", 2, vocab_size=10)
        front = deployment.front_ends[0]
        self.assertTrue(front.ready())
        deployment.shards[0].kill()
        time.sleep(2.5)  # the lease
        self.assertTrue(becomes(lambda: not front.ready()), "a balancer is to take another")
        with mneme.connect(deployment.front_ends[0].address, timeout=5, attempts=1) as client:
            with self.assertRaisesRegex(mneme.Unavailable, "shard 0 at"):
                client.memory("wiki").query(np.zeros((1, 2)), 1)
        deployment.shards[0].start()
        with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=20) as client:
            self.assertEqual(client.memory("wiki").count(), 0)
        self.assertTrue(becomes(front.ready))


class Order(cluster.ClusterTest):
    def test_batches_of_a_stream_are_applied_as_they_came(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 2, vocab_size=1_000)
        ids = np.arange(20)
        for number in range(5):
            batches = [
                {"keys": np.full((20, 2), i, np.float32), "values": np.full(20, i), "ids": ids} for i in range(200)
            ]
            for _ in memory.insert_stream(batches, durability="written"):
                pass
            self.assertEqual(memory.get(ids).values.tolist(), [199] * 20, f"round {number}: the last of them stays")


class Registers(cluster.ClusterTest):
    def test_two_front_ends_write_one_counter_by_compare_and_set(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=2)
        deployment.client.create_memory("wm", 2)
        stale, lost = [], []

        def work(front: harness.Server) -> None:
            with mneme.connect(front.address, timeout=60) as client:
                session, seen, done = client.memory("wm").session("shared"), 0, 0
                while done < 40:
                    state = session.get("counter")
                    stale.extend([state.version] if state.version < seen else [])
                    try:
                        seen = session.cas("counter", state.version, str(int(state.value or b"0") + 1).encode()).version
                        done += 1
                    except mneme.Aborted:
                        lost.append(1)

        workers = [threading.Thread(target=work, args=(front,)) for front in deployment.front_ends]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        state = deployment.client.memory("wm").session("shared").get("counter")
        self.assertEqual((state.value, state.version, stale), (b"80", 80, []))
        harness.note(f"80 increments through two front ends, {len(lost)} lost races, none lost")


class Away(cluster.ClusterTest):
    def test_a_shard_that_is_away_is_named_and_found_again(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        keys = self.random.normal(size=(200, 4)).astype(np.float32)
        memory.insert(keys, np.arange(200) % 100, ids=np.arange(200))
        deployment.shards[1].kill()
        with mneme.connect(deployment.front_ends[0].address, timeout=10, attempts=1) as client:
            wiki = client.memory("wiki")
            for call in (
                lambda: wiki.query(keys[:2], 5, exact=True),
                lambda: wiki.count(),
                lambda: wiki.insert(keys[:50], np.arange(50), ids=np.arange(50)),
                lambda: list(wiki.scan()),
            ):
                with self.assertRaisesRegex(mneme.Unavailable, "shard 1 at"):
                    call()
            self.assertIn("shard 1 at", client.statistics().colour_reason)
        deployment.shards[1].start()
        with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=20) as client:
            self.assertEqual(client.memory("wiki").count(), 200)
            found = client.memory("wiki").query(keys, 1, exact=True)
            self.assertEqual(found.ids.tolist(), list(range(200)))

    def test_a_shard_that_sleeps_costs_a_caller_its_deadline_and_no_more(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        keys = self.random.normal(size=(100, 4)).astype(np.float32)
        memory.insert(keys, np.arange(100), ids=np.arange(100))
        os.kill(deployment.shards[1].pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            with mneme.connect(deployment.front_ends[0].address, attempts=1) as client:
                with self.assertRaises(mneme.DeadlineExceeded):
                    client.memory("wiki").query(keys, 5, exact=True, timeout=0.5)
                self.assertLess(time.monotonic() - start, 5)
                start = time.monotonic()
                empty = client.memory("wiki").query(keys, 5, exact=True, budget_ms=50, on_error="empty")
                self.assertIsInstance(empty.error, mneme.MnemeError)
                self.assertLess(time.monotonic() - start, 2)
        finally:
            os.kill(deployment.shards[1].pid, signal.SIGCONT)
        self.assertEqual(memory.count(), 100)

    def test_what_was_dropped_while_a_shard_was_away_is_gone_when_it_is_back(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        client = deployment.client
        client.create_memory("old", 4, vocab_size=100).insert(
            self.random.normal(size=(300, 4)), np.arange(300) % 100, ids=np.arange(300)
        )
        client.create_memory("kept", 4, vocab_size=100).insert(
            self.random.normal(size=(100, 4)), np.arange(100), ids=np.arange(100)
        )
        deployment.shards[1].kill()
        client.drop_memory("old")
        deployment.shards[1].start()
        end = time.monotonic() + 30
        while (entries := int(client.statistics().entries)) != 100 and time.monotonic() < end:
            time.sleep(0.1)
        self.assertEqual(entries, 100)

    def test_a_shard_that_lost_its_disk_does_not_come_back_empty(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        lost = deployment.shards[1]
        lost.kill()
        with mneme.connect(deployment.front_ends[0].address, timeout=10, attempts=1) as client:
            with self.assertRaisesRegex(mneme.Unavailable, "shard 1 at"):
                client.create_memory("early", 4)  # the first memory needs all shards
        shutil.rmtree(lost.data_dir)
        lost.start()  # it never had anything
        with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=20) as client:
            memory = client.create_memory("wiki", 4, vocab_size=100)
            memory.insert(self.random.normal(size=(200, 4)), np.arange(200) % 100, ids=np.arange(200))
        lost.kill()
        shutil.rmtree(lost.data_dir)
        with self.assertRaisesRegex(harness.ServerDied, "holds nothing"):
            lost.start()
        shard = cluster.ShardProcess(lost.data_dir, 1, deployment.addresses, "--accept-empty-shard")
        self.addCleanup(shard.kill)
        with mneme.connect(deployment.front_ends[0].address, timeout=30, attempts=20) as client:
            self.assertLess(client.memory("wiki").count(), 200)

    def test_processes_that_do_not_belong_together_say_so(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=0)
        # Shards in the wrong order, a shard too many, and a directory of another shard.
        swapped = ",".join(reversed(deployment.addresses))
        with self.assertRaisesRegex(harness.ServerDied, "shard 0 owns the catalogue"):
            harness.Server(self.scratch / "front", "--role", "frontend", "--shard-addresses", swapped)
        more = ",".join([*deployment.addresses, "127.0.0.1:1"])
        with self.assertRaisesRegex(harness.ServerDied, "has 2 shards; 3 were given"):
            harness.Server(self.scratch / "front", "--role", "frontend", "--shard-addresses", more)
        deployment.shards[1].stop()
        with self.assertRaisesRegex(harness.ServerDied, "has shard 1 alone"):
            cluster.ShardProcess(deployment.shards[1].data_dir, 0, deployment.addresses[::-1])
        with self.assertRaisesRegex(harness.ServerDied, "has shard 1 alone"):
            harness.Server(deployment.shards[1].data_dir)

    def test_a_front_end_that_waits_for_the_catalogue_can_be_stopped(self) -> None:
        port = cluster.free_ports(1)[0]
        command = [harness.BIN / "mneme-server", "--role", "frontend", "--shard-addresses", f"127.0.0.1:{port}"]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "off"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        assert process.stderr is not None
        with process.stderr as log:
            self.assertTrue(any(b"catalogue_awaited" in line for line in log), "it says that it waits")
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(60), 0)


class Metrics(cluster.ClusterTest):
    def test_a_front_end_tells_what_it_measures_and_holds(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        keys = self.random.normal(size=(100, 4)).astype(np.float32)
        memory.insert(keys, np.arange(100), ids=np.arange(100))
        with memory.decode_stream(4, 1.0) as stream:
            for i in range(20):
                stream.step(keys[i], targets=i, learn=i, ids=1_000 + i, lm_log_probs=-4.0, knn_weight=0.3)
            stream.wait()
        told = deployment.front_ends[0].metrics()
        self.assertEqual(told["mneme_benefit_tokens_total"], 20)
        self.assertNotEqual(told["mneme_benefit_nats_total"], 0)
        for name in ('mneme_queue_depth{queue="shard"}', "mneme_held_query_bytes", "mneme_queued_write_bytes"):
            self.assertEqual(told[name], 0)
        # A shard of one process has none to ask twice.
        self.assertEqual((told["mneme_hedged_calls_total"], told["mneme_hedges_won_total"]), (0, 0))
        self.assertNotIn("mneme_entries", told)
        self.assertEqual(sum(shard.metrics()["mneme_entries"] for shard in deployment.shards), 120)


class NotServed(cluster.ClusterTest):
    def test_what_needs_the_entries_of_several_shards_in_one_process_says_so(self) -> None:
        deployment = self.start_cluster(shards=2, front_ends=1)
        memory = deployment.client.create_memory("wiki", 4, vocab_size=100)
        keys = self.random.normal(size=(2_000, 4)).astype(np.float32)
        memory.insert(keys, np.arange(2_000) % 100, ids=np.arange(2_000))
        for refused in (deployment.client.back_up, deployment.client.backups):
            with self.assertRaisesRegex(mneme.FailedPrecondition, "was given a directory for backups") as error:
                refused()
            self.assertEqual(error.exception.reason, "NO_BACKUP_DIRECTORY")
        self.assertEqual(memory.count(), 2_000)


class Gone(Exception):
    pass


def leave_at(wanted: str) -> Callable[..., None]:
    def progress(stage: str, *_: int) -> None:
        if stage == wanted:
            raise Gone

    return progress


class Prunes(cluster.ClusterTest):
    """What they come to is in cluster_parity_test.py; here is how they end."""

    ROWS = 8_000

    def setUp(self) -> None:
        super().setUp()
        self.deployment = self.start_cluster(shards=2, front_ends=1)
        self.memory = self.deployment.client.create_memory("wiki", 4, vocab_size=100)
        self.keys = self.random.normal(size=(self.ROWS, 4)).astype(np.float32)
        self.memory.insert(self.keys, np.arange(self.ROWS) % 5, ids=np.arange(self.ROWS))

    def guard(self, queries: int = ROWS) -> mneme.PruneGuard:
        """So many neighbours that it takes its time."""
        targets, log_probs = np.arange(queries) % 5, np.full(queries, -3.0, np.float32)
        return mneme.PruneGuard(self.keys[:queries], targets, log_probs, 500, 1.0, 0.25, 1e9)

    def workers_are_free(self) -> None:
        """Shards that waited for a decision wait no more: as many prunes as there are workers are answered."""
        for _ in range(3):
            self.assertGreater(self.memory.prune(9, guard=self.guard(5), dry_run=True, timeout=60.0).merged, 0)

    def test_a_client_that_goes_leaves_nothing_written_and_nobody_waiting(self) -> None:
        for stage in ("searching", "guarding"):
            with self.subTest(stage):
                with self.assertRaises(Gone):
                    self.memory.prune(9, guard=self.guard(), progress=leave_at(stage))
                self.workers_are_free()
                self.assertEqual(self.memory.count(), self.ROWS)

    def test_a_shard_that_dies_ends_it_before_anything_is_written(self) -> None:
        lost = self.deployment.shards[1]

        def kill_at_guarding(stage: str, *_: int) -> None:
            if stage == "guarding" and lost.alive():
                lost.kill()

        with self.assertRaises(mneme.MnemeError):
            self.memory.prune(9, guard=self.guard(), progress=kill_at_guarding)
        self.assertFalse(lost.alive(), "the guard was never asked")
        lost.start()
        self.assertEqual(self.memory.count(), self.ROWS)
        self.workers_are_free()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        harness.main()
