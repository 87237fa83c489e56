"""Copies of backups in a store that speaks Amazon's S3, which is one of this test's own: it checks every signature and
every digest, and fails now and then."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import pathlib
import subprocess
import threading
import urllib.parse
from typing import Any
from xml.sax.saxutils import escape

import harness
import numpy as np

ACCESS, SECRET, REGION, BUCKET = "access", "se/cr+et", "eu-test-1", "bucket"
PAGE = 7  # objects of one listing


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Store"

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def do_DELETE(self) -> None:
        self._answer("DELETE")

    def _answer(self, method: str) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with self.server.lock:
            self.server.asked += 1
            if self.server.asked % self.server.fails_every == 0:
                return self._send(503, b"<Error><Code>SlowDown</Code></Error>")
            if not self._is_signed(method, body):
                return self._send(403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
            path, _, query = self.path.partition("?")
            objects = self.server.objects
            if query:
                return self._send(200, self._listed(urllib.parse.parse_qs(query, keep_blank_values=True)))
            key = path.removeprefix(f"/{BUCKET}/")
            if method == "PUT":
                objects[key] = body
                self.server.puts.append(key)
                return self._send(200, b"")
            if method == "DELETE":
                objects.pop(key, None)
                return self._send(204, b"")
            if key not in objects:
                return self._send(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return self._send(200, objects[key])

    def _listed(self, query: dict[str, list[str]]) -> bytes:
        keys = sorted(key for key in self.server.objects if key.startswith(query["prefix"][0]))
        start = int(query.get("continuation-token", ["0"])[0].removeprefix("t/="))
        page, more = keys[start : start + PAGE], start + PAGE < len(keys)
        items = "".join(
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.server.objects[key])}</Size></Contents>"
            for key in page
        )
        token = f"<NextContinuationToken>t/={start + PAGE}</NextContinuationToken>" if more else ""
        truncated = f"<IsTruncated>{str(more).lower()}</IsTruncated>"
        return f"<?xml version='1.0'?><ListBucketResult>{truncated}{items}{token}</ListBucketResult>".encode()

    def _is_signed(self, method: str, body: bytes) -> bool:
        """As version 4 of Amazon's signatures has it."""
        digest = hashlib.sha256(body).hexdigest()
        if self.headers.get("x-amz-content-sha256") != digest:
            return False
        words = self.headers["Authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
        told = dict(word.strip().split("=", 1) for word in words)
        _, day, region, service, last = told["Credential"].split("/")
        names = told["SignedHeaders"].split(";")
        path, _, query = self.path.partition("?")
        headers = "".join(f"{name}:{self.headers[name].strip()}\n" for name in names)
        canonical = "\n".join(
            (method, path, "&".join(sorted(query.split("&"))), headers, told["SignedHeaders"], digest)
        )
        scope = f"{day}/{region}/{service}/{last}"
        text = "\n".join(
            ("AWS4-HMAC-SHA256", self.headers["x-amz-date"], scope, hashlib.sha256(canonical.encode()).hexdigest())
        )
        key = f"AWS4{SECRET}".encode()
        for word in (day, region, service, last):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        wanted = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return (told["Credential"].split("/")[0], region, told["Signature"]) == (ACCESS, REGION, wanted)

    def _send(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Store(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.objects: dict[str, bytes] = {}
        self.puts: list[str] = []
        self.asked, self.fails_every = 0, 1_000_000
        threading.Thread(target=self.serve_forever, daemon=True).start()


class ObjectStore(harness.SystemTest):
    def setUp(self) -> None:
        super().setUp()
        self.store = Store()
        self.addCleanup(self.store.server_close)
        self.addCleanup(self.store.shutdown)
        self.settings = self.write_settings("settings", SECRET)
        self.backups = self.scratch / "backups"
        self.server = self.serve("data", "--shards", "2", "--backup-dir", str(self.backups))
        self.memory = self.server.client.create_memory("wiki", 8, vocab_size=1_000)
        self.memory.insert(self.random.normal(size=(3_000, 8)), np.arange(3_000) % 1_000, ids=np.arange(3_000))
        self.server.client.back_up()

    def write_settings(self, name: str, secret: str) -> pathlib.Path:
        path = self.scratch / name
        endpoint = f"http://127.0.0.1:{self.store.server_address[1]}"
        path.write_text(f"endpoint={endpoint}\nregion={REGION}\naccess-key={ACCESS}\nsecret-key={secret}\n")
        path.chmod(0o600)
        return path

    def run_verb(self, *arguments: Any) -> Any:
        command = [str(harness.BIN / "mneme"), *map(str, arguments), "-o", "json"]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stderr.decode())
        return harness.json.loads(done.stdout)

    def refused(self, *arguments: Any) -> str:
        command = [str(harness.BIN / "mneme"), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        self.assertNotEqual(done.returncode, 0)
        return done.stderr.decode()

    def push(self) -> Any:
        return self.run_verb("push", self.backups, f"s3://{BUCKET}/mneme", "--settings", self.settings)

    def pull(self, name: str) -> pathlib.Path:
        folder = self.scratch / name
        self.run_verb("pull", folder, f"s3://{BUCKET}/mneme", "--settings", self.settings)
        return folder

    def test_backups_go_there_and_come_back_though_it_fails_now_and_then(self) -> None:
        self.store.fails_every = 5
        first = self.push()
        self.assertEqual(first["manifests"], 1)
        self.assertEqual(self.store.puts[-1], "mneme/BACKUP-000001")
        self.assertEqual(self.push()["files"], 0)
        self.memory.insert(np.ones((1, 8)), [1], ids=[9_000])
        self.server.client.back_up()
        second = self.push()
        self.assertEqual(second["manifests"], 2)
        pulled = self.pull("pulled")
        self.assertEqual(self.run_verb("verify", pulled)["entries"], 3_001)
        target = self.scratch / "restored"
        self.run_verb("restore", pulled, "--data-dir", target, "--number", 1)
        with harness.Server(target, "--shards", "2") as restored:
            self.assertEqual(restored.client.memory("wiki").count(), 3_000)
        self.server.client.back_up(keep=1)
        third = self.push()
        self.assertGreater(third["removed"], 1)
        self.assertEqual([key for key in self.store.objects if "BACKUP" in key], ["mneme/BACKUP-000003"])
        self.assertEqual(self.run_verb("verify", self.pull("last"))["number"], 3)
        harness.note(f"{self.store.asked} requests, one in five of which failed; {first['bytes']} bytes, then "
                     f"{second['bytes']}")

    def test_what_is_wrong_is_said(self) -> None:
        wrong = self.write_settings("wrong", "other")
        url = f"s3://{BUCKET}/mneme"
        error = self.refused("push", self.backups, url, "--settings", wrong)
        self.assertIn("HTTP 403 SignatureDoesNotMatch", error)
        self.assertNotIn("other", error)
        self.settings.chmod(0o644)
        self.assertIn("chmod 600", self.refused("push", self.backups, url, "--settings", self.settings))
        self.settings.chmod(0o600)
        self.assertIn("must be s3://BUCKET", self.refused("push", self.backups, "bucket", "--settings", self.settings))
        self.assertIn("no backups there", self.refused("pull", self.scratch / "no", url, "--settings", self.settings))
        # Damage there is found when what came is verified.
        self.push()
        table = next(key for key in self.store.objects if key.endswith(".sst"))
        damaged = bytearray(self.store.objects[table])
        damaged[len(damaged) // 2] ^= 1
        self.store.objects[table] = bytes(damaged)
        self.assertIn("cannot be restored", self.refused("verify", self.pull("damaged")))


if __name__ == "__main__":
    harness.main()
