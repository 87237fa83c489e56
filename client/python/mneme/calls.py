"""One place for deadlines and retries: every unary call of the client goes through `Caller.call`."""

from __future__ import annotations

import random
import time
import uuid
from typing import Any, Callable, Optional

import grpc

from . import errors
from .security import Security

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
_FIRST_BACKOFF_S, _MAX_BACKOFF_S = 0.05, 1.0
# Who refuses says why; but a front end that lost the answer of a shard can only say which shard.
_MAY_HAVE_LOST_THE_ANSWER = ("", "SHARD_UNAVAILABLE")


def open_channel(address: str, safety: Security) -> Any:
    """A channel to HOST:PORT or unix:PATH. Opening it sends nothing."""
    return safety.open_channel(
        address,
        [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.enable_retries", 0),  # ours know the request id and the budget
            ("grpc.enable_http_proxy", 0),  # which would be shown the token, and all that is not encrypted
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 2000),  # of one attempt: a lost SYN holds it up no longer
            ("grpc.max_reconnect_backoff_ms", 500),
        ],
    )


def new_request_id() -> str:
    """An id under which a retry is applied once."""
    return uuid.uuid4().hex


class Caller:
    """Calls with a deadline for all attempts together. Thread-safe."""

    def __init__(self, timeout: float, attempts: int) -> None:
        if timeout <= 0 or attempts < 1:
            raise ValueError(f"timeout is {timeout} and attempts {attempts}; both must be positive")
        self.timeout = timeout
        self.attempts = attempts
        self._random = random.Random()

    def call(
        self,
        method: Callable[..., Any],
        request: Any,
        timeout: Optional[float] = None,
        done: Optional[Callable[[errors.MnemeError], Any]] = None,
    ) -> Any:
        """The answer, or a MnemeError. Retries UNAVAILABLE, and RESOURCE_EXHAUSTED when the server says when.

        done: for what has no request id. Once an answer may have been lost, it is shown what a later attempt is refused
        with, and gives the answer when that says that an earlier one did it; None: it did not, the error is raised.
        """
        end = time.monotonic() + (self.timeout if timeout is None else timeout)
        attempt, lost = 0, False
        while True:
            attempt += 1
            try:
                return method(request, timeout=max(end - time.monotonic(), 0.001))
            except grpc.RpcError as rpc_error:
                error = errors.from_rpc_error(rpc_error)
            if lost and done is not None and (answer := done(error)) is not None:
                return answer
            lost = lost or (isinstance(error, errors.Unavailable) and error.reason in _MAY_HAVE_LOST_THE_ANSWER)
            pause = self._pause(error, attempt)
            if pause is None or time.monotonic() + pause >= end:
                raise error
            time.sleep(pause)

    def _pause(self, error: errors.MnemeError, attempt: int) -> Optional[float]:
        if attempt >= self.attempts:
            return None
        if isinstance(error, errors.Unavailable):
            backoff = min(_FIRST_BACKOFF_S * 2 ** (attempt - 1), _MAX_BACKOFF_S)
            return max(error.retry_after or 0.0, backoff * self._random.uniform(0.5, 1.0))
        if isinstance(error, errors.ResourceExhausted):
            return error.retry_after
        return None


def refused_as(reason: str) -> Callable[[errors.MnemeError], Any]:
    """`done` of a call whose answer is empty: an earlier attempt did it when this is why a later one is refused."""
    return lambda error: True if error.reason == reason else None
