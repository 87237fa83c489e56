"""Working memory: exact, ordered, durable state of sessions.

One session, one call each:      chat = memory.session("chat42");  chat.put("mode", b"draft");  chat.get("mode").value
Many sessions, one call a step:  memory.apply([working.put("chat42", "mode", b"draft"), working.get("chat43", "mode")])
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence, Union

import grpc

from . import calls, errors, wire
from ._proto import working_memory_pb2 as pb

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
        timeout: Optional[float] = None,
    ) -> list[State]:
        request = pb.ApplyRequest(
            memory=self._memory,
            operations=[each.message for each in operations],
            request_id=request_id or calls.new_request_id(),
            durability=wire.choice("durability", durability, wire.DURABILITIES),
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
            request_id=request_id or calls.new_request_id(),
            durability=wire.choice("durability", durability, wire.DURABILITIES),
        )
        return self._caller.call(self.stub.ResetSessions, request, timeout).removed

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
        timeout: Optional[float] = None,
    ) -> list[State]:
        """Operations on the states of any number of sessions, at most 4,096, in one call; one answer each.

        Those of one session are all applied or, when one of them fails, none: their answers have an `error`. A retry
        (also one of yours, with the same request_id) is applied once.
        """
        return self._sessions.apply(operations, request_id=request_id, durability=durability, timeout=timeout)

    def sessions(self, prefix: str = "") -> Iterator[SessionInfo]:
        """The sessions whose names begin with `prefix`, by name."""
        return self._sessions.list(prefix)

    def reset_sessions(self, sessions: Sequence[str], *, durability: str = "sync") -> int:
        """Removes whole sessions, at most 4,096; how many were there."""
        return self._sessions.reset(sessions, durability=durability)


def _operation(session: str, name: str, **action: Any) -> Operation:
    return Operation(pb.StateOperation(session=session, name=name, **action))


def _state(result: pb.StateResult) -> State:
    if result.HasField("error"):
        error = errors.from_code(_CODES[result.error.code], result.error.message, result.error.reason)
        return State(False, 0, error=error)
    value, expiry_ms = _value(result)
    return State(result.found, result.version, value, expiry_ms, result.reread)


def _value(result: pb.StateResult) -> tuple[Union[None, bytes], int]:
    if result.WhichOneof("answer") == "register":
        return result.register.value, result.register.expiry_ms
    return None, 0
