"""Some requests of Kafka's protocol, as its specification has them (kafka.apache.org/protocol): a process of its tools
takes two seconds to say the same."""

from __future__ import annotations

import dataclasses
import socket
import struct

CREATE_TOPICS, METADATA, VERSION = 19, 3, 4
DELETE_RECORDS, DELETE_RECORDS_VERSION = 21, 1
ALREADY_EXISTS = 36


@dataclasses.dataclass
class Partition:
    leader: int  # -1: none
    replicas: list[int]
    in_sync: list[int]


class Refused(RuntimeError):
    """A broker's answer is an error."""


def create_topic(
    address: tuple[str, int], name: str, partitions: int, replicas: int, settings: dict[str, str], timeout: float
) -> None:
    """A topic that is there is not changed."""
    body = struct.pack(">i", 1) + _text(name) + struct.pack(">ihii", partitions, replicas, 0, len(settings))
    for key, value in settings.items():
        body += _text(key) + _text(value)
    answer = _ask(address, CREATE_TOPICS, body + struct.pack(">ib", int(timeout * 1000), 0), timeout)
    answer.integer("i")  # how long the broker held it back
    for _ in range(answer.integer("i")):
        answer.text()
        code, why = answer.integer("h"), answer.text()
        if code not in (0, ALREADY_EXISTS):
            raise Refused(f"topic {name}: error {code}: {why}")


def delete_records(leader: tuple[str, int], name: str, partition: int, before: int, timeout: float) -> int:
    """As retention does; the first offset that is kept. The leader of the partition is to be asked."""
    body = struct.pack(">i", 1) + _text(name) + struct.pack(">iiqi", 1, partition, before, int(timeout * 1000))
    answer = _ask(leader, DELETE_RECORDS, body, timeout, DELETE_RECORDS_VERSION)
    answer.integer("i"), answer.integer("i"), answer.text(), answer.integer("i"), answer.integer("i")
    first, code = answer.integer("q"), answer.integer("h")
    if code != 0:
        raise Refused(f"records of {name} {partition} before {before}: error {code}")
    return first


def partitions_of(address: tuple[str, int], name: str, timeout: float) -> list[Partition]:
    """By their number; none when there is no such topic."""
    answer = _ask(address, METADATA, struct.pack(">i", 1) + _text(name) + struct.pack(">b", 0), timeout)
    answer.integer("i")
    for _ in range(answer.integer("i")):
        answer.integer("i"), answer.text(), answer.integer("i"), answer.text()  # of a broker
    answer.text(), answer.integer("i")  # of the cluster
    found: dict[int, Partition] = {}
    for _ in range(answer.integer("i")):
        answer.integer("h"), answer.text(), answer.integer("b")
        for _ in range(answer.integer("i")):
            answer.integer("h")
            number, leader = answer.integer("i"), answer.integer("i")
            found[number] = Partition(leader, answer.integers(), answer.integers())
    return [found[number] for number in sorted(found)]


def _text(value: str) -> bytes:
    encoded = value.encode()
    return struct.pack(">h", len(encoded)) + encoded


class _Answer:
    def __init__(self, body: bytes) -> None:
        self.body, self.at = body, 0

    def integer(self, kind: str) -> int:
        (value,) = struct.unpack_from(">" + kind, self.body, self.at)
        self.at += struct.calcsize(kind)
        return int(value)

    def integers(self) -> list[int]:
        return [self.integer("i") for _ in range(self.integer("i"))]

    def text(self) -> str:
        length = max(0, self.integer("h"))
        self.at += length
        return self.body[self.at - length : self.at].decode()


def _ask(address: tuple[str, int], request: int, body: bytes, timeout: float, version: int = VERSION) -> _Answer:
    """Raises OSError when the broker does not answer in time."""
    message = struct.pack(">hhi", request, version, 1) + _text("mneme-test") + body
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(struct.pack(">i", len(message)) + message)
        (length,) = struct.unpack(">i", _read(connection, 4))
        answer = _Answer(_read(connection, length))
    answer.integer("i")  # which request it is of
    return answer


def _read(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        more = connection.recv(count - len(read))
        if not more:
            raise ConnectionResetError("the broker closed the connection")
        read += more
    return read
