"""A mneme-server of the bench's own, on a fresh directory, with a Unix socket and a TCP port; and its CLI."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import struct
import subprocess
import time
from typing import Any, Optional

import numpy as np

from . import machine
from .process import Argument
from .ram_group import RamGroup


class Server:
    """Starts at once. `stop` keeps the directory; `copy_data` needs a stopped server."""

    def __init__(self, directory: pathlib.Path, *flags: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.data_dir = directory / "data"
        self.flags = list(flags)
        self.ram_group: Optional[RamGroup] = None  # where it is started next
        self._directory = directory
        self._process: Optional[subprocess.Popen[bytes]] = None
        self.unix = f"unix:{directory / 'sock'}"
        self.tcp = ""
        self.start()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        port_file = self._directory / "port"
        port_file.unlink(missing_ok=True)
        command: list[Argument] = [machine.BIN / "mneme-server", "--data-dir", self.data_dir, "--listen", "127.0.0.1:0"]
        command += ["--listen-unix", self._directory / "sock", "--port-file", port_file, "--admin-listen", "off"]
        with open(self._directory / "server.log", "ab") as log:
            self._process = subprocess.Popen(
                [str(part) for part in command + list(self.flags)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                preexec_fn=self.ram_group and self.ram_group.enter,
            )
        while not port_file.exists() or not port_file.read_text():
            if self._process.poll() is not None:
                raise RuntimeError((self._directory / "server.log").read_text()[-2000:])
            time.sleep(0.002)
        self.tcp = f"127.0.0.1:{port_file.read_text().strip()}"

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def cli(self, *arguments: Argument, timeout: float = 7200.0) -> str:
        command = [machine.BIN / "mneme", "--server", self.unix, "--timeout", "0", "-q", *arguments]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"mneme {' '.join(str(a) for a in arguments)}: {done.stderr.strip()[-1000:]}")
        return done.stdout

    def statistics(self, memory: str = "") -> dict[str, Any]:
        result: dict[str, Any] = json.loads(self.cli("stats", *([memory] if memory else []), "-o", "json"))
        return result

    def wait_until_idle(self, memory: str, seconds: float = 900.0) -> None:
        """Until background work on the index has ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.statistics(memory).get("colour") != "green":
            time.sleep(0.2)

    def copy_data(self, target: pathlib.Path) -> pathlib.Path:
        """A copy of the data, taken while the server is down for a moment."""
        self.stop()
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.data_dir, target)
        self.start()
        return target


def centroids(data_dir: pathlib.Path, dimension: int) -> np.ndarray:
    """Of the newest codebook with this dimension: section 2 of its file (docs/formats.md)."""
    found = []
    for path in sorted(data_dir.glob("shard-*/index/*.codebook")):
        head = path.read_bytes()
        sections = struct.unpack_from("<I", head, 52)[0]
        where = {}
        for i in range(sections):
            section, _, offset, size = struct.unpack_from("<IIQQ", head, 80 + 24 * i)
            where[section] = (offset, size)
        offset, size = where[2]
        if struct.unpack_from("<I", head, where[1][0] + 12)[0] == dimension:
            found.append(np.frombuffer(head, "<f4", size // 4, offset).reshape(-1, dimension))
    if not found:
        raise RuntimeError(f"{data_dir} has no codebook of dimension {dimension}")
    return found[-1]


def cli_offers(verb: str, word: str) -> bool:
    """Whether a verb's help names this option: rows that need what is not built yet say so."""
    done = subprocess.run([str(machine.BIN / "mneme"), verb, "--help"], capture_output=True, text=True)
    return done.returncode == 0 and word in done.stdout.split()
