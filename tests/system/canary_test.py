"""Secrets that look like nothing else, put everywhere a client or an operator may put them: keys, values, states,
tokens. Then everything fails that can be made to fail, the server is ended by SIGABRT, its files are damaged, and
nothing that it told on the way has one of them in it: no log, no page, no error, no word of the command line."""

from __future__ import annotations

import os
import signal
import struct
import time
import urllib.request
from typing import Any, Callable

import harness
import mneme
import numpy as np
from credentials import make_token, replace, run_cli

KEY = 7654.321  # as text in any rounding, and as the bytes of its f32
VALUE = b"canary-value-5d41402abc4b"
STATE = b"canary-state-7d793037a076"
ENTRIES = 3_000


class Canary(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(os.umask, os.umask(0o022))  # a token file that others may write is refused
        self.tokens = self.scratch / "tokens"
        self.token = make_token(self.tokens, "ops", "admin:*")
        self.told: list[str] = []
        # A crash leaves no file behind; what it prints is in the log.
        self.server = harness.Server(
            self.scratch / "data", "--tokens", str(self.tokens), "--log-level", "debug", security=self._security()
        )
        self.addCleanup(self.server.kill)

    def _security(self) -> mneme.Security:
        return mneme.Security(token=self.token)

    def test_no_secret_is_told(self) -> None:
        self._fill()
        failures = sum(self._fails(call) for call in self._wrong_calls())
        self.assertGreaterEqual(failures, 18)
        failures += self._command_line()
        self._broken_token_files()
        self._pages()
        self._abort()
        failures += self._damage()
        self._pages()
        log = self.server.log.read_bytes()
        self.assertIn(b'"level":"warn', log, "there is something in the log")
        told = "\n".join(self.told).encode() + log
        for secret in self._secrets():
            at = told.find(secret)
            self.assertEqual(at, -1, told[max(0, at - 300) : at + 300])
        harness.note(f"{failures} failures, {len(told):,} bytes told, {len(self._secrets())} secrets: 0 hits")

    def _secrets(self) -> list[bytes]:
        packed = struct.pack("<f", KEY)
        token = self.token.encode()
        secrets = [VALUE, STATE, VALUE.hex().encode(), STATE.hex().encode(), b"7654.32", b"7654.3", packed * 2]
        secrets += [packed.hex().encode() * 2, token, token.removeprefix(b"mneme_"), b"canary-"]
        return secrets + [word[7:].encode() for word in self.tokens.read_text().split() if word.startswith("sha256:")]

    def _fill(self) -> None:
        client = self.server.client
        client.create_memory("blobs", 4, value="bytes")
        client.create_memory("tokens", 4, vocab_size=100)
        keys = np.full((ENTRIES, 4), KEY, np.float32)
        keys[:, 0] += np.arange(ENTRIES, dtype=np.float32)
        self.blobs, self.words = client.memory("blobs"), client.memory("tokens")
        self.blobs.insert(keys, [VALUE + b"-%d" % i for i in range(ENTRIES)], ids=np.arange(ENTRIES))
        self.words.insert(keys, np.arange(ENTRIES) % 100, ids=np.arange(ENTRIES))
        self.blobs.build()
        self.blobs.session("agent").put("draft", STATE)
        self.keys = keys

    def _fails(self, call: Callable[[], Any]) -> int:
        try:
            call()
        except (mneme.MnemeError, ValueError) as error:
            self.told.append(f"{error} {error!r} {getattr(error, 'violations', '')}")
            return 1
        return 0

    def _wrong_calls(self) -> list[Callable[[], Any]]:
        nan, wide, huge = self.keys[:2].copy(), np.full((2, 5), KEY, np.float32), self.keys[:2].copy()
        nan[1, 3], huge[1, 3] = np.nan, 1e30
        blobs, words, session = self.blobs, self.words, self.blobs.session("agent")
        content = session.export()
        client = self.server.client
        return [
            lambda: blobs.insert(nan, [VALUE, VALUE]),
            lambda: blobs.insert(huge, [VALUE, VALUE]),
            lambda: blobs.insert(wide, [VALUE, VALUE]),
            lambda: blobs.insert(self.keys[:1], [VALUE * 5_000]),
            lambda: blobs.insert(self.keys[:2], [VALUE]),
            lambda: words.insert(self.keys[:1], [100_000]),
            lambda: words.insert(self.keys[:1], [VALUE]),
            lambda: blobs.query(nan, k=5),
            lambda: blobs.query(wide, k=5),
            lambda: blobs.query(self.keys[:2], k=100_000),
            lambda: blobs.query(self.keys[:2], k=0),
            lambda: blobs.distribution(self.keys[:2], k=5),
            lambda: words.distribution(self.keys[:2], k=5, targets=[100_000, 1]),
            lambda: words.distribution(self.keys[:2], k=5, temperature=-1.0),
            lambda: client.memory("nowhere").insert(self.keys[:1], [VALUE]),
            lambda: client.create_memory("blobs", 8, value="bytes"),
            lambda: session.cas("draft", 77, STATE),
            lambda: session.put("draft", STATE * 2_000_000),
            lambda: session.load(content[:-1] + STATE),
            lambda: self.blobs.session("/" + "s" * 200).put("draft", STATE),
            lambda: session.count("draft", [1], [2]),
            lambda: mneme.connect(
                self.server.address, security=mneme.Security(token="mneme_stranger-canary-0123456789"), attempts=1
            ).ping(),
        ]

    def _command_line(self) -> int:
        token = self.scratch / "token"
        token.write_text(self.token + "\n")
        token.chmod(0o600)
        wide = self.save("wide.npy", np.full((2, 5), KEY, np.float32))
        good = self.save("good.npy", self.keys[:2])
        (self.scratch / "values").write_bytes(VALUE + b"\n")
        failures = 0
        for words in (
            ("import", "blobs", "--keys", wide, "--values", self.scratch / "values"),
            ("import", "blobs", "--keys", good, "--values", self.scratch / "values"),
            ("query", "blobs", "--keys", wide),
            ("query", "nowhere", "--keys", good),
            ("create", "blobs", "--dim", "4"),
        ):
            done = run_cli("--server", self.server.address, *words, MNEME_TOKEN_FILE=token)
            self.told.append(done.stderr)
            failures += done.returncode != 0
        self.assertEqual(failures, 5, self.told[-5:])
        return failures

    def _broken_token_files(self) -> None:
        """A token and a digest in every wrong place of a line."""
        whole = self.tokens.read_text()
        digest = next(word for word in whole.split() if word.startswith("sha256:"))
        for line in (
            f"thief {self.token}",
            f"thief {digest} {self.token}",
            f"thief {digest[7:]} read:*",
            f"thief certificate:a {digest}",
            f"{self.token} {self.token} {self.token}",
        ):
            before = self.server.log.read_text().count("token file")
            replace(self.tokens, f"{whole}{line}\n")
            os.kill(self.server.pid, signal.SIGHUP)
            end = time.monotonic() + 30
            while self.server.log.read_text().count("token file") == before:
                self.assertLess(time.monotonic(), end, self.server.tail_of_log())
                time.sleep(0.01)
        replace(self.tokens, whole)

    def _pages(self) -> None:
        admin = self.server._admin_port_file.read_text().strip()
        for page in ("config", "metrics", "healthz", "readyz"):
            with urllib.request.urlopen(f"http://127.0.0.1:{admin}/{page}", timeout=10) as answer:
                self.told.append(answer.read().decode())

    def _abort(self) -> None:
        """SIGABRT while a query holds the secrets."""
        os.kill(self.server.pid, signal.SIGABRT)
        end = time.monotonic() + 60
        while self.server.alive():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def _damage(self) -> int:
        """Index files are damaged, which are rebuilt, then tables of the store, which is DATA_LOSS."""
        for file in sorted(self.server.data_dir.rglob("*")):
            if file.is_file() and file.stat().st_size > 8_192 and "index" in str(file.parent):
                self._flip(file)
        self.server.start()
        self._fails(lambda: self.server.client.memory("blobs").query(self.keys[:2], k=5))
        self.server.stop()
        tables = sorted(self.server.data_dir.rglob("*.sst")) + sorted(self.server.data_dir.rglob("*.log"))
        damaged = [file for file in tables if file.stat().st_size > 1_000]
        self.assertTrue(damaged)
        kept = {file: file.read_bytes() for file in damaged}
        for file in damaged:
            self._flip(file)
        try:
            self.server.start()
            failed = self._fails(lambda: self.server.client.memory("blobs").get(list(range(0, ENTRIES, 10))))
            self.server.stop()
        except harness.ServerDied as died:
            self.told.append(str(died))
            failed = 1
        for file, content in kept.items():
            file.write_bytes(content)
        self.assertEqual(failed, 1, "damage is told")
        self.server.start()
        return failed

    @staticmethod
    def _flip(file: Any) -> None:
        content = bytearray(file.read_bytes())
        for at in range(len(content) // 4, len(content), max(1, len(content) // 4)):
            content[at] ^= 1
        file.write_bytes(content)


if __name__ == "__main__":
    harness.main()
