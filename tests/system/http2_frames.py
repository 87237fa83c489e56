"""HTTP/2 by hand: frames over a plain socket, for what no well-behaved client sends, and for load that costs little.

Header blocks are literals without Huffman coding, and the peer is told that our table has no room, so that gRPC answers
with literals, too, and a status can be read without decoding HPACK (RFC 9113, RFC 7541)."""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Callable, Iterator, Optional

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
HEADER_TABLE_SIZE, INITIAL_WINDOW_SIZE = 0x1, 0x4  # settings
CANCEL = 0x8
MOST_WINDOW = 2**31 - 1
STREAMS_AT_ONCE = 256  # of one connection: kMaxConcurrentStreams
_STATUS = b"\x0bgrpc-status"


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def setting(name: int, value: int) -> bytes:
    return struct.pack(">HI", name, value)


def _integer(value: int, prefix_bits: int) -> bytes:
    most = (1 << prefix_bits) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def header(name: str, value: str) -> bytes:
    """A literal that is not put into the table."""
    return b"\0" + b"".join(_integer(len(text), 7) + text for text in (name.encode(), value.encode()))


def request_block(path: str, *more: tuple[str, str]) -> bytes:
    """The headers of a gRPC call."""
    pairs = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "127.0.0.1"), ("te", "trailers")]
    return b"".join(header(*pair) for pair in [*pairs, ("content-type", "application/grpc"), *more])


def message(content: bytes) -> bytes:
    """One gRPC message, not compressed."""
    return struct.pack(">BI", 0, len(content)) + content


def call(stream: int, block: bytes, content: bytes) -> bytes:
    """The frames of a unary call, whose message is below 16 KiB."""
    body = message(content)
    return frame(HEADERS, END_HEADERS, stream, block) + frame(DATA, END_STREAM, stream, body)


def status_of(block: bytes) -> Optional[int]:
    """The gRPC status in a header block of an answer; None: it has none."""
    at = block.find(_STATUS)
    if at < 0:
        return None
    at += len(_STATUS)
    return int(block[at + 1 : at + 1 + block[at]])


class Connection:
    """One connection, its preface sent. `window`: what a stream may send us before we say more. Not thread-safe."""

    def __init__(self, address: str, window: int = 65_535, receive_buffer: int = 0) -> None:
        host, port = address.rsplit(":", 1)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(30)
        self.socket.connect((host, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.closed = False  # by the server
        self._last = -1
        self._received = b""
        settings = setting(HEADER_TABLE_SIZE, 0) + setting(INITIAL_WINDOW_SIZE, window)
        self.send(PREFACE + frame(SETTINGS, 0, 0, settings))

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def stream(self) -> int:
        """The number of a new stream."""
        self._last += 2
        return self._last

    def send(self, octets: bytes) -> None:
        """All of it; nothing more once the server has closed."""
        try:
            self.socket.sendall(octets)
        except (BrokenPipeError, ConnectionResetError):
            self.closed = True

    def flood(self, make: Callable[[], bytes], count: int, seconds: float, reads: bool = True) -> int:
        """Sends make() `count` times, as fast as the server takes it, and reads meanwhile if `reads`. Ends early when
        the server closes or the time is over; returns how many it began to send."""
        end, waiting, sent = time.monotonic() + seconds, b"", 0
        self.socket.setblocking(False)
        try:
            while (sent < count or waiting) and not self.closed and time.monotonic() < end:
                if not waiting:
                    batch = min(256, count - sent)
                    waiting = b"".join(make() for _ in range(batch))
                    sent += batch
                readable, writable, _ = select.select([self.socket] if reads else [], [self.socket], [], 0.1)
                if readable:
                    self._drop_input()
                if writable:
                    waiting = waiting[self._send_some(waiting) :]
        finally:
            self.socket.settimeout(30)
        return sent

    def frames(self, seconds: float) -> Iterator[tuple[int, int, int, bytes]]:
        """(kind, flags, stream, payload) of what comes within the time; ends when the server closes."""
        end = time.monotonic() + seconds
        while True:
            yield from self.parsed()
            left = end - time.monotonic()
            if self.closed or left <= 0:
                return
            if select.select([self.socket], [], [], left)[0]:
                self.receive()

    def receive(self, most: int = 1 << 18) -> int:
        """Takes what is there, and waits for something when nothing is; returns how many bytes it took."""
        try:
            got = self.socket.recv(most)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            got = b""
        self.closed = self.closed or not got
        self._received += got
        return len(got)

    def parsed(self) -> Iterator[tuple[int, int, int, bytes]]:
        """The frames that were received whole."""
        data, at = self._received, 0
        self._received = b""
        try:
            while len(data) - at >= 9:
                size = int.from_bytes(data[at : at + 3], "big")
                if len(data) - at < 9 + size:
                    return
                kind, flags, stream = struct.unpack_from(">BBI", data, at + 3)
                start, at = at + 9, at + 9 + size
                yield kind, flags, stream, data[start:at]
        finally:
            self._received = data[at:] + self._received

    def statuses(self, seconds: float, wanted: int = 1) -> dict[int, int]:
        """The gRPC status of each stream that ended within the time, as soon as there are so many; -1: it was reset."""
        ended: dict[int, int] = {}
        for kind, _, stream, payload in self.frames(seconds):
            if kind == HEADERS and (status := status_of(payload)) is not None:
                ended[stream] = status
            elif kind == RST_STREAM:
                ended.setdefault(stream, -1)
            if len(ended) >= wanted:
                break
        return ended

    def ended_by_server(self, seconds: float) -> bool:
        """Whether the server says GOAWAY or closes within the time."""
        return any(kind == GOAWAY for kind, *_ in self.frames(seconds)) or self.closed

    def _drop_input(self) -> None:
        try:
            while got := self.socket.recv(1 << 18):
                if len(got) < 1 << 18:
                    return
            self.closed = True
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self.closed = True

    def _send_some(self, octets: bytes) -> int:
        try:
            return self.socket.send(octets)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError:
            self.closed = True
            return 0
