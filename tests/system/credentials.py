"""Certificates and tokens of a test, made by the programs that an operator uses."""

from __future__ import annotations

import contextlib
import os
import pathlib
import subprocess
import threading
import time
from typing import Any, Iterator, Optional

import harness
import mneme

LOCAL = ("DNS:localhost", "IP:127.0.0.1")


class Authority:
    """A certificate authority in a folder of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.ca = folder / "ca.pem"

    def issue(self, name: str, *sans: str, days: int = 1) -> tuple[pathlib.Path, pathlib.Path]:
        """Certificate and key, in the place of those that were there."""
        command = [harness.ROOT / "deploy" / "certificates", self.folder, name, *(sans or LOCAL)]
        environment = {**os.environ, "MNEME_CERTIFICATE_DAYS": str(days)}
        subprocess.run([str(each) for each in command], check=True, env=environment, stdout=subprocess.DEVNULL)
        return self.folder / f"{name}.pem", self.folder / f"{name}.key"

    def server_flags(self, name: str = "server", *sans: str, client_ca: Optional[pathlib.Path] = None) -> list[str]:
        certificate, key = self.issue(name, *sans)
        flags = ["--tls-certificate", str(certificate), "--tls-key", str(key)]
        return flags if client_ca is None else [*flags, "--tls-client-ca", str(client_ca)]

    def client(self, name: str = "", **more: Any) -> mneme.Security:
        """A client that trusts this authority; with a name, one that has a certificate by it."""
        if not name:
            return mneme.Security(ca=self.ca, **more)
        certificate, key = self.issue(name)
        return mneme.Security(ca=self.ca, certificate=certificate, key=key, **more)


def run_cli(*arguments: Any, **environment: Any) -> subprocess.CompletedProcess:
    command = [str(harness.BIN / "mneme"), *map(str, arguments)]
    given = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    return subprocess.run(command, env=given, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)


def make_token(file: pathlib.Path, name: str, *grants: str, more: tuple[str, ...] = ()) -> str:
    """By `mneme token`, which adds its line to the file."""
    flags = [word for grant in grants for word in ("--grant", grant)]
    made = run_cli("token", name, *flags, *more, "--file", file)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def replace(path: pathlib.Path, text: str) -> None:
    """As an operator should: whole, at once."""
    beside = path.with_name(path.name + ".new")
    beside.write_text(text)
    beside.chmod(0o600)
    beside.rename(path)


class Load:
    """Calls that go on in threads; every answer must be right, and there must be some all the time."""

    def __init__(self, connect: Any, threads: int = 3) -> None:
        self._connect, self.calls, self.failures = connect, 0, []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def _run(self) -> None:
        while not self._stop.is_set():
            # A connection of its own now and then: what is new holds for new ones.
            with self._connect() as client:
                for _ in range(20):
                    if self._stop.is_set():
                        return
                    try:
                        client.ping()
                        self.calls += 1
                    except mneme.MnemeError as error:
                        self.failures.append(error)
                    time.sleep(0.002)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(60)
