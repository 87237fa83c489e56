"""The virtual environment of the peers: packages of the bench, never of the product."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

from . import machine
from .report import NotAvailable

PACKAGES = ["numpy", "faiss-cpu", "hnswlib", "usearch", "milvus-lite", "pymilvus", "chromadb", "matplotlib"]
HERE = pathlib.Path(__file__).resolve().parents[1] / "peer"
THREADS = 2


def directory() -> pathlib.Path:
    return machine.BUILD / "bench-peers"


def python() -> pathlib.Path:
    return directory() / "bin" / "python"


def install() -> None:
    """Makes the environment and installs what is missing; a package that cannot be had is only told."""
    if not python().exists():
        subprocess.run([sys.executable, "-m", "venv", directory()], check=True)
    for package in PACKAGES:
        done = subprocess.run([python(), "-m", "pip", "install", "-q", package], capture_output=True, text=True)
        outcome = "ok" if done.returncode == 0 else "cannot be installed: " + done.stderr.strip().splitlines()[-1]
        print(f"{package}: {outcome}", file=sys.stderr, flush=True)


def versions() -> dict[str, str]:
    if not python().exists():
        return {}
    listed = subprocess.run([python(), "-m", "pip", "freeze"], capture_output=True, text=True).stdout
    wanted = {package.lower() for package in PACKAGES}
    pairs = (line.partition("==") for line in listed.splitlines())
    return {name: version for name, _, version in pairs if name.lower() in wanted}


def command(script: str, *modules: str) -> list[Any]:
    if not python().exists():
        raise NotAvailable("peers: run tests/bench/run --peers")
    probe = "import importlib.util as u,sys; print(','.join(m for m in sys.argv[1:] if u.find_spec(m) is None))"
    absent = subprocess.run([python(), "-c", probe, *modules], capture_output=True, text=True).stdout.strip()
    if absent:
        raise NotAvailable(f"{absent} in {directory()}: run tests/bench/run --peers")
    return [python(), "-u", HERE / script]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
