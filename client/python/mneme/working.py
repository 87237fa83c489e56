"""Working memory: exact, ordered, durable state of sessions.

One session, one call each:      chat = memory.session("chat42");  chat.put("mode", b"draft");  chat.get("mode").value
Many sessions, one call a step:  memory.apply([working.put("chat42", "mode", b"draft"), working.get("chat43", "mode")])
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence

import grpc
import numpy as np
from numpy.typing import ArrayLike

from . import calls, errors, wire
from ._proto import types_pb2
from ._proto import working_memory_pb2 as pb
from .wire import Array

_RULES = {"linear": pb.LINEAR_RULE_LINEAR, "delta": pb.LINEAR_RULE_DELTA}
_ORDERS = {
    "read_then_write": pb.LINEAR_ORDER_READ_THEN_WRITE,
    "write_then_read": pb.LINEAR_ORDER_WRITE_THEN_READ,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclasses.dataclass(frozen=True)
class Operation:
    """What to do with one state; made by the functions of this module."""

    message: pb.StateOperation


@dataclasses.dataclass(frozen=True)
class State:
    """What an operation answered.

    found: the state is there; of a write, it was there before. version: how often it was written; 0 when there is none.
    value: what was read, None when there was nothing. error: why it was not applied; then nothing of the same session
    was. reread: a replayed answer that was too large to remember, so that it is of now.
    """

    found: bool
    version: int
    value: Any = None
    expiry_ms: int = 0
    reread: bool = False
    error: Optional[errors.MnemeError] = None


@dataclasses.dataclass(frozen=True)
class LinearState:
    """M [dk, dv] and z [dk] of a linear memory, and the rows that were written to it."""

    matrix: Array
    normaliser: Array
    tokens: int


@dataclasses.dataclass(frozen=True)
class FeedbackState:
    """Keys and values of the last blocks, block i being rows ring_offsets[i] to ring_offsets[i + 1], and of the FAM."""

    last_block: int
    ring_keys: Array
    ring_values: Array
    ring_offsets: Array
    fam_keys: Array
    fam_values: Array


@dataclasses.dataclass(frozen=True)
class Counts:
    """A sparse matrix: cells of rows[i] are offsets[i] to offsets[i + 1], ascending by column."""

    rows: Array
    offsets: Array
    columns: Array
    counts: Array


@dataclasses.dataclass(frozen=True)
class SessionInfo:
    """A session as it is listed; bytes of names and contents, expiry_ms 0 for never."""

    session: str
    states: int
    bytes: int
    expiry_ms: int


def put(session: str, name: str, value: bytes, *, expiry_ms: int = 0) -> Operation:
    """Writes a register. expiry_ms: Unix milliseconds from which on it is as if it were not there; 0: never."""
    return _operation(session, name, register_put=pb.RegisterPut(value=value, expiry_ms=expiry_ms))


def get(session: str, name: str) -> Operation:
    """Reads the last write of a register."""
    return _operation(session, name, register_get=pb.RegisterGet())


def cas(session: str, name: str, expected_version: int, value: bytes, *, expiry_ms: int = 0) -> Operation:
    """Writes a register when its version is the expected one (0: there is none); else its error is Aborted."""
    action = pb.RegisterCas(expected_version=expected_version, value=value, expiry_ms=expiry_ms)
    return _operation(session, name, register_cas=action)


def remove(session: str, name: str) -> Operation:
    """Removes a state of any kind."""
    return _operation(session, name, remove=pb.RemoveState())


def linear(
    session: str,
    name: str,
    keys: Optional[ArrayLike] = None,
    values: Optional[ArrayLike] = None,
    queries: Optional[ArrayLike] = None,
    *,
    rule: str = "linear",
    order: str = "read_then_write",
    segment_length: int = 0,
    epsilon: float = 1e-10,
    value_dim: int = 0,
) -> Operation:
    """Writes keys [n, dk] and values [n, dv] to a linear memory (Infini-attention) and reads it with queries [m, dk];
    the answer's value is [m, dv]. rule: "linear" or "delta". value_dim: the width of the zeros that queries alone read
    of a memory that is not there."""
    action = pb.LinearApply(
        keys=_rows(keys, "keys"),
        values=_rows(values, "values"),
        queries=_rows(queries, "queries"),
        rule=wire.choice("rule", rule, _RULES),
        order=wire.choice("order", order, _ORDERS),
        segment_length=segment_length,
        epsilon=epsilon,
    )
    if values is None and value_dim:
        action.values.dimension = value_dim
    return _operation(session, name, linear=action)


def linear_get(session: str, name: str) -> Operation:
    """Reads the state of a linear memory: the answer's value is a LinearState."""
    return _operation(session, name, linear_get=pb.LinearGet())


