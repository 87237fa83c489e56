"""Clients that go in the middle of something, and clients that hardly read or write: nothing is left of the first, the
second hold no more than two pages each, are not thrown out, and hold nobody up. T13 and T14 of docs/reliability.md."""

import random
import socket
import struct
import threading
import time

import harness
import http2_frames as h2
import mneme
import numpy as np
import processes
from mneme._proto import memory_pb2
from witness import Witness

ABANDONED = 1_000 if harness.FULL else 150
SLOW = 200 if harness.FULL else 40
SLOW_S = 60.0 if harness.FULL else 6.0
BATCH, DIMENSION = 300, 32  # a message within the window that a connection begins with
ROWS, WIDE = 8_000, 256  # 8 MiB of keys: two pages of a scan
MB = 1 << 20
PAGE = 4 * MB  # kScanPageBytes
TABLES = 16  # of the store, that what is written meanwhile may add

QUERY = "/mneme.v1.MemoryService/Query"
QUERY_STREAM = "/mneme.v1.MemoryService/QueryStream"
INSERT_STREAM = "/mneme.v1.MemoryService/InsertStream"
SCAN = "/mneme.v1.MemoryService/Scan"


class SlowClients(harness.SystemTest):
    def test_nothing_is_left_of_clients_that_go_in_the_middle(self):
        server = self.serve("data", "--shards", "2")
        memory = server.client.create_memory("left", DIMENSION)
        memory.insert(self.keys(2_000), np.zeros(2_000, int), ids=np.arange(10**9, 10**9 + 2_000))
        picked = random.Random(harness.SEED)
        for number in range(8):  # what is made once, for the first of its kind
            self.abandon(server, picked, 10**6 + number)
        time.sleep(1.0)
        files, threads = processes.descriptors(server.pid), processes.threads(server.pid)
        ram = processes.resident_bytes(server.pid)
        for number in range(ABANDONED):
            self.abandon(server, picked, number)
        back = processes.await_true(
            lambda: processes.descriptors(server.pid) <= files + TABLES
            and processes.threads(server.pid) <= threads + 8,
            10,
        )
        harness.note(
            f"{ABANDONED} abandoned: {processes.descriptors(server.pid)} descriptors ({files} before), "
            f"{processes.threads(server.pid)} threads ({threads}), {processes.resident_bytes(server.pid) / MB:.0f} MiB "
            f"({ram / MB:.0f})"
        )
        self.assertTrue(back, "descriptors or threads were left")
        # What one connection ended with, others may still be told: calls, and inserts on two shards.
        self.assertTrue(processes.await_true(lambda: self.under_way(server) == 0, 10), "calls that never ended")
        processes.await_true(lambda: set(self.applied(memory).values()) == {BATCH}, 10)
        applied = self.applied(memory)
        self.assertEqual(set(applied.values()), {BATCH}, "none was applied, or one in part")
        harness.note(f"{len(applied)} messages were applied, whole")
        self.assertEqual(server.stop(), 0)

    @staticmethod
    def under_way(server):
        """Calls that have begun and not ended."""
        metrics, count = server.metrics(), 0.0
        for name, value in metrics.items():
            count += value * name.startswith("grpc_server_started_total")
            count -= value * name.startswith("grpc_server_handled_total")
        return count

    @staticmethod
    def applied(memory):
        """Of each message of which anything was applied, how many entries were."""
        counts = {}
        for page in memory.scan():
            for number in (page.ids[page.ids < 10**9] // BATCH).tolist():
                counts[number] = counts.get(number, 0) + 1
        return counts

    def abandon(self, server, picked, number):
        """One call of some kind, cut at any byte, by a reset, an end, or a cancelled stream."""
        kind = picked.randrange(4)
        insert = memory_pb2.InsertStreamRequest(sequence=1)
        ids = np.arange(number * BATCH, (number + 1) * BATCH)
        insert.insert.memory = "left"
        mneme.wire.entries(self.keys(BATCH), np.zeros(BATCH, int), {"ids": ids}, into=insert.insert.entries)
        query = memory_pb2.QueryRequest(memory="left", k=64)
        query.keys.CopyFrom(mneme.wire.vectors(self.keys(16)))
        path, content = (
            (INSERT_STREAM, insert),
            (QUERY, query),
            (QUERY_STREAM, memory_pb2.QueryStreamRequest(query=query)),
            (SCAN, memory_pb2.ScanRequest(memory="left", with_keys=True)),
        )[kind]
        last = h2.END_STREAM if path in (QUERY, SCAN) else 0
        with h2.Connection(server.address, window=picked.choice((0, 1_000, 65_535))) as connection:
            stream = connection.stream()
            octets = h2.frame(h2.HEADERS, h2.END_HEADERS, stream, h2.request_block(path))
            body = h2.message(content.SerializeToString())
            for first in range(0, len(body), 16_000):
                piece = body[first : first + 16_000]
                octets += h2.frame(h2.DATA, last if first + len(piece) == len(body) else 0, stream, piece)
            cut = picked.choice((len(octets), picked.randrange(len(octets))))
            connection.send(octets[:cut])
            if cut == len(octets) and picked.random() < 0.7:
                time.sleep(picked.uniform(0, 0.03))  # so that some of them have been begun
            if cut == len(octets) and picked.random() < 0.5:
                connection.send(h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">I", h2.CANCEL)))
            elif picked.random() < 0.5:
                connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def keys(self, count):
        return self.random.normal(size=(count, DIMENSION)).astype(np.float32)

    def test_slow_readers_and_writers_hold_two_pages_each_and_nobody_up(self):
        server = self.serve()
        witness = Witness(server, self.scratch)
        self.addCleanup(witness.stop)
        keys = self.random.normal(size=(ROWS, WIDE)).astype(np.float32)
        memory = server.client.create_memory("wide", WIDE)
        memory.bulk_load(keys, np.arange(ROWS) % 100)
        slowly = server.client.create_memory("slowly", 8)
        time.sleep(1.0)
        witness.measure(2.0)
        ram, files = processes.resident_bytes(server.pid), processes.descriptors(server.pid)

        start = time.monotonic()
        readers = [self.reader(server) for _ in range(SLOW)]
        writers = [self.writer(server, number) for number in range(SLOW)]
        trickle = Trickle(readers, writers)
        self.addCleanup(trickle.going.set)
        trickle.start()
        most = 0
        while time.monotonic() < start + SLOW_S:
            most = max(most, processes.resident_bytes(server.pid))
            time.sleep(0.05)
        served = witness.assert_served(start, time.monotonic())
        # Another scan, by who reads: to its end, and right.
        began = time.monotonic()
        pages = [page.keys for page in memory.scan(with_keys=True)]
        whole = time.monotonic() - began
        np.testing.assert_array_equal(np.concatenate(pages), keys)
        self.assertEqual(slowly.insert(np.ones((3, 8), np.float32), [1, 2, 3], ids=[1, 2, 3]).inserted, 3)
        trickle.going.set()
        trickle.join(60)
        self.assertIsNone(trickle.failure)
        harness.note(
            f"{SLOW} readers and {SLOW} writers of 1 KiB and 1 byte a second: {(most - ram) / MB:.0f} MiB more at "
            f"most, {(most - ram) / SLOW / MB:.1f} a reader; others: {served}; a scan of {ROWS * WIDE * 4 / MB:.0f} "
            f"MiB beside them {whole:.2f} s; each reader has {min(len(each.taken) for each in readers):,} bytes or more"
        )
        # A page as it was made and as it is sent, for each; gRPC's buffers besides.
        self.assertLess(most - ram, SLOW * 2 * PAGE + 128 * MB)
        # None was thrown out: one of each goes on to its end, as quickly as it likes.
        self.assertEqual([each.ended for each in (*readers, *writers) if each.ended or each.closed], [])
        self.assertEqual(slowly.count(), 3, "what came a byte a second was not whole yet")
        np.testing.assert_array_equal(self.read_on(readers[0]), keys)
        writers[0].send(h2.frame(h2.DATA, h2.END_STREAM, writers[0].number, writers[0].rest))
        self.assertEqual(writers[0].statuses(10), {writers[0].number: 0})
        self.assertEqual(slowly.count(), 4)
        for each in (*readers, *writers):
            each.socket.close()
        back = processes.await_true(lambda: processes.descriptors(server.pid) <= files + TABLES, 10)
        self.assertTrue(back, f"{processes.descriptors(server.pid)} descriptors, {files} before")
        witness.stop()
        self.assertEqual(slowly.count(), 4)
        self.assertEqual(server.stop(), 0)

    @staticmethod
    def reader(server):
        """One scan, of which the window lets 64 KiB through; more is allowed by and by."""
        connection = Slow(server.address, receive_buffer=4_096)
        scan = memory_pb2.ScanRequest(memory="wide", with_keys=True)
        connection.send(h2.call(connection.stream(), h2.request_block(SCAN), scan.SerializeToString()))
        return connection

    @staticmethod
    def writer(server, number):
        connection = Slow(server.address)
        insert = memory_pb2.InsertStreamRequest(sequence=1)
        insert.insert.memory = "slowly"
        ids = [100 + number]
        mneme.wire.entries(np.ones((1, 8), np.float32), [1], {"ids": ids}, into=insert.insert.entries)
        connection.rest = h2.message(insert.SerializeToString())
        connection.number = connection.stream()
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, connection.number, h2.request_block(INSERT_STREAM)))
        return connection

    def read_on(self, reader):
        """The keys of all pages, once the rest of them is read."""
        end = time.monotonic() + 60
        while not reader.ended and not reader.closed and time.monotonic() < end:
            reader.allow(reader.take(1 << 18))
            time.sleep(0.001)
        self.assertEqual(reader.ended, [0])
        keys, at = [], 0
        while at < len(reader.taken):
            size = int.from_bytes(reader.taken[at + 1 : at + 5], "big")
            page = memory_pb2.ScanResponse.FromString(bytes(reader.taken[at + 5 : at + 5 + size]))
            keys.append(np.frombuffer(page.entries.keys.data, np.float32).reshape(-1, WIDE))
            at += 5 + size
        return np.concatenate(keys)


