"""The decode loop: predict and learn over one stream, which never holds up a step for longer than it may."""

from __future__ import annotations

import collections
import dataclasses
import time
from types import TracebackType
from typing import Any, Mapping, Optional, Sequence, Type

import numpy as np
from numpy.typing import ArrayLike

from . import errors, requests, results, wire
from ._proto import memory_pb2, types_pb2
from .stream_call import StreamCall, ended


@dataclasses.dataclass(frozen=True)
class Pace:
    """How long a step may take, and what it does when that is over."""

    timeout: float  # seconds, for each step, and for `wait`
    budget_ms: Optional[float] = None  # for each step, in place of the timeout
    on_error: str = "raise"  # or "empty"

    def __post_init__(self) -> None:
        errors.check_on_error(self.on_error)
        if self.timeout <= 0 or (self.budget_ms is not None and self.budget_ms <= 0):
            raise ValueError(f"timeout is {self.timeout} and budget_ms {self.budget_ms}; both must be positive")

    @property
    def step_seconds(self) -> float:
        return self.timeout if self.budget_ms is None else self.budget_ms / 1000


class DecodeStream:
    """The decode loop: one message per step, and a step carries what the last one taught. Not thread-safe.

    `step(q)` answers for the keys of this step; `learn(tokens, ...)` then says what followed them and rides on the next
    step's message, which is answered first: predict, then learn, one round trip. Where the token is known when asking
    (evaluation, reading a text), `step(q, learn=tokens)` predicts and learns in that one message, and the next step
    sees it. `wait()` sends what is still to be learned and returns when all of it is acknowledged; leaving the `with`
    block does the same, unless the last step failed.

    A step that fails ends the stream, and the next step opens another. What was on its way is not sent again, since it
    may have arrived: `lost` counts the entries that were given to learn and never acknowledged. `error` is the last
    failure, None again after a step that went well.
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
        pace: Pace,
        sources: Sequence[memory_pb2.MixtureSource] = (),
    ) -> None:
        self._method, self._pace, self._sources = method, pace, sources
        self._memory, self._k, self._search, self._read_out = memory, k, search, read_out
        self._partition, self._durability = partition, wire.choice("durability", durability, wire.DURABILITIES)
        self._call: Optional[StreamCall] = None
        self._steps = 0
        self._last_query: Optional[memory_pb2.QueryRequest] = None
        self._lessons: "collections.deque[memory_pb2.StepAppend]" = collections.deque()  # not sent yet; at most two
        self._in_flight: "collections.deque[tuple[int, int]]" = collections.deque()  # step, entries: not acknowledged
        self._former_tokens, self._former_nats = 0, 0.0  # benefit counted on streams that have failed
        self.acknowledged_step = 0
        self.version = b""
        self.benefit_tokens, self.benefit_nats = 0, 0.0
        self.lost = 0
        self.error: Optional[errors.MnemeError] = None

    def __enter__(self) -> "DecodeStream":
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        try:
            if kind is None and self.error is None:
                self._leave()
        finally:
            self.close()

    def __repr__(self) -> str:
        state = f"error={self.error.code.name}" if self.error else "ok"
        return f"DecodeStream({self._memory!r}, k={self._k}, steps={self._steps}, lost={self.lost}, {state})"

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
        """The distribution for these keys; what `learn` of the last step said is applied after the answer.

        With on_error="empty" a step that fails or is out of its budget gives an empty answer whose `error` says why.
        """
        end = time.monotonic() + self._pace.step_seconds
        query = self._query(keys, targets, mix, exclude_sources)
        if learn is not None:
            self._lessons.append(self._lesson(None, learn, lm_log_probs, knn_weight, columns))
        response, error = memory_pb2.QueryResponse(), None
        try:
            while learn is not None and len(self._lessons) > 1:
                self._exchange(None, end)  # the last step's lesson first: in the order in which the caller gave them
            self._last_query = query
            response = self._exchange(query, end).response
        except errors.MnemeError as failure:
            self._last_query = query
            if self._pace.on_error == "raise" or errors.is_of_the_caller(failure):
                raise
            error = failure
        rows, single = requests.rows_of(query.keys), self._search.precision == "single"
        return results.read_distributions(response, rows, query.distribution, requests.most_k(query), single, error)

    def learn(
        self, tokens: ArrayLike, lm_log_probs: Optional[ArrayLike] = None, knn_weight: float = 0.0, **columns: Any
    ) -> None:
        """What followed the keys of the last step, also of one that failed. With ln p_LM of it the server counts the
        memory's benefit."""
        if self._last_query is None:
            raise RuntimeError("learn() before the first step(): there are no keys to learn")
        if self._lessons:
            raise RuntimeError("learn() twice after one step()")
        if self._call is None:
            lm_log_probs = None  # the step failed: the memory did not answer it, so there is no benefit to count
        self._lessons.append(self._lesson(self._last_query.keys, tokens, lm_log_probs, knn_weight, columns))

    def wait(self) -> bytes:
        """Returns the version at which everything learned is acknowledged, as durable as asked; raises whatever
        on_error says. What `lost` counts is not waited for."""
        end = time.monotonic() + self._pace.timeout
        while self._lessons or self._in_flight:
            self._exchange(None, end)
        return self.version

    def close(self) -> None:
        """Ends the stream; what was learned and not acknowledged is counted as lost."""
        self._drop()

    def _query(
        self,
        keys: ArrayLike,
        targets: Optional[ArrayLike],
        mix: Optional[tuple[ArrayLike, float]],
        exclude_sources: Optional[ArrayLike],
    ) -> memory_pb2.QueryRequest:
        query = requests.query(self._memory, keys, self._k, self._search, self._sources)
        query.distribution.CopyFrom(self._read_out)
        if targets is not None:
            query.distribution.targets = wire.column(targets, "<u4", "targets")
        if mix is not None:
            query.distribution.mix.CopyFrom(requests.distribution(mix=mix).mix)
        if exclude_sources is not None:
            query.exclude_sources = wire.column(exclude_sources, "<u8", "exclude_sources")
        return query

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

    def _exchange(self, query: Optional[memory_pb2.QueryRequest], end: float) -> memory_pb2.QueryStreamResponse:
        """One message and its answer. A failure ends the stream and is kept in `error`."""
        try:
            if self._call is None:
                self._call = StreamCall(self._method)
                query = query or self._last_query  # the first message of a stream names the memory
            self._steps += 1
            message = memory_pb2.QueryStreamRequest(step=self._steps, query=query)
            if self._lessons:
                message.append.CopyFrom(self._lessons.popleft())
                self._in_flight.append((self._steps, _size(message.append)))
            self._call.send(message)
            response = self._receive(self._call, end)
            while response.step != self._steps:
                response = self._receive(self._call, end)
            self.error = None
            return response
        except errors.MnemeError as error:
            self.error = error
            self._drop()
            raise

    def _receive(self, call: StreamCall, end: float) -> memory_pb2.QueryStreamResponse:
        response = call.receive(end)
        if response is None:
            raise ended()
        self._note(response)
        return response

    def _note(self, response: memory_pb2.QueryStreamResponse) -> None:
        if response.acknowledged_step > self.acknowledged_step:
            self.acknowledged_step, self.version = response.acknowledged_step, response.acknowledged_version
        while self._in_flight and self._in_flight[0][0] <= self.acknowledged_step:
            self._in_flight.popleft()
        if response.HasField("benefit"):
            self.benefit_tokens = self._former_tokens + response.benefit.tokens
            self.benefit_nats = self._former_nats + response.benefit.nats

    def _leave(self) -> None:
        """Waits, half-closes and reads to the end, so that the stream ends with OK rather than as cancelled."""
        try:
            self.wait()
            if self._call is not None:
                self._call.half_close()
                end = time.monotonic() + self._pace.timeout
                while (response := self._call.receive(end)) is not None:
                    self._note(response)
        except errors.MnemeError as error:
            self.error = error
            if self._pace.on_error == "raise":
                raise

    def _drop(self) -> None:
        """Cancels the call; what was to be learned on it counts as lost, for sent again it might be learned twice."""
        self.lost += sum(map(_size, self._lessons)) + sum(entries for _, entries in self._in_flight)
        self._lessons.clear()
        self._in_flight.clear()
        self._former_tokens, self._former_nats = self.benefit_tokens, self.benefit_nats
        if self._call is not None:
            self._call.cancel()
            self._call = None


def _size(lesson: memory_pb2.StepAppend) -> int:
    """Entries of a lesson, whose values are tokens: 4 bytes each."""
    return len(lesson.entries.values.tokens) // 4
