"""What every system test shares: the real server as a child process, the real CLI, the Python client, the data.

MNEME_BIN_DIR    where mneme-server and mneme are (default: build/release/bin)
MNEME_TEST_FULL  1: the big sizes
MNEME_TEST_SEED  repeats a run; the seed of each run is printed
MNEME_TEST_CLUSTER  1: what a test serves is a front end over shards of their own processes
MNEME_SHARED_DATA  where knnlm_wiki is (default: shared/data beside the repository)
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request
from typing import Any, Iterator, Optional

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "client" / "python"), str(ROOT / "tests")]  # the client, and what tests of all folders share

import generate_stubs  # noqa: E402

if generate_stubs.stale():
    generate_stubs.generate()

import mneme  # noqa: E402
import numpy as np  # noqa: E402

BIN = pathlib.Path(os.environ.get("MNEME_BIN_DIR") or ROOT / "build" / "release" / "bin")
CLUSTER = os.environ.get("MNEME_TEST_CLUSTER") == "1"
FULL = os.environ.get("MNEME_TEST_FULL") == "1"
SEED = int(os.environ.get("MNEME_TEST_SEED") or time.time_ns() % 1_000_000)
SHARED = pathlib.Path(os.environ.get("MNEME_SHARED_DATA") or ROOT.parent / "shared" / "data")
STREAM = ROOT / "tests" / "data" / "wiki_stream"
# A sanitizer's server is ten times slower; nothing here measures time, so patience costs nothing.
START_SECONDS = 120.0


class Server:
    """One mneme-server on a port of its own. Logs to DIR.log; `stop` is SIGTERM, `kill` is SIGKILL."""

    ADMIN_LISTEN = "127.0.0.1:0"
    environment: dict[str, str] = {}  # beside this program's own

    def __init__(self, data_dir: pathlib.Path, *flags: str, security: Optional[mneme.Security] = None) -> None:
        self.data_dir, self.flags, self.security = pathlib.Path(data_dir), flags, security
        self.log = self.data_dir.parent / (self.data_dir.name + ".log")
        self.address = ""
        self.listen = "127.0.0.1:0"
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._client: Optional[mneme.Client] = None
        self.start()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: Any) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._launch()
        self._await_answer()

    def _launch(self) -> None:
        """Starts the process, and waits until it says which port it has."""
        port_file = self.data_dir.parent / (self.data_dir.name + ".port")
        port_file.unlink(missing_ok=True)
        command = [
            str(BIN / "mneme-server"),
            "--data-dir",
            str(self.data_dir),
            "--listen",
            self.listen,
            "--port-file",
            str(port_file),
            "--admin-listen",
            self.ADMIN_LISTEN,
            "--admin-port-file",
            str(self._admin_port_file),
            *self.flags,
        ]
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment}
            )
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServerDied(f"mneme-server exited with {self._process.returncode}:\n{self.tail_of_log()}")
            with contextlib.suppress(OSError, ValueError):
                self.address = f"127.0.0.1:{int(port_file.read_text())}"
                return
            time.sleep(0.005)
        raise ServerDied(f"mneme-server did not come up:\n{self.tail_of_log()}")

    def _await_answer(self) -> None:
        self._client = mneme.connect(self.address, timeout=600, security=self.security)
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(mneme.Unavailable, mneme.DeadlineExceeded):
                self._client.ping(timeout=5)
                return
            time.sleep(0.01)
        raise ServerDied(f"mneme-server did not answer:\n{self.tail_of_log()}")

    @property
    def client(self) -> mneme.Client:
        assert self._client is not None
        return self._client

    @property
    def admin_port(self) -> int:
        return int(self._admin_port_file.read_text())

    @property
    def _admin_port_file(self) -> pathlib.Path:
        return self.data_dir.parent / (self.data_dir.name + ".admin")

    def metrics(self) -> dict[str, float]:
        """What /metrics says, by name with labels."""
        address = f"http://127.0.0.1:{self._admin_port_file.read_text().strip()}/metrics"
        with urllib.request.urlopen(address, timeout=10) as page:
            lines = page.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if line[:1] != "#")}

    def ready(self) -> bool:
        """What /readyz says."""
        address = f"http://127.0.0.1:{self._admin_port_file.read_text().strip()}/readyz"
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                return bool(page.status == 200)
        except urllib.error.HTTPError:
            return False

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM, and the exit code."""
        return self._end(signal.SIGTERM, timeout)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._end(signal.SIGKILL, 30.0)

    def restart(self) -> None:
        self.stop()
        self.start()

    def signal(self, how: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(how)

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tail_of_log(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def cli(self, *arguments: Any) -> Any:
        """The JSON that `mneme ... -o json` prints."""
        return json.loads(self.cli_text(*arguments, "-o", "json"))

    def cli_text(self, *arguments: Any) -> str:
        command = [str(BIN / "mneme"), "--server", self.address, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)} exited with {done.returncode}: {done.stderr.decode()[-2000:]}")
        return done.stdout.decode()

    def _end(self, how: signal.Signals, timeout: float) -> int:
        if self._client is not None:
            self._client.close()
            self._client = None
        assert self._process is not None
        self._process.send_signal(how)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(30)
            raise AssertionError(f"mneme-server outlived {how.name} by {timeout} s:\n{self.tail_of_log()}") from None


def start_server(data_dir: pathlib.Path, *flags: str) -> Server:
    """One process, or with MNEME_TEST_CLUSTER=1 a front end over a process for each shard, which answers the same."""
    if not CLUSTER:
        return Server(data_dir, *flags)
    import cluster

    return cluster.ClusterServer(data_dir, *flags)


class ServerDied(AssertionError):
    """The server ended by itself."""


class SystemTest(unittest.TestCase):
    """A scratch directory, a seeded generator, servers that never outlive their test."""

    def setUp(self) -> None:
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mneme-system-"))
        self.addCleanup(shutil.rmtree, self.scratch, ignore_errors=True)
        self.random = np.random.default_rng(SEED)

    def serve(self, name: str = "data", *flags: str) -> Server:
        server = start_server(self.scratch / name, *flags)
        self.addCleanup(server.kill)
        return server

    def save(self, name: str, array: Any) -> pathlib.Path:
        path = self.scratch / name
        np.save(path, np.ascontiguousarray(array))
        return path


class SharedServerTest(SystemTest):
    """One server for all tests of a class, started with its FLAGS."""

    FLAGS: tuple[str, ...] = ()

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = tempfile.TemporaryDirectory(prefix="mneme-system-")
        cls.server = start_server(pathlib.Path(cls.folder.name) / "data", *cls.FLAGS)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.server.kill()
        cls.folder.cleanup()


def wiki() -> pathlib.Path:
    """knnlm_wiki with its golden files; a test that needs it says so when it is absent."""
    folder = SHARED / "knnlm_wiki"
    if not folder.is_dir():
        raise unittest.SkipTest(f"needs the data set knnlm_wiki in {folder}; set MNEME_SHARED_DATA")
    return folder


@contextlib.contextmanager
def stopwatch(what: str) -> Iterator[None]:
    start = time.monotonic()
    yield
    note(f"{what}: {time.monotonic() - start:.1f} s")


def note(text: str) -> None:
    """A figure for whoever reads the log."""
    print(f"  {text}", flush=True)


def brute_force(keys: Any, queries: Any, k: int, metric: str = "l2") -> tuple[Any, Any]:
    """The oracle: float64, order by score, then id (= row). Returns ids and distances, [queries, k]."""
    stored, asked = np.asarray(keys, np.float64), np.asarray(queries, np.float64)
    ids, distances = [], []
    for query in asked:
        if metric == "l2":
            score = ((stored - query) ** 2).sum(1)
            order = np.lexsort((np.arange(len(stored)), score))[:k]
        else:
            score = stored @ query
            if metric == "cosine":
                score = score / np.linalg.norm(stored, axis=1) / np.linalg.norm(query)
            order = np.lexsort((np.arange(len(stored)), -score))[:k]
        ids.append(order)
        distances.append(score[order])
    return np.array(ids), np.array(distances)


def main() -> None:
    print(f"seed {SEED}{', full size' if FULL else ''} (repeat with MNEME_TEST_SEED={SEED})", flush=True)
    unittest.main(verbosity=2)
