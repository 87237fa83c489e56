"""A memory at a pinned version."""

from __future__ import annotations

import contextlib
import dataclasses
from types import TracebackType
from typing import Any, Mapping, Optional, Type

from . import calls, errors, wire
from ._proto import memory_pb2
from .asking import Asking, Partitions


@dataclasses.dataclass(frozen=True)
class Source:
    """What a memory asks with."""

    name: str
    caller: calls.Caller
    data: Any
    fingerprint: Optional[Mapping[str, Any]]


class Pinned(Asking):
    """A memory as it was when the lease was taken; see Memory.lease. Thread-safe.

    It answers query, distribution, attention, centroids, match, select, count and decode_stream (whose appends go to
    the memory as it is, and are not seen here). FailedPrecondition, reason LEASE_EXPIRED: the lease has ended, the
    server was started anew, or the memory dropped; take another.
    """

    def __init__(self, source: Source, granted: memory_pb2.AcquireLeaseResponse, partitions: Partitions) -> None:
        self.name = granted.memory  # not the alias that was asked, which may point elsewhere
        self.version: bytes = granted.version
        self.expires_ms: int = granted.expires_ms  # Unix milliseconds, by the server's clock
        self._caller, self._data, self._fingerprint = source.caller, source.data, source.fingerprint
        self._lease, self._held = granted.lease, partitions

    def __repr__(self) -> str:
        return f"Pinned({self.name!r})"

    @property
    def lease(self) -> bytes:
        """What a query of another client presents: `memory.query(q, lease=pinned.lease)`."""
        return self._lease

    def __enter__(self) -> "Pinned":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        with contextlib.suppress(errors.FailedPrecondition, errors.Unavailable):  # it has ended, or ends by itself
            self.release()

    def renew(self, seconds: float = 60.0, timeout: Optional[float] = None) -> int:
        """Ends the lease in so many seconds from now; returns when that is, in Unix milliseconds."""
        request = memory_pb2.RenewLeaseRequest(lease=self._lease, lease_ms=_milliseconds(seconds))
        self.expires_ms = self._caller.call(self._data.RenewLease, request, timeout).expires_ms
        return self.expires_ms

    def release(self, timeout: Optional[float] = None) -> None:
        """Gives the lease back: nothing is read from here any more."""
        request = memory_pb2.ReleaseLeaseRequest(lease=self._lease)
        self._caller.call(self._data.ReleaseLease, request, timeout, calls.refused_as("LEASE_EXPIRED"))


def acquire(
    source: Source, seconds: float, partitions: Partitions, version: bytes, timeout: Optional[float]
) -> Pinned:
    """See Memory.lease."""
    request = memory_pb2.AcquireLeaseRequest(
        memory=source.name,
        partitions=wire.partition_selection(partitions),
        lease_ms=_milliseconds(seconds),
        at_least_version=version,
    )
    return Pinned(source, source.caller.call(source.data.AcquireLease, request, timeout), partitions)


def _milliseconds(seconds: float) -> int:
    if not 0.001 <= seconds <= 600:
        raise ValueError(f"a lease of {seconds} seconds; must be in [0.001, 600]")
    return round(seconds * 1000)
