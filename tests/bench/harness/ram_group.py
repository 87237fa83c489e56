"""A control group whose processes share so much ram, their pages of files included."""

from __future__ import annotations

import os
import pathlib

from .report import NotAvailable

V2, V1 = pathlib.Path("/sys/fs/cgroup"), pathlib.Path("/sys/fs/cgroup/memory")


class RamGroup:
    """NotAvailable without the right to make one. `close` after its processes have ended."""

    def __init__(self, limit_bytes: int) -> None:
        root, limit = (V1, "memory.limit_in_bytes") if V1.is_dir() else (V2, "memory.max")
        self._directory = root / f"mneme-bench-{os.getpid()}"
        try:
            self._directory.mkdir()
            (self._directory / limit).write_text(str(limit_bytes))
        except OSError as refused:
            raise NotAvailable(f"a control group of {limit_bytes} bytes: {refused}") from refused

    def enter(self) -> None:
        """Called in a child before it becomes what it is to be."""
        (self._directory / "cgroup.procs").write_text("0")

    def close(self) -> None:
        self._directory.rmdir()
