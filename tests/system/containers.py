"""What a container would be, without an engine that runs containers: a process of ours, started from the environment
variables of the image and of a manifest alone, with a directory, ports and names of its own."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import urllib.request

import harness

DOCKERFILE = harness.ROOT / "Dockerfile"


def image_environment() -> dict[str, str]:
    """What ENV of the image says."""
    text = DOCKERFILE.read_text().replace("\\\n", " ")
    return dict(re.findall(r"(MNEME_\w+)=(\S+)", "\n".join(re.findall(r"^ENV (.*)$", text, re.M))))


def known_variables() -> set[str]:
    """Those that the server reads; it would not notice another, or one that is misspelt."""
    usage = subprocess.run([harness.BIN / "mneme-server", "--help"], stdout=subprocess.PIPE, check=True)
    flags = re.findall(r"--([a-z][a-z-]+)", usage.stdout.decode())
    return {"MNEME_" + flag.upper().replace("-", "_") for flag in flags}


class Container:
    """`environment` is the manifest's; `volume` stands for its /data."""

    def __init__(self, name: str, environment: dict[str, str], scratch: pathlib.Path, ports: tuple[int, int]) -> None:
        self.name, self.given = name, {**image_environment(), **environment}
        self.address, self.admin = (f"127.0.0.1:{port}" for port in ports)
        self.volume = scratch / name
        self.log = scratch / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def environment(self, names: dict[str, str]) -> dict[str, str]:
        """With what the container's network and volumes make of it; `names` are the addresses of others by theirs."""
        given = dict(self.given)
        given["MNEME_LISTEN"] = given["MNEME_LISTEN"].replace("0.0.0.0:7700", self.address)
        given["MNEME_ADMIN_LISTEN"] = given["MNEME_ADMIN_LISTEN"].replace("0.0.0.0:7701", self.admin)
        given["MNEME_DATA_DIR"] = given["MNEME_DATA_DIR"].replace("/data", str(self.volume), 1)
        for name in {"MNEME_SHARD_ADDRESSES", "MNEME_LOG"} & set(given):
            given[name] = re.sub(r"[\w.-]+:\d+", lambda found: names[found[0]], given[name])
        return given

    def start(self, names: dict[str, str]) -> None:
        environment = {**os.environ, **self.environment(names)}
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([harness.BIN / "mneme-server"], env=environment, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(30)

    def stop(self, timeout: float) -> int:
        """SIGTERM, and the exit code."""
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(timeout)

    def page(self, path: str) -> str:
        """Of the admin port; raises OSError while there is none."""
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as page:
            return str(page.read().decode())