class Slow(h2.Connection):
    """`taken`: the DATA that came; `ended`: what the server ended the stream or the connection with, a gRPC status or
    the kind of a frame."""

    def __init__(self, address, receive_buffer=0):
        super().__init__(address, receive_buffer=receive_buffer)
        self.taken, self.ended = bytearray(), []

    def take(self, most):
        """What has come, up to so many bytes of it."""
        self.socket.setblocking(False)
        got = self.receive(most)
        self.socket.settimeout(5)
        for kind, _, _, payload in self.parsed():
            if kind == h2.DATA:
                self.taken += payload
            elif kind in (h2.RST_STREAM, h2.GOAWAY):
                self.ended.append(f"frame {kind}")
            elif kind == h2.HEADERS and (status := h2.status_of(payload)) is not None:
                self.ended.append(status)
        return got

    def allow(self, octets):
        """The server may send so many more."""
        if octets:
            more = struct.pack(">I", octets)
            self.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, more) + h2.frame(h2.WINDOW_UPDATE, 0, 1, more))


class Trickle(threading.Thread):
    """A second is a KiB of each reader, and a byte of each writer, whose last is never sent. Until `going` is set."""

    def __init__(self, readers, writers):
        super().__init__(daemon=True)
        self.readers, self.writers = readers, writers
        self.going, self.failure = threading.Event(), None

    def run(self):
        try:
            while not self.going.wait(1.0):
                for reader in self.readers:
                    reader.allow(reader.take(1_024))
                for writer in self.writers:
                    writer.take(1_024)
                    if len(writer.rest) > 1:
                        writer.send(h2.frame(h2.DATA, 0, writer.number, writer.rest[:1]))
                        writer.rest = writer.rest[1:]
        except Exception as error:  # noqa: BLE001  (the test tells it)
            self.failure = error


if __name__ == "__main__":
    harness.main()
