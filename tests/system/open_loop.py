"""An open loop of one call: so many a second are begun, whether or not earlier ones were answered. Over raw HTTP/2
frames, for a client of gRPC in Python would take the processor that is to be measured.

open_loop.py ADDRESS PATH MESSAGE_FILE RATE SECONDS DEADLINE_MS: prints one JSON object with, for each gRPC status, how
many calls ended with it and how long they took; how many could not be begun, for every stream was taken or the server
took no more bytes; and how late this program was itself. RATE 0: a closed loop, of CLOSED calls at once."""

from __future__ import annotations

import collections
import json
import pathlib
import select
import struct
import subprocess
import sys
import time
from typing import Any

import http2_frames as h2

CONNECTIONS = 8  # 2,048 calls at once: four times what may wait in the server
CLOSED = 48  # of eight rows: three passes over the keys for each of two threads
_LATE_S = 30.0  # for the answers to the last calls


class Loop:
    def __init__(self, address: str, path: str, content: bytes, deadline_ms: int) -> None:
        self._connections = [h2.Connection(address) for _ in range(CONNECTIONS)]
        for connection in self._connections:
            wide = struct.pack(">I", h2.MOST_WINDOW - 65_535)
            connection.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, wide))
            connection.socket.setblocking(False)
        self._block = h2.request_block(path, ("grpc-timeout", f"{deadline_ms}m"))
        self._content, self._size = content, len(h2.message(content))
        self._begun: dict[tuple[int, int], float] = {}
        self._open = [0] * CONNECTIONS
        self._room = [65_535] * CONNECTIONS  # what the server takes of a connection
        self._out = [bytearray() for _ in range(CONNECTIONS)]
        self._turn = 0
        self.took: dict[int, list[float]] = collections.defaultdict(list)
        self.unsent = 0

    @property
    def running(self) -> int:
        return len(self._begun)

    def begin(self, now: float) -> bool:
        """Begins a call on the next connection that has room; False: there is none."""
        for _ in range(CONNECTIONS):
            self._turn = (self._turn + 1) % CONNECTIONS
            if self._open[self._turn] < h2.STREAMS_AT_ONCE and self._room[self._turn] >= self._size:
                self._room[self._turn] -= self._size
                stream = self._connections[self._turn].stream()
                self._out[self._turn] += h2.call(stream, self._block, self._content)
                self._begun[(self._turn, stream)] = now
                self._open[self._turn] += 1
                return True
        return False

    def turn(self, seconds: float) -> None:
        """Sends what waits, and takes what comes within the time."""
        for number, out in enumerate(self._out):
            if out:
                try:
                    del out[: self._connections[number].socket.send(out)]
                except BlockingIOError:
                    pass
        waiting = [connection.socket for connection, out in zip(self._connections, self._out) if out]
        readable = select.select([each.socket for each in self._connections], waiting, [], max(seconds, 0.0))[0]
        now = time.monotonic()
        for number, connection in enumerate(self._connections):
            if connection.socket in readable:
                connection.receive()
                if connection.closed:
                    raise SystemExit("open_loop: the server closed a connection")
                for kind, flags, stream, payload in connection.parsed():
                    self._take(number, kind, flags, stream, payload, now)

    def _take(self, number: int, kind: int, flags: int, stream: int, payload: bytes, now: float) -> None:
        status = h2.status_of(payload) if kind == h2.HEADERS else -1 if kind == h2.RST_STREAM else None
        begun = None if status is None else self._begun.pop((number, stream), None)
        if begun is not None:
            self._open[number] -= 1
            self.took[status].append(1000 * (now - begun))
        elif kind == h2.WINDOW_UPDATE and stream == 0:
            self._room[number] += int.from_bytes(payload, "big")
        elif kind == h2.PING and not flags & h2.ACK:
            self._out[number] += h2.frame(h2.PING, h2.ACK, 0, payload)


def run(loop: Loop, rate: float, seconds: float) -> dict[str, Any]:
    start = time.monotonic()
    end, calls, latest = start + seconds, 0, 0.0
    while (now := time.monotonic()) < end:
        if rate > 0:
            due = int((now - start) * rate)
            latest = max(latest, now - start - calls / rate)
            while calls < due:
                calls += 1
                loop.unsent += not loop.begin(now)
            loop.turn(start + (calls + 1) / rate - time.monotonic())
        else:
            while loop.running < CLOSED and loop.begin(now):
                calls += 1
            loop.turn(0.1)
    answered = {status: len(took) for status, took in loop.took.items()}
    last = time.monotonic() + _LATE_S
    while loop.running and time.monotonic() < last:
        loop.turn(0.1)
    return {
        "calls": calls,
        "unsent": loop.unsent,
        "lost": loop.running,
        "seconds": seconds,
        "latest_ms": 1000 * latest,
        "answered": answered,  # before the last call was begun
        "milliseconds": loop.took,
    }


def start(
    address: str, path: str, message: pathlib.Path, rate: float, seconds: float, deadline_ms: int = 30_000
) -> Any:
    """As a process of its own; `report` waits for it."""
    arguments = (address, path, message, rate, seconds, deadline_ms)
    return subprocess.Popen([sys.executable, __file__, *map(str, arguments)], stdout=subprocess.PIPE)


def report(process: Any) -> dict[str, Any]:
    try:
        told = json.loads(process.communicate(timeout=600)[0])
    finally:
        process.kill()
    for counts in ("answered", "milliseconds"):
        told[counts] = {int(status): value for status, value in told[counts].items()}
    return told


def main() -> None:
    address, path, file, rate, seconds, deadline_ms = sys.argv[1:]
    loop = Loop(address, path, pathlib.Path(file).read_bytes(), int(deadline_ms))
    print(json.dumps(run(loop, float(rate), float(seconds))))


if __name__ == "__main__":
    main()
