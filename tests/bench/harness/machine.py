"""Facts that a figure is worth nothing without."""

from __future__ import annotations

import os
import pathlib
import platform
import re
import subprocess
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[3]
BIN = pathlib.Path(os.environ.get("MNEME_BIN_DIR") or ROOT / "build" / "release" / "bin")
BUILD = pathlib.Path(os.environ.get("MNEME_BENCH_DIR") or ROOT / "build")


def _first(path: str, pattern: str) -> str:
    try:
        found = re.search(pattern, pathlib.Path(path).read_text(), re.M)
    except OSError:
        return ""
    return found.group(1).strip() if found else ""


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", "-C", ROOT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def facts() -> dict[str, Any]:
    flags = _first("/proc/cpuinfo", r"^flags\s*: (.*)$").split()
    return {
        "cpu": _first("/proc/cpuinfo", r"^model name\s*: (.*)$"),
        "cores": os.cpu_count(),
        "vector_sets": [flag for flag in flags if flag in ("avx2", "fma") or flag.startswith("avx512")],
        "ram_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "load_average": os.getloadavg(),
        "commit": _git("rev-parse", "HEAD"),
        "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "server": str(BIN / "mneme-server"),
    }


def tree_bytes(directory: pathlib.Path) -> int:
    """Bytes that the files below take on disk."""
    total = 0
    for path, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(path, name)).st_blocks * 512
            except FileNotFoundError:
                pass  # removed meanwhile
    return total
