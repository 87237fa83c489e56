"""Processes of one deployment that prove themselves to each other, and a front end that lets clients in."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time

import cluster
import harness
import mneme
import numpy as np
from credentials import Authority, Load, make_token, replace


class SecureCluster(harness.SystemTest):
    """Two shards and front ends: mutual TLS by an authority of the inside, and a token of peers."""

    def setUp(self) -> None:
        super().setUp()
        self.inside = Authority(self.scratch / "inside")
        self.outside = Authority(self.scratch / "outside")
        self.inside_tokens, self.peer_file = self.scratch / "inside-tokens", self.scratch / "peer-token"
        self.peer_file.write_text(make_token(self.inside_tokens, "front-ends", more=("--peer",)) + "\n")
        self.tokens = self.scratch / "tokens"
        self.token = make_token(self.tokens, "model", "admin:wiki", "read:live")
        self.addresses = [f"127.0.0.1:{port}" for port in cluster.free_ports(2)]
        self.shards = [self.shard(number) for number in range(2)]
        self.security = self.outside.client(token=self.token)

    def shard(self, number: int) -> cluster.ShardProcess:
        flags = self.inside.server_flags(f"shard-{number}", client_ca=self.inside.folder / "ca.pem")
        shard = cluster.ShardProcess(self.scratch / f"shard-{number}", number, self.addresses, *flags,
                                     "--tokens", str(self.inside_tokens), *self.to_shards(f"shard-{number}"))
        self.addCleanup(shard.kill)
        return shard

    def to_shards(self, name: str) -> list[str]:
        certificate, key = self.inside.folder / f"{name}.pem", self.inside.folder / f"{name}.key"
        return ["--shard-tls-ca", str(self.inside.ca), "--shard-tls-certificate", str(certificate),
                "--shard-tls-key", str(key), "--shard-token-file", str(self.peer_file)]

    def front_flags(self, name: str, to_shards: list[str]) -> list[str]:
        return ["--role", "frontend", "--shard-addresses", ",".join(self.addresses), "--tokens", str(self.tokens),
                *self.outside.server_flags(name), *to_shards]

    def front_end(self, name: str = "front-0") -> harness.Server:
        self.inside.issue(name)
        flags = self.front_flags(name, self.to_shards(name))
        front = harness.Server(self.scratch / name, *flags, security=self.security)
        self.addCleanup(front.kill)
        return front

    def test_a_client_is_known_by_the_front_end_and_the_front_end_by_the_shards(self) -> None:
        front = self.front_end()
        wiki = front.client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(2000, 8)).astype(np.float32)
        wiki.insert(keys, np.arange(2000) % 100, ids=np.arange(2000))
        self.assertEqual(wiki.query(keys[:20], 1, exact=True).ids.tolist(), list(range(20)))
        with self.assertRaises(mneme.PermissionDenied):
            front.client.memory("secret").count()
        with self.assertRaises(mneme.PermissionDenied):
            mneme.connect(front.address, security=self.outside.client(), attempts=1).ping()
        # A client's token opens no shard, nor does it without a certificate of the inside.
        for security in (self.security, mneme.Security(), self.inside.client(), self.inside.client(token=self.token)):
            with mneme.connect(self.addresses[0], security=security, timeout=3, attempts=1) as client:
                with self.assertRaises(mneme.MnemeError):
                    client.ping()
        log = "".join(each.log.read_text() for each in (front, *self.shards))
        for secret in (self.token, self.peer_file.read_text().strip()):
            self.assertNotIn(secret, log)

    def test_a_bound_on_what_is_stored_is_held_at_every_front_end(self) -> None:
        writer = make_token(self.tokens, "writer", "write:wiki", more=("--stored-entries", "500"))
        fronts = [self.front_end(f"front-{number}") for number in range(2)]
        fronts[0].client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(600, 8)).astype(np.float32)
        values = np.zeros(600, np.uint32)
        clients = [mneme.connect(front.address, security=self.outside.client(token=writer), timeout=30, attempts=1)
                   for front in fronts]
        for client in clients:
            self.addCleanup(client.close)
        first, second = (client.memory("wiki") for client in clients)
        first.insert(keys[:300], values[:300], ids=np.arange(300))
        second.insert(keys[300:500], values[:200], ids=np.arange(300, 500))
        time.sleep(1.1)  # what other front ends wrote is known by then
        for memory in (first, second):
            with self.assertRaises(mneme.ResourceExhausted) as raised:
                memory.insert(keys[:1], values[:1], ids=[1000])
            self.assertEqual(raised.exception.reason, "STORED_QUOTA")
            self.assertEqual(raised.exception.metadata["used"], "500", "of both shards")
            self.assertIsNone(raised.exception.retry_after)
        second.delete(ids=np.arange(100))
        first.insert(keys[:100], values[:100], ids=np.arange(1000, 1100))
        self.assertEqual(first.count(), 500)

    def test_a_lease_that_says_another_time_shows_nothing_that_had_expired(self) -> None:
        front = self.front_end()
        wiki = front.client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(100, 8)).astype(np.float32)
        early = time.time()
        wiki.insert(keys, np.arange(100), ids=np.arange(100), expiries_ms=int(1_000 * (early + 1.5)))
        self.assertEqual(wiki.count(), 100)
        while wiki.count() != 0:
            time.sleep(0.005)
        with wiki.lease(60) as pinned:
            self.assertEqual(pinned.count(), 0)
            # Format, memory, and then the stamp in the clear.
            stamp = int.from_bytes(pinned.lease[5:13], "little")
            self.assertAlmostEqual(stamp / 1_000, time.time(), delta=60)
            forged = pinned.lease[:5] + int(1_000 * early).to_bytes(8, "little") + pinned.lease[13:]
            pinned._lease = forged
            self.assertEqual(pinned.count(), 0)
            self.assertEqual(len(pinned.centroids().labels), 0)

    def test_a_front_end_that_shards_do_not_know_waits_and_says_why(self) -> None:
        stranger = Authority(self.scratch / "stranger")
        self.inside.issue("front-x")
        wrong_certificate = [
            str(stranger.issue("front-x")[0]) if word.endswith("front-x.pem")
            else str(stranger.folder / "front-x.key") if word.endswith("front-x.key") else word
            for word in self.to_shards("front-x")
        ]
        wrong_token = self.to_shards("front-x")
        other = self.scratch / "other-token"
        other.write_text(self.token + "\n")
        wrong_token[-1] = str(other)
        for name, to_shards, why in (
            ("front-certificate", wrong_certificate, "is not available"),
            ("front-token", wrong_token, "does not let this process in"),
            ("front-plain", [], "is not available"),
        ):
            log = self.scratch / f"{name}.log"
            command = [harness.BIN / "mneme-server", "--listen", "127.0.0.1:0", "--admin-listen", "off",
                       *self.front_flags(name, to_shards)]
            with open(log, "wb") as out:
                process = subprocess.Popen([str(each) for each in command], stdout=out, stderr=out)
            self.addCleanup(process.kill)
            end = time.monotonic() + 30
            while why not in log.read_text():
                self.assertLess(time.monotonic(), end, log.read_text()[-2000:])
                self.assertIsNone(process.poll(), log.read_text()[-2000:])
                time.sleep(0.05)
            self.assertNotIn('"serving"', log.read_text())
            process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(30), 0)

    def test_the_inside_changes_its_certificates_and_token_without_a_failed_call(self) -> None:
        front = self.front_end()
        front.client.create_memory("wiki", 8, vocab_size=100)
        keys = self.random.normal(size=(64, 8)).astype(np.float32)
        asked = [0]

        @contextlib.contextmanager
        def connect():
            with mneme.connect(front.address, security=self.security, timeout=60) as client:
                wiki = client.memory("wiki")

                class Asking:
                    def ping(self) -> None:
                        wiki.insert(keys, np.arange(64))
                        wiki.query(keys, 4, exact=True)
                        asked[0] += 1

                yield Asking()

        with Load(connect, threads=2).running() as load:
            for name in ("shard-0", "shard-1", "front-0"):
                self.inside.issue(name)
            # Both tokens of peers, then the new one in the front end's file, then the old one goes.
            token = make_token(self.inside_tokens, "front-ends", more=("--peer",))
            for shard in self.shards:
                os.kill(shard.pid, signal.SIGHUP)
            time.sleep(1)
            replace(self.peer_file, token + "\n")
            time.sleep(4)
            lines = self.inside_tokens.read_text().splitlines()
            replace(self.inside_tokens, "\n".join([lines[0], lines[-1]]) + "\n")
            for shard in self.shards:
                os.kill(shard.pid, signal.SIGHUP)
            time.sleep(3)
        self.assertEqual(load.failures, [])
        harness.note(f"{asked[0]} inserts and queries over new certificates and a new token, none failed")
        # A shard that comes back is reached under what is new.
        self.shards[1].kill()
        self.shards[1].start()
        front.client.memory("wiki").count()


if __name__ == "__main__":
    harness.main()
