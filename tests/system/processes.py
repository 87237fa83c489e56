"""What a process holds, as the kernel says."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from typing import Callable


def resident_bytes(pid: int) -> int:
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def own_bytes(pid: int) -> int:
    """Resident, without what is of files that are mapped: those the kernel takes back as it likes."""
    with open(f"/proc/{pid}/statm") as file:
        _, resident, of_files, *_ = map(int, file.read().split())
    return (resident - of_files) * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def sockets(pid: int) -> int:
    count, folder = 0, f"/proc/{pid}/fd"
    for each in os.listdir(folder):
        with contextlib.suppress(OSError):  # closed meanwhile
            count += os.readlink(f"{folder}/{each}").startswith("socket:")
    return count


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def await_true(what: Callable[[], bool], seconds: float) -> bool:
    """Whether it becomes true within the time."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)
    return True


def allow_descriptors(count: int) -> int:
    """How many this process, and what it starts, may have open: `count`, or as many as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(allowed, soft)


def limit_descriptors(pid: int, soft: int) -> None:
    """Lets another process have so many open from now on."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