def attend(
    session: str,
    name: str,
    block_index: int,
    queries: ArrayLike,
    keys: ArrayLike,
    values: ArrayLike,
    *,
    fam_queries: Optional[ArrayLike] = None,
    fam_keys: Optional[ArrayLike] = None,
    fam_values: Optional[ArrayLike] = None,
    scale: float = 0.0,
    ring_blocks: int = 0,
    causal: bool = True,
) -> Operation:
    """Attends with the next block of a feedback memory (TransformerFAM); the answer's value is (A, A^F). scale 0:
    1 / sqrt(dk). The same block again is answered as it was."""
    action = pb.FeedbackAttend(
        block_index=block_index,
        scale=scale,
        ring_blocks=ring_blocks,
        not_causal=not causal,
        queries=wire.vectors(queries, "queries"),
        keys=wire.vectors(keys, "keys"),
        values=wire.vectors(values, "values"),
        fam_queries=_rows(fam_queries, "fam_queries"),
        fam_keys=_rows(fam_keys, "fam_keys"),
        fam_values=_rows(fam_values, "fam_values"),
    )
    return _operation(session, name, feedback_attend=action)


def feedback_get(session: str, name: str) -> Operation:
    """Reads the ring and the FAM: the answer's value is a FeedbackState."""
    return _operation(session, name, feedback_get=pb.FeedbackGet())


def count(
    session: str, name: str, rows: ArrayLike, columns: ArrayLike, counts: Optional[ArrayLike] = None
) -> Operation:
    """Adds to cells of a counter matrix, 1 each without counts."""
    action = pb.CountersAdd(
        rows=wire.column(rows, "<u4", "rows"),
        columns=wire.column(columns, "<u4", "columns"),
        counts=wire.column(counts, "<i8", "counts"),
    )
    return _operation(session, name, counters_add=action)


def counts(session: str, name: str, rows: Optional[ArrayLike] = None) -> Operation:
    """Reads some rows of a counter matrix, or all: the answer's value is Counts."""
    return _operation(session, name, counters_get=pb.CountersGet(rows=wire.column(rows, "<u4", "rows")))


class Sessions:
    """The working memory of one memory. Thread-safe. `durability` is that of its writes: "sync" or "written"."""

    def __init__(self, memory: str, caller: calls.Caller, stub: Any) -> None:
        self._memory, self._caller, self.stub = memory, caller, stub

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        request_id: Optional[str] = None,
        durability: str = "sync",
        session_expiry_ms: int = 0,
        timeout: Optional[float] = None,
    ) -> list[State]:
        request = pb.ApplyRequest(
            memory=self._memory,
            session_expiry_ms=session_expiry_ms,
            operations=[each.message for each in operations],
            **_write(durability, request_id),
        )
        return [_state(result) for result in self._caller.call(self.stub.Apply, request, timeout).results]

    def reset(
        self,
        sessions: Sequence[str],
        *,
        request_id: Optional[str] = None,
        durability: str = "sync",
        timeout: Optional[float] = None,
    ) -> int:
        request = pb.ResetSessionsRequest(
            memory=self._memory,
            sessions=sessions,
            **_write(durability, request_id),
        )
        return self._caller.call(self.stub.ResetSessions, request, timeout).removed

    def fork(self, name: str, to: str, replace: bool, durability: str, timeout: Optional[float]) -> None:
        request = pb.ForkSessionRequest(
            memory=self._memory,
            session=name,
            to=to,
            replace=replace,
            **_write(durability),
        )
        self._caller.call(self.stub.ForkSession, request, timeout)

    def export(self, name: str, timeout: Optional[float]) -> bytes:
        request = pb.GetSessionRequest(memory=self._memory, session=name)
        return self._caller.call(self.stub.GetSession, request, timeout).content

    def load(self, name: str, content: bytes, expiry_ms: int, durability: str, timeout: Optional[float]) -> None:
        request = pb.PutSessionRequest(
            memory=self._memory,
            session=name,
            content=content,
            expiry_ms=expiry_ms,
            **_write(durability),
        )
        self._caller.call(self.stub.PutSession, request, timeout)

    def list(self, prefix: str = "", *, timeout: Optional[float] = None) -> Iterator[SessionInfo]:
        token = ""
        while True:
            request = pb.ListSessionsRequest(memory=self._memory, prefix=prefix, page_token=token)
            page = self._caller.call(self.stub.ListSessions, request, timeout)
            for each in page.sessions:
                yield SessionInfo(each.session, each.states, each.bytes, each.expiry_ms)
            token = page.next_page_token
            if not token:
                return


