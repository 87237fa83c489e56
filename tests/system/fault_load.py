"""Clients of several front ends while parts of the deployment fail: workers that know what must be stored, registers
whose histories are judged, and a reader that counts what it was not told."""

from __future__ import annotations

import dataclasses
import struct
import threading
import time
import uuid
from typing import Any, Callable, Optional, Sequence, TypeVar

import harness
import linearizability
import mneme
import numpy as np
import soak_model
from mneme import working

REGISTERS, ANCHORS = "registers", "anchors"
ANCHOR_ROWS, ANCHOR_DIMENSION = 2_000, 16
# What a caller hears while a process or a broker goes, and asks again after, with the same request id.
AGAIN = (mneme.Unavailable, mneme.DeadlineExceeded, mneme.Cancelled, mneme.ResourceExhausted)
ATTEMPT_S = 10.0  # of one call at one front end
REGISTER_S = 4.0  # the same of a register, whose outcomes may stay unknown
PATIENCE_S = 240.0  # of a call at all of them; a fault lasts 35 s at most
READ_S = 5.0  # what a read has at one front end before it is asked at the other
_HEAD = 13  # bytes of a version token before its parts (docs/formats.md)
_PART = struct.Struct("<HQ")
_Answer = TypeVar("_Answer")


def joined_versions(one: bytes, other: bytes) -> bytes:
    """The version that is at least both: the greater sequence of each shard."""
    if not one or not other:
        return one or other
    parts: dict[int, int] = {}
    for token in (one, other):
        for shard, sequence in _PART.iter_unpack(token[_HEAD:]):
            parts[shard] = max(parts.get(shard, 0), sequence)
    return one[:_HEAD] + b"".join(_PART.pack(shard, parts[shard]) for shard in sorted(parts))


