"""A server of one's own, for notebooks, examples and tests."""

from __future__ import annotations

import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
from typing import Any, Optional

from . import client, errors, security

_START_SECONDS, _STOP_SECONDS = 60.0, 30.0


def server_binary() -> str:
    """$MNEME_SERVER, mneme-server on the PATH, or that of the source tree; FileNotFoundError when there is none."""
    tree = pathlib.Path(__file__).resolve().parents[3] / "build" / "release" / "bin" / "mneme-server"
    for candidate in (os.environ.get("MNEME_SERVER"), shutil.which("mneme-server"), str(tree)):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise FileNotFoundError("no mneme-server: set MNEME_SERVER, put it on the PATH, or build the source tree")


class EmbeddedServer:
    """`with mneme.EmbeddedServer() as server: server.client.create_memory(...)`.

    Starts a server on a free port of this machine and stops it at the end. Without a data_dir its data goes with it;
    with one it stays, and a later server finds it. security: how its client connects, where flags ask for that.
    """

    def __init__(
        self,
        data_dir: Optional[str] = None,
        *flags: str,
        binary: Optional[str] = None,
        security: security.Security = security.Security(),
    ) -> None:
        self._own = tempfile.mkdtemp(prefix="mneme-") if data_dir is None else None
        self.data_dir = data_dir or str(pathlib.Path(self._own or "") / "data")
        self._flags, self._binary, self._security = flags, binary or server_binary(), security
        self._process: Optional[subprocess.Popen[bytes]] = None
        self._client: Optional[client.Client] = None
        self.address = ""

    def __enter__(self) -> "EmbeddedServer":
        self.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    @property
    def client(self) -> client.Client:
        """The client of this server."""
        if self._client is None:
            raise RuntimeError("the server has not been started")
        return self._client

    def start(self) -> None:
        """Starts, and returns once the server answers. RuntimeError, with the end of its log, when it does not."""
        folder = pathlib.Path(self.data_dir).absolute()
        folder.parent.mkdir(parents=True, exist_ok=True)
        port, log = folder.with_name(folder.name + ".port"), folder.with_name(folder.name + ".log")
        port.unlink(missing_ok=True)
        command = [self._binary, "--data-dir", str(folder), "--listen", "127.0.0.1:0", "--port-file", str(port)]
        with open(log, "ab") as out:
            self._process = subprocess.Popen(
                [*command, "--admin-listen", "127.0.0.1:0", *self._flags],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            if port.exists() and (text := port.read_text().strip()):
                self.address = f"127.0.0.1:{int(text)}"
                self._client = client.connect(self.address, security=self._security)
                if self._answers():
                    return
            time.sleep(0.01)
        self._stop(signal.SIGKILL)
        raise RuntimeError(f"mneme-server did not start: {log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """SIGKILL, as a crash would be; start() goes on with what was acknowledged."""
        self._stop(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM: finishes what was accepted."""
        self._stop(signal.SIGTERM)

    def close(self) -> None:
        """Stops, and removes the data unless a data_dir was given."""
        self.stop()
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def _answers(self) -> bool:
        try:
            self.client.ping(timeout=5)
            return True
        except (errors.Unavailable, errors.DeadlineExceeded):
            return False

    def _stop(self, how: signal.Signals) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(how)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
