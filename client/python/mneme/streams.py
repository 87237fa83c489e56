"""The two bidirectional streams: bulk insertion with back-pressure, and the decode loop."""

from __future__ import annotations

import collections
import queue
import threading
from types import TracebackType
from typing import Any, Iterable, Iterator, Mapping, Optional, Type

import grpc
import numpy as np
from numpy.typing import ArrayLike

from . import errors, requests, results, wire
from ._proto import memory_pb2, types_pb2

_FIRST_WINDOW_BYTES = 4 * 1024 * 1024  # until the first acknowledgement names the server's own


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


def insert_all(
    method: Any, batches: Iterable[memory_pb2.InsertRequest], timeout: Optional[float]
) -> Iterator[results.Inserted]:
    """Sends batches in order, never more bytes unacknowledged than the server's window; yields each acknowledgement as
    soon as it is there. An acknowledgement covers every batch up to its sequence."""
    outbox = _Outbox()
    call = method(iter(outbox), timeout=timeout)
    answers: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
    # Reads while the caller makes the next batch; ends with the call, which the `finally` below cancels.
    threading.Thread(target=_forward, args=(call, answers), daemon=True).start()
    pending: "collections.deque[tuple[int, int]]" = collections.deque()  # sequence, bytes
    window, in_flight = _FIRST_WINDOW_BYTES, 0

    def receive() -> results.Inserted:
        nonlocal window, in_flight
        got = answers.get()
        if isinstance(got, errors.MnemeError):
            raise got
        window = got.window_bytes or window
        while pending and pending[0][0] <= got.sequence:
            in_flight -= pending.popleft()[1]
        durability, ids = results.durability_name(got.durability), np.frombuffer(got.ids, "<u8")
        return results.Inserted(got.inserted, got.replaced, ids, got.version, durability, sequence=got.sequence)

    try:
        for sequence, batch in enumerate(batches, 1):
            size = batch.ByteSize()
            while pending and (in_flight + size > window or not answers.empty()):
                yield receive()
            outbox.put(memory_pb2.InsertStreamRequest(sequence=sequence, insert=batch))
            pending.append((sequence, size))
            in_flight += size
        outbox.close()
        while pending:
            yield receive()
    finally:
        outbox.close()
        call.cancel()


def _forward(call: Any, answers: "queue.SimpleQueue[Any]") -> None:
    """Every message of a call, then the error that ended it."""
    try:
        for message in call:
            answers.put(message)
        answers.put(errors.Unavailable(grpc.StatusCode.UNAVAILABLE, "the server ended the stream"))
    except grpc.RpcError as error:
        answers.put(errors.from_rpc_error(error))


