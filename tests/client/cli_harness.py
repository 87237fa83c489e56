"""What the tests of the command line share: the real `mneme` against the real server.

MNEME_BIN_DIR    where mneme and mneme-server are (default: build/release/bin)
MNEME_SHARED_DATA  where the data sets are (default: shared/data beside the repository)
MNEME_TEST_SEED  repeats a run; the seed of each run is printed
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))  # what tests of all folders share
BIN = pathlib.Path(os.environ.get("MNEME_BIN_DIR") or ROOT / "build" / "release" / "bin")
SHARED = pathlib.Path(os.environ.get("MNEME_SHARED_DATA") or ROOT.parent / "shared" / "data")
SEED = int(os.environ.get("MNEME_TEST_SEED") or time.time_ns() % 1_000_000)
START_SECONDS = 60.0


def start_server(folder, *flags):
    """A server on a port of its own, and its address."""
    port_file = folder / "port"
    command = [BIN / "mneme-server", "--data-dir", folder / "data", "--listen", "127.0.0.1:0", "--port-file", port_file]
    with open(folder / "log", "ab") as log:
        server = subprocess.Popen([*map(str, command), "--admin-listen", "127.0.0.1:0", *flags], stdout=log, stderr=log)
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError, ValueError):
            address = f"127.0.0.1:{int(port_file.read_text())}"
            if run("--server", address, "health", check=False).returncode == 0:
                return server, address
        time.sleep(0.01)
    server.kill()
    raise RuntimeError((folder / "log").read_text()[-4000:])


def run(*arguments, check=True, env=None, stdin=subprocess.DEVNULL):
    environment = {k: v for k, v in os.environ.items() if k != "MNEME_SERVER"}
    done = subprocess.run(
        [str(BIN / "mneme"), *map(str, arguments)],
        stdin=stdin, capture_output=True, text=True, env={**environment, **(env or {})},
    )
    if check and done.returncode != 0:
        raise AssertionError(f"mneme {' '.join(map(str, arguments))} exited with {done.returncode}:\n{done.stderr}")
    return done


class CliTest(unittest.TestCase):
    """One server of SHARDS shards for all tests of a class, and the CLI to ask it with."""

    SHARDS = 2

    @classmethod
    def setUpClass(cls):
        print(f"MNEME_TEST_SEED={SEED}", file=sys.stderr)
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="mneme-cli-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.server, cls.address = start_server(cls.folder, "--shards", str(cls.SHARDS))
        cls.addClassCleanup(lambda: (cls.server.kill(), cls.server.wait()))

    @classmethod
    def at(cls, name):
        return cls.folder / f"{name}.npy"

    @classmethod
    def save(cls, name, array, dtype=np.float32):
        """Writes an array, and returns where."""
        np.save(cls.at(name), np.asarray(array, dtype))
        return cls.at(name)

    @classmethod
    def cli(cls, *arguments):
        return json.loads(run("--server", cls.address, *arguments, "-o", "json").stdout)

    @classmethod
    def text(cls, *arguments):
        return run("--server", cls.address, *arguments).stdout

    def fails(self, code, part, *arguments):
        done = run("--server", self.address, *arguments, check=False)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertEqual(done.stdout, "")
        lines = done.stderr.strip().splitlines()
        self.assertTrue(any(line.startswith("error: ") for line in lines), done.stderr)
        self.assertIn(part, done.stderr)
