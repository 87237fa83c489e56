"""Clients that go in the middle of something, and clients that hardly read or write: nothing is left of the first, the
second hold no more than a page each, and everybody else is served. T13 and T14 of docs/reliability.md."""

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
from witness import Witness, percentile

ABANDONED = 1_000 if harness.FULL else 150
SLOW = 200 if harness.FULL else 40
SLOW_S = 60.0 if harness.FULL else 6.0
BATCH, DIMENSION = 300, 32  # a message within the window that a connection begins with
ROWS, WIDE = 8_000, 256  # 8 MiB of keys: two pages of a scan
MB = 1 << 20
PAGE = 4 * MB  # kScanPageBytes
FLOOR_MS = 40.0

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
            lambda: processes.descriptors(server.pid) <= files and processes.threads(server.pid) <= threads + 4, 10
        )
        harness.note(
            f"{ABANDONED} abandoned: {processes.descriptors(server.pid)} descriptors ({files} before), "
            f"{processes.threads(server.pid)} threads ({threads}), {processes.resident_bytes(server.pid) / MB:.0f} MiB "
            f"({ram / MB:.0f})"
        )
        self.assertTrue(back, "descriptors or threads were left")
        # Each message was applied whole or not at all.
        counts = {}
        for page in memory.scan():
            for number in (page.ids[page.ids < 10**9] // BATCH).tolist():
                counts[number] = counts.get(number, 0) + 1
        self.assertEqual({count for count in counts.values()} - {BATCH}, set(), "a message was applied in part")
        self.assertGreater(len(counts), ABANDONED // 40)
        started = server.metrics()
        self.assertEqual(
            sum(value for name, value in started.items() if name.startswith("grpc_server_started_total")),
            sum(value for name, value in started.items() if name.startswith("grpc_server_handled_total")),
            "calls that never ended",
        )
        self.assertEqual(server.stop(), 0)

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

    def test_slow_readers_and_writers_hold_a_page_each_and_nobody_up(self):
        server = self.serve()
        witness = Witness(server, self.scratch)
        self.addCleanup(witness.stop)
        keys = self.random.normal(size=(ROWS, WIDE)).astype(np.float32)
        memory = server.client.create_memory("wide", WIDE)
        memory.bulk_load(keys, np.arange(ROWS) % 100)
        slowly = server.client.create_memory("slowly", 8)
        time.sleep(1.0)
        start = time.monotonic()
        time.sleep(2.0)
        idle = percentile(witness.between(start, time.monotonic())[0], 0.99)
        ram, files = processes.resident_bytes(server.pid), processes.descriptors(server.pid)

        start, going = time.monotonic(), threading.Event()
        readers = [self.reader(server) for _ in range(SLOW)]
        writers = [self.writer(server, number) for number in range(SLOW)]
        trickle = threading.Thread(target=self.trickle, args=(readers, writers, going))
        trickle.start()
        most = 0
        while time.monotonic() < start + SLOW_S:
            most = max(most, processes.resident_bytes(server.pid))
            time.sleep(0.05)
        took, wrong = witness.between(start, time.monotonic())
        # Another scan, by who reads: to its end, and right.
        began = time.monotonic()
        self.assertEqual(sum(len(page) for page in memory.scan(with_keys=True)), ROWS)
        whole = time.monotonic() - began
        self.assertEqual(slowly.insert(np.ones((3, 8), np.float32), [1, 2, 3], ids=[1, 2, 3]).inserted, 3)
        going.set()
        trickle.join(60)
        p99 = percentile(took, 0.99)
        harness.note(
            f"{SLOW} readers and {SLOW} writers of 1 KiB and 1 byte a second: {(most - ram) / MB:.0f} MiB more at "
            f"most, {(most - ram) / SLOW / MB:.1f} a reader; p99 of others {p99:.1f} ms ({idle:.1f} idle) of "
            f"{len(took)}; a scan of {ROWS * WIDE * 4 / MB:.0f} MiB beside them {whole:.2f} s"
        )
        self.assertEqual(wrong[:3], [])
        self.assertLess(p99, max(3 * idle, FLOOR_MS))
        # A page as it was made and as it is sent, for each; gRPC's buffers besides.
        self.assertLess(most - ram, SLOW * 2 * PAGE + 128 * MB)
        for each in (*readers, *writers):
            each.socket.close()
        back = processes.await_true(lambda: processes.descriptors(server.pid) <= files + 2, 10)
        self.assertTrue(back, f"{processes.descriptors(server.pid)} descriptors, {files} before")
        witness.stop()
        self.assertEqual(slowly.count(), 3, "what came a byte a second was never whole")
        self.assertEqual(server.stop(), 0)

    @staticmethod
    def reader(server):
        """One scan, of which the window lets 64 KiB through; more is allowed by and by."""
        connection = h2.Connection(server.address, receive_buffer=4_096)
        scan = memory_pb2.ScanRequest(memory="wide", with_keys=True)
        connection.send(h2.call(connection.stream(), h2.request_block(SCAN), scan.SerializeToString()))
        return connection

    @staticmethod
    def writer(server, number):
        connection = h2.Connection(server.address)
        insert = memory_pb2.InsertStreamRequest(sequence=1)
        insert.insert.memory = "slowly"
        ids = [100 + number]
        mneme.wire.entries(np.ones((1, 8), np.float32), [1], {"ids": ids}, into=insert.insert.entries)
        connection.rest = h2.message(insert.SerializeToString())
        connection.number = connection.stream()
        connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, connection.number, h2.request_block(INSERT_STREAM)))
        return connection

    @staticmethod
    def trickle(readers, writers, going):
        """A second is a KiB of each reader, and a byte of each writer; the last byte is never sent."""
        while not going.wait(1.0):
            for reader in readers:
                reader.socket.settimeout(0.001)
                try:
                    got = len(reader.socket.recv(1_024))
                except OSError:
                    continue
                more = struct.pack(">I", max(got, 1))
                reader.socket.settimeout(5)
                reader.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, more) + h2.frame(h2.WINDOW_UPDATE, 0, 1, more))
            for writer in writers:
                if len(writer.rest) > 1:
                    writer.send(h2.frame(h2.DATA, 0, writer.number, writer.rest[:1]))
                    writer.rest = writer.rest[1:]


if __name__ == "__main__":
    harness.main()