class DecodeStream:
    """The decode loop: one message per step, and a step carries what the last one taught. Not thread-safe.

    `step(q)` answers for the keys of this step; `learn(tokens, ...)` then says what followed them and rides on the next
    step's message, which is answered first: predict, then learn, one round trip. Where the token is known when asking
    (evaluation, reading a text), `step(q, learn=tokens)` predicts and learns in that one message, and the next step
    sees it. `wait()` sends what is still to be learned and returns when all of it is acknowledged; leaving the `with`
    block does the same.
    """

    def __init__(
        self,
        method: Any,
        memory: str,
        k: int,
        search: requests.Search,
        read_out: memory_pb2.DistributionReadOut,
        partition: int,
        durability: str,
        timeout: Optional[float],
    ) -> None:
        self._memory, self._k, self._search, self._read_out = memory, k, search, read_out
        self._partition, self._durability = partition, wire.choice("durability", durability, wire.DURABILITIES)
        self._outbox = _Outbox()
        self._call = method(iter(self._outbox), timeout=timeout)
        self._steps = 0
        self._appended_step = 0
        self._last_keys: Optional[types_pb2.Vectors] = None
        self._append: Optional[memory_pb2.StepAppend] = None
        self.acknowledged_step = 0
        self.version = b""
        self.benefit_tokens, self.benefit_nats = 0, 0.0

    def __enter__(self) -> "DecodeStream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            if kind is None:
                self.wait()
                self._finish()
        finally:
            self.close()

    def step(
        self,
        keys: ArrayLike,
        *,
        targets: Optional[ArrayLike] = None,
        mix: Optional[tuple[ArrayLike, float]] = None,
        exclude_sources: Optional[ArrayLike] = None,
        learn: Optional[ArrayLike] = None,
        lm_log_probs: Optional[ArrayLike] = None,
        knn_weight: float = 0.0,
        **columns: Any,
    ) -> results.Distributions:
        """The distribution for these keys; what `learn` of the last step said is applied after the answer."""
        read_out = memory_pb2.DistributionReadOut()
        read_out.CopyFrom(self._read_out)
        if targets is not None:
            read_out.targets = wire.column(targets, "<u4", "targets")
        if mix is not None:
            read_out.mix.CopyFrom(requests.distribution(mix=mix).mix)
        query = requests.query(self._memory, keys, self._k, self._search)
        if exclude_sources is not None:
            query.exclude_sources = wire.column(exclude_sources, "<u8", "exclude_sources")
        query.distribution.CopyFrom(read_out)
        if learn is not None:
            if self._append is not None:
                self._exchange(None)  # the last step's lesson first: in the order in which the caller gave them
            self._append = self._lesson(None, learn, lm_log_probs, knn_weight, columns)
        response = self._exchange(query)
        self._last_keys = query.keys
        return results.read_distributions(
            response.response, requests.rows_of(query.keys), read_out, self._k, self._search.precision == "single"
        )

    def learn(
        self, tokens: ArrayLike, lm_log_probs: Optional[ArrayLike] = None, knn_weight: float = 0.0, **columns: Any
    ) -> None:
        """What followed the keys of the last step. With ln p_LM of it the server counts the memory's benefit."""
        if self._last_keys is None:
            raise RuntimeError("learn() before the first step(): there are no keys to learn")
        if self._append is not None:
            raise RuntimeError("learn() twice after one step()")
        self._append = self._lesson(self._last_keys, tokens, lm_log_probs, knn_weight, columns)

    def _lesson(
        self,
        keys: Optional[types_pb2.Vectors],
        tokens: ArrayLike,
        lm_log_probs: Optional[ArrayLike],
        knn_weight: float,
        columns: Mapping[str, Any],
    ) -> memory_pb2.StepAppend:
        """Without keys the server takes those of the query in the same message."""
        entries = wire.entries(None, np.atleast_1d(tokens), columns)
        if keys is not None:
            entries.keys.CopyFrom(keys)
        return memory_pb2.StepAppend(
            entries=entries,
            partition=self._partition,
            durability=self._durability,
            lm_log_probs=wire.column(lm_log_probs, "<f4", "lm_log_probs"),
            knn_weight=knn_weight,
        )

    def wait(self) -> bytes:
        """Returns the version at which everything learned is acknowledged, as durable as asked."""
        if self._append is not None:
            self._exchange(None)
        while self.acknowledged_step < self._appended_step:
            self._exchange(None)
        return self.version

    def _finish(self) -> None:
        """Half-closes and reads to the end, so that the stream ends with OK rather than as cancelled."""
        self._outbox.close()
        try:
            for response in self._call:
                self._note(response)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None

    def close(self) -> None:
        """Ends the stream; what was learned and not yet sent is not sent."""
        self._outbox.close()
        self._call.cancel()

    def _exchange(self, query: Optional[memory_pb2.QueryRequest]) -> memory_pb2.QueryStreamResponse:
        self._steps += 1
        message = memory_pb2.QueryStreamRequest(step=self._steps, query=query, append=self._append)
        if self._append is not None:
            self._appended_step, self._append = self._steps, None
        self._outbox.put(message)
        while True:
            response = self._receive()
            if response.step == self._steps:
                return response

    def _receive(self) -> memory_pb2.QueryStreamResponse:
        try:
            response = next(self._call)
        except grpc.RpcError as error:
            raise errors.from_rpc_error(error) from None
        except StopIteration:
            raise errors.Unavailable(grpc.StatusCode.UNAVAILABLE, "the server ended the stream") from None
        self._note(response)
        return response

    def _note(self, response: memory_pb2.QueryStreamResponse) -> None:
        if response.acknowledged_step > self.acknowledged_step:
            self.acknowledged_step, self.version = response.acknowledged_step, response.acknowledged_version
        if response.HasField("benefit"):
            self.benefit_tokens, self.benefit_nats = response.benefit.tokens, response.benefit.nats
