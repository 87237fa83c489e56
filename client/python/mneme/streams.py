"""Bulk insertion over one stream, held back by the server's window."""

from __future__ import annotations

import collections
from typing import Any, Iterable, Iterator, Optional

import numpy as np

from . import results
from ._proto import memory_pb2
from .stream_call import StreamCall, ended

_FIRST_WINDOW_BYTES = 4 * 1024 * 1024  # until the first acknowledgement names the server's own


def insert_all(
    method: Any, batches: Iterable[memory_pb2.InsertRequest], timeout: Optional[float]
) -> Iterator[results.Inserted]:
    """Sends batches in order, never more bytes unacknowledged than the server's window; yields each acknowledgement as
    soon as it is there. An acknowledgement covers every batch up to its sequence."""
    call = StreamCall(method, timeout)  # reads while the caller makes the next batch
    pending: "collections.deque[tuple[int, int]]" = collections.deque()  # sequence, bytes
    window, in_flight = _FIRST_WINDOW_BYTES, 0

    def receive() -> results.Inserted:
        nonlocal window, in_flight
        got = call.receive()
        if got is None:
            raise ended()
        window = got.window_bytes or window
        while pending and pending[0][0] <= got.sequence:
            in_flight -= pending.popleft()[1]
        durability, ids = results.durability_name(got.durability), np.frombuffer(got.ids, "<u8")
        return results.Inserted(got.inserted, got.replaced, ids, got.version, durability, sequence=got.sequence)

    try:
        for sequence, batch in enumerate(batches, 1):
            size = batch.ByteSize()
            while pending and (in_flight + size > window or call.ready):
                yield receive()
            call.send(memory_pb2.InsertStreamRequest(sequence=sequence, insert=batch))
            pending.append((sequence, size))
            in_flight += size
        call.half_close()
        while pending:
            yield receive()
    finally:
        call.cancel()