class Session:
    """One session by its name; made by its first write. Every method is one call, and raises what it is refused for."""

    def __init__(self, name: str, sessions: Sessions, **options: Any) -> None:
        self.name = name
        self._sessions = sessions
        self._options = options

    def __repr__(self) -> str:
        return f"Session({self.name!r})"

    def put(self, name: str, value: bytes, *, expiry_ms: int = 0) -> State:
        return self._one(put(self.name, name, value, expiry_ms=expiry_ms))

    def get(self, name: str) -> State:
        """The register's bytes in `value`; None when there is none."""
        return self._one(get(self.name, name))

    def cas(self, name: str, expected_version: int, value: bytes, *, expiry_ms: int = 0) -> State:
        """Aborted when the version is another one."""
        return self._one(cas(self.name, name, expected_version, value, expiry_ms=expiry_ms))

    def remove(self, name: str) -> State:
        return self._one(remove(self.name, name))

    def linear(
        self,
        name: str,
        keys: Optional[ArrayLike] = None,
        values: Optional[ArrayLike] = None,
        queries: Optional[ArrayLike] = None,
        **options: Any,
    ) -> State:
        """See working.linear."""
        return self._one(linear(self.name, name, keys, values, queries, **options))

    def linear_state(self, name: str) -> Optional[LinearState]:
        return self._one(linear_get(self.name, name)).value

    def attend(
        self, name: str, block_index: int, queries: ArrayLike, keys: ArrayLike, values: ArrayLike, **options: Any
    ) -> State:
        """See working.attend."""
        return self._one(attend(self.name, name, block_index, queries, keys, values, **options))

    def feedback_state(self, name: str) -> Optional[FeedbackState]:
        return self._one(feedback_get(self.name, name)).value

    def count(self, name: str, rows: ArrayLike, columns: ArrayLike, counts: Optional[ArrayLike] = None) -> State:
        return self._one(count(self.name, name, rows, columns, counts))

    def counts(self, name: str, rows: Optional[ArrayLike] = None) -> Optional[Counts]:
        return self._one(counts(self.name, name, rows)).value

    def fork(self, to: str, *, replace: bool = False) -> Session:
        """Another session with the same states, copied only where either writes. `to` must have the same root: what
        stands before the first "/"; chat42 forks to chat42/beam1."""
        self._sessions.fork(self.name, to, replace, **self._options)
        return Session(to, self._sessions, **self._options)

    def export(self) -> bytes:
        """The whole session, at most 64 MiB; NotFound when there is none."""
        return self._sessions.export(self.name, self._options.get("timeout"))

    def load(self, content: bytes, *, expiry_ms: int = 0) -> None:
        """Makes the session what `export` gave, whatever it was."""
        self._sessions.load(self.name, content, expiry_ms, **self._options)

    def reset(self) -> bool:
        """Removes the session with all its states; False when there was none."""
        return self._sessions.reset([self.name], **self._options) == 1

    def _one(self, operation: Operation) -> State:
        state = self._sessions.apply([operation], **self._options)[0]
        if state.error is not None:
            raise state.error
        return state