class Anywhere:
    """A client of several front ends, one call at each in turn: what one cannot do is asked of the next. A write keeps
    its request id meanwhile, and a read presents the version of all writes that were acknowledged through this."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.clients = [mneme.connect(address, timeout=ATTEMPT_S, attempts=1) for address in addresses]
        self.again = 0
        self._at = 0

    def memory(self, name: str) -> AnyMemory:
        return AnyMemory(self, name)

    def ask(self, call: Callable[[mneme.Client], _Answer]) -> _Answer:
        end = time.monotonic() + PATIENCE_S
        while True:
            self._at += 1
            try:
                return call(self.clients[self._at % len(self.clients)])
            except AGAIN:
                if time.monotonic() > end:
                    raise
                self.again += 1
                time.sleep(0.05)


class AnyMemory:
    """What the workers of soak_model.py ask of a memory."""

    def __init__(self, client: Anywhere, name: str) -> None:
        self._client, self._name, self.version = client, name, b""

    def insert(self, *arguments: Any, **more: Any) -> Any:
        return self._write("insert", *arguments, **more)

    def delete(self, **more: Any) -> Any:
        return self._write("delete", **more)

    def query(self, *arguments: Any, **more: Any) -> Any:
        return self._read("query", *arguments, **more)

    def get(self, *arguments: Any, **more: Any) -> Any:
        return self._read("get", *arguments, **more)

    def apply(self, operations: Any, **more: Any) -> Any:
        request_id = str(uuid.uuid4())
        return self._client.ask(
            lambda client: client.memory(self._name).apply(operations, request_id=request_id, **more)
        )

    def _write(self, name: str, *arguments: Any, **more: Any) -> Any:
        more["request_id"] = str(uuid.uuid4())
        told = self._client.ask(lambda client: getattr(client.memory(self._name), name)(*arguments, **more))
        self.version = joined_versions(self.version, told.version)
        return told

    def _read(self, name: str, *arguments: Any, **more: Any) -> Any:
        more["version"] = self.version
        return self._client.ask(lambda client: getattr(client.memory(self._name), name)(*arguments, **more))


class Worker(soak_model.Worker):
    """Of all front ends; looks at every answer."""

    def connect(self, addresses: Any) -> Any:
        return Anywhere(addresses)


class Registers:
    """What clients saw of some registers since the last look at them."""

    COUNT = 3

    def __init__(self) -> None:
        self.generation = 0
        self.judged, self.unknown = 0, 0
        self._lock = threading.Lock()
        self._histories: dict[str, list[linearizability.Operation]] = {}

    def session(self, number: int) -> str:
        return f"register{number}/{self.generation}"

    def add(self, session: str, told: linearizability.Operation) -> None:
        with self._lock:
            self._histories.setdefault(session, []).append(told)

    def judge(self) -> None:
        """Nobody is asking meanwhile. What comes after is of other registers."""
        histories, self._histories = self._histories, {}
        self.generation += 1
        for session, history in histories.items():
            wrong = linearizability.violation(history)
            assert not wrong, f"{session}, {len(history)} operations: {wrong}"
            self.judged += len(history)
            self.unknown += sum(each.unknown for each in history)


class RegisterClient(soak_model.Thread):
    """Asks registers at front ends by chance. Of what it was not told it asks again under the same request id, or not:
    then nobody knows."""

    def __init__(self, number: int, addresses: Any, going: threading.Event, registers: Registers) -> None:
        super().__init__(number, addresses, going)
        self.registers = registers
        self.seen: dict[str, int] = {}  # the last version of each session

    def connect(self, addresses: Any) -> Any:
        return [mneme.connect(address, timeout=REGISTER_S, attempts=1) for address in addresses]

    def step(self) -> None:
        session = self.registers.session(int(self.random.integers(Registers.COUNT)))
        kind = str(self.random.choice(["get", "put", "cas"], p=[0.4, 0.25, 0.35]))
        told = linearizability.Operation(
            kind,
            time.monotonic(),
            0.0,
            value=b"" if kind == "get" else f"{self.number}-{self.steps}".encode(),
            expected=self.seen.get(session, 0) if kind == "cas" else 0,
            client=self.number,
        )
        operation = {
            "get": lambda: working.get(session, "cell"),
            "put": lambda: working.put(session, "cell", told.value),
            "cas": lambda: working.cas(session, "cell", told.expected, told.value),
        }[kind]()
        state = self._told(operation, attempts=4 if kind != "get" and self.random.random() < 0.5 else 1)
        told = dataclasses.replace(told, end=time.monotonic())
        if state is None:
            told = dataclasses.replace(told, unknown=True)
        elif isinstance(state.error, mneme.Aborted) and kind == "cas":
            told = dataclasses.replace(told, refused=True)
            self.seen.pop(session, None)
        elif state.error is not None:
            raise state.error
        else:
            value = told.value if kind != "get" else state.value or b""
            told = dataclasses.replace(told, version=state.version, value=value)
            self.seen[session] = state.version
        self.registers.add(session, told)
        time.sleep(0.01)

    def _told(self, operation: working.Operation, attempts: int) -> Optional[working.State]:
        request_id = str(uuid.uuid4())
        for _ in range(attempts):
            client = self.client[int(self.random.integers(len(self.client)))]
            try:
                state: working.State = client.memory(REGISTERS).apply([operation], request_id=request_id)[0]
                return state
            except AGAIN:
                time.sleep(0.02)
        return None


class Reader(soak_model.Thread):
    """Asks for entries that never change, at one front end and, when that one fails, once at another. `took`: when each
    read began and ended, and whether it was answered."""

    def __init__(self, number: int, addresses: Any, going: threading.Event) -> None:
        super().__init__(number, addresses, going)
        self.took: list[tuple[float, float, bool]] = []
        self.second = 0  # answered at the other one

    def connect(self, addresses: Any) -> Any:
        return [mneme.connect(address, timeout=READ_S, attempts=1) for address in addresses]

    def step(self) -> None:
        row = int(self.random.integers(ANCHOR_ROWS))
        begin, answered = time.monotonic(), False
        for attempt in range(2):
            client = self.client[(self.steps + attempt) % len(self.client)]
            try:
                found = client.memory(ANCHORS).query(anchors()[row][None], 1, exact=True)
            except AGAIN:
                continue
            assert found.ids.tolist() == [row], f"asked for {row}, was told {found.ids.tolist()}"
            answered, self.second = True, self.second + attempt
            break
        self.took.append((begin, time.monotonic(), answered))
        time.sleep(0.01)

    def between(self, begin: float, end: float) -> list[tuple[float, float, bool]]:
        return [each for each in self.took if each[1] >= begin and each[0] <= end]


def anchors() -> Any:
    """[ANCHOR_ROWS, ANCHOR_DIMENSION]; entry i of that memory has the i-th."""
    return _ANCHORS


_ANCHORS = np.random.default_rng(harness.SEED).normal(size=(ANCHOR_ROWS, ANCHOR_DIMENSION)).astype(np.float32)


class Load:
    """All of them, from when it is made until `end`."""

    WORKERS, REGISTER_CLIENTS = 2, 4

    def __init__(self, client: mneme.Client, addresses: Sequence[str]) -> None:
        client.create_memory(soak_model.MEMORY, soak_model.DIMENSION, vocab_size=soak_model.kill_entries.TOKENS)
        client.create_memory(soak_model.STATES, 2)
        client.create_memory(REGISTERS, 2)
        memory = client.create_memory(ANCHORS, ANCHOR_DIMENSION, vocab_size=ANCHOR_ROWS)
        memory.insert(anchors(), np.arange(ANCHOR_ROWS), ids=np.arange(ANCHOR_ROWS))
        self.going = threading.Event()
        self.going.set()
        self.registers = Registers()
        self.workers = [Worker(number, addresses, self.going) for number in range(self.WORKERS)]
        numbers = range(10, 10 + self.REGISTER_CLIENTS)
        self.register_clients = [RegisterClient(each, addresses, self.going, self.registers) for each in numbers]
        self.reader = Reader(20, addresses, self.going)
        self.threads: list[soak_model.Thread] = [*self.workers, *self.register_clients, self.reader]
        for thread in self.threads:
            thread.start()

    def assert_well(self) -> None:
        for thread in self.threads:
            if thread.failure is not None:
                raise thread.failure

    def end(self) -> None:
        self.going.clear()
        for thread in self.threads:
            thread.join(PATIENCE_S + 60)
            assert not thread.is_alive(), "a client never ended"
        self.assert_well()

    def told(self) -> str:
        """In a line what was asked."""
        steps = sum(worker.steps for worker in self.workers)
        again = sum(worker.client.again for worker in self.workers)
        return (
            f"{steps:,} steps of workers, {again} calls asked again; {self.registers.judged:,} operations of registers "
            f"judged, {self.registers.unknown} of them with no known outcome; {len(self.reader.took):,} reads, "
            f"{self.reader.second} of them answered by the second front end"
        )
