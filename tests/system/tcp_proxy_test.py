"""The proxy that partitions are made of: what it lets pass, holds back, and cuts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import unittest

import harness
import tcp_proxy

SOON_S, NEVER_S = 10.0, 0.3  # within which something happens; in which what is held back would have come


class Echo(threading.Thread):
    """Sends back what it gets, and keeps what that was."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self.got = b""
        self.start()

    def run(self) -> None:
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(1 << 16):
                self.got += chunk
                connection.sendall(chunk)


class TcpProxy(unittest.TestCase):
    def setUp(self) -> None:
        self.network = tcp_proxy.Network()
        self.addCleanup(self.network.close)
        self.echo = Echo()
        host, port = self.network.address("a", "b", self.echo.port).split(":")
        self.place = (host, int(port))
        self.connection = self.connect()

    def connect(self) -> socket.socket:
        connection = socket.create_connection(self.place, SOON_S)
        self.addCleanup(connection.close)
        return connection

    def read(self, count: int, seconds: float = SOON_S) -> bytes:
        self.connection.settimeout(seconds)
        out = b""
        while len(out) < count and (chunk := self.connection.recv(count - len(out))):
            out += chunk
        return out

    def test_bytes_pass_and_so_does_the_end(self) -> None:
        content = bytes(range(256)) * 4_096
        threading.Thread(target=self.connection.sendall, args=(content,), daemon=True).start()
        self.assertEqual(self.read(len(content)), content)
        self.connection.shutdown(socket.SHUT_WR)
        self.assertEqual(self.read(1), b"")
        self.assertEqual(self.network.carried("b", "a"), 2 * len(content))

    def test_what_is_dropped_arrives_when_it_heals(self) -> None:
        self.network.cut("a", "b")
        self.connection.sendall(b"x")
        late = self.connect()
        late.sendall(b"y")
        with self.assertRaises(TimeoutError):
            self.read(1, NEVER_S)
        self.assertEqual(self.echo.got, b"")
        self.network.heal()
        self.assertEqual(self.read(1), b"x")
        self.assertEqual(late.recv(1), b"y")

    def test_one_way_may_be_dropped_alone(self) -> None:
        self.network.cut("a", "b", tcp_proxy.BACK_DROPPED)
        self.connection.sendall(b"x")
        with self.assertRaises(TimeoutError):
            self.read(1, NEVER_S)
        self.assertEqual(self.echo.got, b"x")
        # Who is named first is where "forth" begins, whoever connected.
        self.network.cut("b", "a", tcp_proxy.BACK_DROPPED)
        self.assertEqual(self.read(1), b"x")
        self.connection.sendall(b"y")
        with self.assertRaises(TimeoutError):
            self.read(1, NEVER_S)
        self.assertEqual(self.echo.got, b"x")

    def test_a_reset_ends_connections_and_takes_no_new_one(self) -> None:
        self.connection.sendall(b"x")
        self.assertEqual(self.read(1), b"x")
        self.network.cut("a", "b", tcp_proxy.RESET)
        with self.assertRaises(ConnectionResetError):
            self.read(1)
        with self.assertRaises(ConnectionResetError):
            self.connect().recv(1)
        self.network.heal()
        self.connection = self.connect()
        self.connection.sendall(b"y")
        self.assertEqual(self.read(1), b"y")

    def test_late_is_late_each_way_and_nothing_is_lost(self) -> None:
        self.network.cut("a", "b", tcp_proxy.Conduct(delay=0.1))
        begin = time.monotonic()
        self.connection.sendall(b"x")
        self.assertEqual(self.read(1), b"x")
        self.assertGreater(time.monotonic() - begin, 0.2)

    def test_who_is_not_there_is_not_there(self) -> None:
        nobody = socket.create_server(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        nobody.close()
        host, own = self.network.address("a", "c", port).split(":")
        with self.assertRaises(ConnectionResetError):
            with socket.create_connection((host, int(own)), SOON_S) as connection:
                connection.recv(1)


if __name__ == "__main__":
    harness.main()