class WithSessions:
    """What a memory offers of its sessions."""

    _sessions: Sessions

    def session(self, name: str, *, durability: str = "sync", timeout: Optional[float] = None) -> Session:
        """A handle to the working memory of one session; asks the server nothing."""
        return Session(name, self._sessions, durability=durability, timeout=timeout)

    def apply(
        self,
        operations: Sequence[Operation],
        *,
        request_id: Optional[str] = None,
        durability: str = "sync",
        session_expiry_ms: int = 0,
        timeout: Optional[float] = None,
    ) -> list[State]:
        """Operations on the states of any number of sessions, at most 4,096, in one call; one answer each.

        Those of one session are all applied or, when one of them fails, none: their answers have an `error`. A retry
        (also one of yours, with the same request_id) is applied once. session_expiry_ms: Unix milliseconds from which
        on the sessions that are written to are as if they were not there; 0: as it was.
        """
        options = {"request_id": request_id, "durability": durability, "timeout": timeout}
        return self._sessions.apply(operations, session_expiry_ms=session_expiry_ms, **options)

    def sessions(self, prefix: str = "") -> Iterator[SessionInfo]:
        """The sessions whose names begin with `prefix`, by name."""
        return self._sessions.list(prefix)

    def reset_sessions(self, sessions: Sequence[str], *, durability: str = "sync") -> int:
        """Removes whole sessions, at most 4,096; how many were there."""
        return self._sessions.reset(sessions, durability=durability)


def _write(durability: str, request_id: Optional[str] = None) -> dict[str, Any]:
    """The fields that every write of states has."""
    return {
        "request_id": request_id or calls.new_request_id(),
        "durability": wire.choice("durability", durability, wire.DURABILITIES),
    }


def _operation(session: str, name: str, **action: Any) -> Operation:
    return Operation(pb.StateOperation(session=session, name=name, **action))


def _state(result: pb.StateResult) -> State:
    if result.HasField("error"):
        error = errors.from_code(_CODES[result.error.code], result.error.message, result.error.reason)
        return State(False, 0, error=error)
    value, expiry_ms = _value(result)
    return State(result.found, result.version, value, expiry_ms, result.reread)


def _rows(given: Optional[ArrayLike], name: str) -> Optional[types_pb2.Vectors]:
    return None if given is None else wire.vectors(given, name)


def _matrix(data: bytes, columns: int, dtype: str = "<f4") -> Array:
    return np.frombuffer(data, dtype).reshape(-1, max(columns, 1)) if columns else np.empty((0, 0), dtype)


def _value(result: pb.StateResult) -> tuple[Any, int]:
    kind = result.WhichOneof("answer")
    if kind == "register":
        return result.register.value, result.register.expiry_ms
    if kind == "linear":
        return _matrix(result.linear.reads, result.linear.value_dimension), 0
    if kind == "linear_state":
        state = result.linear_state
        matrix = _matrix(state.matrix, state.value_dimension, "<f8")
        return LinearState(matrix, np.frombuffer(state.normaliser, "<f8"), state.tokens), 0
    if kind == "feedback":
        answer = result.feedback
        return (_matrix(answer.tokens, answer.value_dimension), _matrix(answer.fam, answer.value_dimension)), 0
    if kind == "feedback_state":
        return _feedback_state(result.feedback_state), 0
    if kind == "counters":
        got = result.counters
        return (
            Counts(
                np.frombuffer(got.rows, "<u4"),
                np.frombuffer(got.offsets, "<u8"),
                np.frombuffer(got.columns, "<u4"),
                np.frombuffer(got.counts, "<i8"),
            ),
            0,
        )
    return None, 0


def _feedback_state(state: pb.FeedbackState) -> FeedbackState:
    keys, values = state.key_dimension, state.value_dimension
    return FeedbackState(
        state.last_block,
        _matrix(state.ring_keys, keys),
        _matrix(state.ring_values, values),
        np.frombuffer(state.ring_offsets, "<u8"),
        _matrix(state.fam_keys, keys),
        _matrix(state.fam_values, values),
    )
