"""One bidirectional call whose every wait has an end."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any, Iterator, Optional

import grpc

from . import errors


class _Outbox:
    """The request side of a stream: what is put comes out in order; `close` ends it."""

    def __init__(self) -> None:
        self._queue: "queue.SimpleQueue[Any]" = queue.SimpleQueue()

    def put(self, message: Any) -> None:
        self._queue.put(message)

    def close(self) -> None:
        self._queue.put(None)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._queue.get, None)


class StreamCall:
    """Messages out and in. A thread of its own reads, since gRPC's iterator cannot be left while nobody answers; it
    ends with the call, so whoever opens one cancels it. Not thread-safe."""

    def __init__(self, method: Any, timeout: Optional[float] = None) -> None:
        self._outbox = _Outbox()
        self._call = method(iter(self._outbox), timeout=timeout)
        self._answers: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        threading.Thread(target=_forward, args=(self._call, self._answers), daemon=True).start()

    def send(self, message: Any) -> None:
        self._outbox.put(message)

    def half_close(self) -> None:
        """No more messages go out; answers still come in."""
        self._outbox.close()

    def cancel(self) -> None:
        self._outbox.close()
        self._call.cancel()

    @property
    def ready(self) -> bool:
        """True when `receive` has something at once."""
        return not self._answers.empty()

    def receive(self, end: Optional[float] = None) -> Any:
        """The next message, or None when the server has ended the stream with OK. DeadlineExceeded when there is none
        at `end` (of time.monotonic)."""
        try:
            got = self._answers.get(timeout=None if end is None else max(end - time.monotonic(), 0.0))
        except queue.Empty:
            message = "no answer on the stream in time"
            raise errors.DeadlineExceeded(grpc.StatusCode.DEADLINE_EXCEEDED, message) from None
        if isinstance(got, errors.MnemeError):
            raise got
        return got


def _forward(call: Any, answers: "queue.SimpleQueue[Any]") -> None:
    """Every message of a call, then the error that ended it, or None."""
    try:
        for message in call:
            answers.put(message)
        answers.put(None)
    except grpc.RpcError as error:
        answers.put(errors.from_rpc_error(error))


def ended() -> errors.Unavailable:
    """A stream that ended while an answer was due."""
    return errors.Unavailable(grpc.StatusCode.UNAVAILABLE, "the server ended the stream")
