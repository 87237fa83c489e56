#!/usr/bin/env python3
"""Writes tests/data/formats/RELEASE with the programs of MNEME_BIN_DIR: once for a release, of what it was built from.

Every kind of thing that a release stores is there, made from one seed: formats_test.py opens it with every later
program. Numbers that the server draws (deployment, RocksDB's names) and stamps are others with every run; questions
that could be answered otherwise for that are not asked.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import cluster
import harness
import mneme
import numpy as np
import processes
import released_formats as formats
import xxh3
from mneme import working

SEED = 1
DIMENSION = 8
FAR = 4_102_444_800_000  # 2100: what expires has not before that
HOST = "mneme"  # RocksDB writes the machine's name into every table
MOST_BYTES = 1 << 20
# Memories of so many rows on one shard, by how they are indexed.
INDEXED_ROWS = 300
INDEXED = {
    "flat": ("flat", "l2"),
    "f16": ("f16", "ip"),
    "int8": ("int8", "l2"),
    "pq": ("pq:4", "l2"),
    "pq4": ("pq:4x4", "cosine"),
    "rabitq": ("rabitq:1", "l2"),
    "pca": ("pca:4", "l2"),
    "opq": ("opq:4x4", "ip"),
}
FINGERPRINT = {
    "model": "gpt2",
    "revision": "main",
    "layer": "h.11",
    "tokenizer_hash": "0123abcd",
    "vocabulary_size": 1000,
    "normalization": "none",
}


class Maker:
    """Stores below a folder, and what they told when they were whole."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        self.random = np.random.default_rng(SEED)
        # anywhere: of the data directory, and of whatever a backup of it becomes. here: of the directory alone. again:
        # what was asked with a request id, which changes nothing. apart: of shards in processes of their own.
        self.questions: dict[str, list[dict[str, Any]]] = {"anywhere": [], "here": [], "again": [], "apart": []}

    def make(self) -> dict[str, Any]:
        self.make_data()
        self.make_resharded()
        self.make_apart()
        return {"release": program_version(), "questions": self.questions}

    # --- one process with two shards ---

    def make_data(self) -> None:
        """In two lives. A backup brings all that was written into tables: what is in the log came after it."""
        flags = ("--shards", "2", "--backup-dir", str(self.folder / formats.BACKUPS))
        with harness.Server(self.folder / formats.DATA, *flags, "--erase-after", "0") as server:
            self.create_memories(server.client)
            self.write_indexed(server.client)
            self.write_wiki(server.client)
            self.write_values(server.client)
            self.write_sessions(server)
            server.cli("backup")
            self.delete_for_good(server.client)
            stop(server)
        with harness.Server(self.folder / formats.DATA, *flags) as server:
            client = server.client
            self.change_wiki(client)
            self.change_sessions(client)
            self.write_slots(client)
            self.delete_for_now(client)
            client.set_alias("live", "wiki")
            client.set_alias("texts-now", "texts")
            client.drop_alias("passing")
            self.ask_again(client)
            self.ask_what_is_stored(client)
            server.cli("backup")
            self.write_late(client)
            self.ask_of_the_directory(client)
            stop(server)

    def create_memories(self, client: mneme.Client) -> None:
        client.create_memory("wiki", DIMENSION, vocab_size=1000, key_dtype="f16", fingerprint=FINGERPRINT)
        for name, (index, metric) in INDEXED.items():
            client.create_memory(name, DIMENSION, metric=metric, key_dtype="f16", index=index, spread="one")
        client.create_memory("vectors", 4, metric="ip", value="vector", value_dim=3)
        client.create_memory("sparse", 4, value="sparse", vocab_size=50)
        client.create_memory("texts", 4, metric="cosine", value="bytes")
        client.create_memory("slots", 4, metric="cosine", value="bytes", capacity=12)
        client.create_memory("late", 4, vocab_size=10)
        client.create_memory("gone", 2).insert(np.eye(2, dtype=np.float32), [1, 2])
        client.set_alias("live", "texts")
        client.set_alias("passing", "texts")
        client.drop_memory("gone")

    def write_indexed(self, client: mneme.Client) -> None:
        for name in INDEXED:
            memory = client.memory(name)
            tokens = np.arange(INDEXED_ROWS) % 90
            memory.insert(self.keys(INDEXED_ROWS), tokens, ids=np.arange(INDEXED_ROWS), sources=tokens // 9)
            memory.build()

    def write_wiki(self, client: mneme.Client) -> None:
        """Sealed rows of both shards with every attribute, and a partition that is too small for an index."""
        memory = client.memory("wiki")
        memory.bulk_load(self.keys(640), np.arange(640) % 1000, ids=np.arange(640), **self.attributes(640))
        ids = self.random.permutation(10_000)[:60]  # no run of ids
        memory.insert(self.keys(60), np.arange(60), ids=ids, partition=5, **self.attributes(60))
        memory.insert(self.keys(30), np.arange(30), partition=5, sources=77)

    def attributes(self, count: int) -> dict[str, Any]:
        at = np.arange(count)
        return {
            "weights": 1 + at % 4 / 8,
            "scores": at / 16,
            "labels": at % 7 - 3,
            "sources": at // 10,
            "positions": at % 10,
            "expiries_ms": np.where(at % 5 == 0, FAR + at, 0),
        }

    def write_values(self, client: mneme.Client) -> None:
        values = self.random.integers(-9, 9, (20, 3)).astype(np.float32) / 4
        client.memory("vectors").insert(self.keys(20, 4), values, ids=np.arange(20), sources=3)
        dense = np.zeros((20, 50))
        dense[np.arange(60) % 20, self.random.integers(0, 50, 60)] = np.arange(60) / 8 + 1
        sparse = mneme.SparseVectors.from_dense(dense, top=2)
        client.memory("sparse").insert(self.keys(20, 4), sparse, ids=np.arange(20))
        texts = ["", "a", "größer", *(f"text {number}" for number in range(37))]
        client.memory("texts").insert(self.keys(40, 4), texts, ids=np.arange(40), labels=np.arange(40) % 4)
        client.memory("texts").insert(self.keys(5, 4), [bytes([number, 0]) for number in range(5)], partition=3)

    def write_sessions(self, server: harness.Server) -> None:
        memory = server.client.memory("wiki")
        memory.put_vocabulary("letters", [None, "a", "b", "ab", "ba", ".", "aa"], ".")
        chat = memory.session("chat")
        memory.put_facts("chat", "facts", ["abba", "abab", "baab"])
        chat.put("draft", b"first")
        chat.put("removed", b"of the base")
        chat.put("dated", b"until 2100", expiry_ms=FAR)
        self.write_models_states(chat)
        # More than one piece has.
        cells = np.arange(14_000)
        chat.count("matrix", cells // 200, cells % 200, cells % 3 + 1)
        # One that is over when others have it as their base, which is told apart from one that was never there.
        chat.put("fleeting", b"gone", expiry_ms=int(time.time() * 1000) + 2_000)
        beam = chat.fork("chat/beam")
        beam.put("draft", b"of the beam")
        beam.remove("removed")
        beam.count("matrix", [3, 4], [3, 200])
        expired = "mneme_expired_states_total"
        assert processes.await_true(lambda: server.metrics()[expired] >= 1, 30), "nothing expired"
        memory.apply([working.put("dated", "only", b"state")], session_expiry_ms=FAR)

    def write_models_states(self, session: working.Session) -> None:
        session.linear("head", self.keys(6, 3), self.keys(6, 2), rule="delta")
        for block in range(3):
            rows = self.keys(2, 3)
            ring = {"fam_queries": rows[:1], "fam_keys": rows[1:], "fam_values": rows[1:], "ring_blocks": 2}
            session.attend("blocks", block, rows, self.keys(2, 3), self.keys(2, 3), **ring)
        session.count("few", [1, 1, 300], [2, 5, 70_000], [5, -1, 7])

    def delete_for_good(self, client: mneme.Client) -> None:
        """Deletions whose bytes are gone when this returns."""
        wiki = client.memory("wiki")
        deleted = wiki.delete(sources=[2, 77], partitions="all")
        wiki.receipt(deleted.receipt, partitions="all", wait="rocksdb")
        self.receipt_of_good = deleted.receipt
        other = client.memory("int8")
        other.receipt(other.delete(ids=np.arange(10)).receipt, wait="rocksdb")

    def change_wiki(self, client: mneme.Client) -> None:
        """A tail; rows of segments that others took the place of."""
        memory = client.memory("wiki")
        memory.insert(self.keys(25), np.arange(25), ids=np.arange(25) * 4, **self.attributes(25))
        memory.insert(self.keys(20), np.arange(20), ids=np.arange(20) + 2000)
        self.version = memory.insert(self.keys(15), np.arange(15)).version

    def change_sessions(self, client: mneme.Client) -> None:
        memory = client.memory("wiki")
        chat = memory.session("chat")
        chat.put("draft", b"second")
        chat.fork("chat/beam/leaf").linear("head", self.keys(2, 3), self.keys(2, 2))
        memory.session("empty").put("passing", b"x")
        memory.session("empty").remove("passing")
        memory.session("reset").put("passing", b"x")
        memory.reset_sessions(["reset"])

    def write_slots(self, client: mneme.Client) -> None:
        """Merged, written, and evicted."""
        for tick in range(3):
            client.memory("slots").remember(self.keys(8, 4) + np.float32(0.25), (np.arange(8) + tick) % 5, seed=tick)

    def delete_for_now(self, client: mneme.Client) -> None:
        """A deletion whose bytes are still there, of a memory that has no index."""
        deleted = client.memory("texts").delete(labels=[3])
        self.receipt_for_now = deleted.receipt

    def write_late(self, client: mneme.Client) -> None:
        """What no backup has."""
        memory = client.memory("late")
        memory.insert(self.keys(12, 4), np.arange(12) % 10, ids=np.arange(12), sources=3, expiries_ms=FAR)
        memory.insert(self.keys(3, 4), [1, 2, 3], ids=[5, 70, 60], request_id="late")
        memory.insert(self.keys(4, 4), np.arange(4), partition=2)
        memory.delete(ids=[0, 7])
        memory.session("late").put("draft", b"late")
        client.set_alias("late-alias", "late")

    def ask_again(self, client: mneme.Client) -> None:
        """Asks with request ids, writes what must stay as it is, and notes what the same requests are told then."""
        wiki, slots = client.memory("wiki"), client.memory("slots")
        with_ids = {"values": [1, 2, 3], "ids": [3000, 3001, 3002], "request_id": "an insert"}
        self.twice(client, "inserted", memory="wiki", keys=self.keys(3).tolist(), **with_ids)
        given = {"values": [4, 5], "partition": 5, "request_id": "an insert without ids"}
        self.twice(client, "inserted", memory="wiki", keys=self.keys(2).tolist(), **given)
        spread = {"values": [6, 7, 8], "request_id": "an insert without ids, spread"}
        self.twice(client, "inserted", memory="wiki", keys=self.keys(3).tolist(), **spread)
        self.twice(client, "deleted", memory="texts", ids=[0, 1, 500], partition=0, request_id="a deletion")
        puts = [["agent", "task", "read"], ["agent", "step", "1"], ["other", "task", "write"]]
        self.twice(client, "applied", memory="wiki", puts=puts, request_id="states")
        learned = {"queries": (self.keys(4, 4) + np.float32(0.5)).tolist(), "labels": [1, 2, 3, 9], "seed": 5}
        self.twice(client, "remembered", memory="slots", request_id="a learned write", **learned)

        wiki.insert(self.keys(1), [9], ids=[3001])
        client.memory("texts").insert(self.keys(1, 4), ["again"], ids=[1])
        wiki.session("agent").put("step", b"2")
        slots.remember(self.keys(2, 4) + np.float32(0.75), [1, 6])
        for question in self.questions["again"]:
            question["answer"] = formats.Asked(client).answer(question)
        moved = wiki.session("moved")
        moved.put("draft", b"as bytes", expiry_ms=FAR)
        self.write_models_states(moved)
        states = [["draft", "register"], ["head", "linear"], ["blocks", "feedback"], ["few", "counts"]]
        self.note("again", client, "loaded", memory="wiki", content=moved.export().hex(), states=states)
        # What came as bytes is stored as anything else.
        wiki.session("copied").load(moved.export())

    def ask_what_is_stored(self, client: mneme.Client) -> None:
        self.note("anywhere", client, "memories")
        self.note("anywhere", client, "aliases")
        for memory in ("wiki", "vectors", "sparse", "texts", "slots", *INDEXED):
            self.note("anywhere", client, "entries", memory=memory)
        self.note("anywhere", client, "counted", memory="live")
        self.note("anywhere", client, "counted", memory="wiki", partitions=[5])
        queries = self.keys(3).tolist()
        for memory in ("wiki", "pq", "pq4", "opq"):
            self.note("anywhere", client, "nearest", memory=memory, keys=queries, k=10)
        self.note("anywhere", client, "nearest", memory="wiki", keys=queries, k=5, labels=[-3, 0], sources=[4, 9, 11])
        for memory in ("vectors", "sparse", "texts", "slots"):
            self.note("anywhere", client, "nearest", memory=memory, keys=self.keys(2, 4).tolist(), k=3)
        self.note("anywhere", client, "distribution", memory="wiki", keys=queries, k=40, temperature=2.5)
        self.ask_sessions("anywhere", client)

    def ask_sessions(self, where: str, client: mneme.Client) -> None:
        self.note(where, client, "sessions", memory="wiki")
        for session in ("chat", "chat/beam", "chat/beam/leaf", "copied"):
            for name in ("draft", "removed", "dated", "fleeting", "facts"):
                self.note(where, client, "state", memory="wiki", session=session, name=name, kind="register")
            self.note(where, client, "state", memory="wiki", session=session, name="head", kind="linear")
            self.note(where, client, "state", memory="wiki", session=session, name="blocks", kind="feedback")
            for name in ("matrix", "few"):
                self.note(where, client, "state", memory="wiki", session=session, name=name, kind="counts")
        self.note(where, client, "state", memory="wiki", session="dated", name="only", kind="register")
        self.note(where, client, "state", memory="wiki", session="agent", name="step", kind="register")
        facts = {"vocabulary": "letters", "session": "chat", "name": "facts", "written": "ab"}
        self.note(where, client, "mask", memory="wiki", **facts)

    def ask_of_the_directory(self, client: mneme.Client) -> None:
        self.note("here", client, "aliases")
        self.note("here", client, "entries", memory="late-alias")
        self.note("here", client, "nearest", memory="late", keys=self.keys(2, 4).tolist(), k=9)
        self.note("here", client, "state", memory="late", session="late", name="draft", kind="register")
        for memory in ("wiki", *INDEXED):
            for estimated in (False, True):
                some = {"keys": self.keys(5).tolist(), "k": 10, "nprobe": 3, "estimated": estimated}
                self.note("here", client, "approximate", memory=memory, **some)
                # Of all lists it would be exact, and no code be looked at.
                assert not self.questions["here"][-1]["answer"]["exact"], memory
        for memory in ("wiki", "int8", "texts", "late"):
            self.note("here", client, "receipts", memory=memory)
        good = {"receipt": self.receipt_of_good, "partitions": "all", "reached": "rocksdb"}
        self.note("here", client, "receipt", memory="wiki", **good)
        now = {"receipt": self.receipt_for_now, "partitions": None, "reached": "hidden"}
        self.note("here", client, "receipt", memory="texts", **now)
        self.note("here", client, "counted", memory="wiki", partitions=[0], version=self.version.hex())

    # --- the others ---

    def make_resharded(self) -> None:
        """What the backup becomes on another number of shards: a store format of its own. Nothing was started on it."""
        told = mneme_cli("restore", self.folder / formats.BACKUPS, "--data-dir", self.folder / formats.RESHARDED,
                         "--shards", 3)
        assert told["number"] == 2, told

    def make_apart(self) -> None:
        """Shards in processes of their own, and a backup in parts."""
        flags = ("--backup-dir", str(self.folder / formats.APART_BACKUPS))
        deployment = cluster.Cluster(self.folder / formats.APART, 2, 1, *flags)
        try:
            client = deployment.client
            memory = client.create_memory("wiki", 4, vocab_size=100)
            memory.insert(self.keys(40, 4), np.arange(40), ids=np.arange(40), labels=np.arange(40) % 3)
            memory.insert(self.keys(7, 4), np.arange(7))
            memory.insert(self.keys(9, 4), np.arange(9), ids=np.arange(9), partition=8)
            memory.delete(ids=[3, 4, 5])
            for number in range(4):
                memory.session(f"agent{number}").put("draft", f"text {number}".encode())
            client.set_alias("live", "wiki")
            for name in ("memories", "aliases"):
                self.note("apart", client, name)
            self.note("apart", client, "entries", memory="live")
            self.note("apart", client, "nearest", memory="live", keys=self.keys(2, 4).tolist(), k=10)
            self.note("apart", client, "sessions", memory="wiki")
            for number in range(4):
                asked = {"session": f"agent{number}", "name": "draft", "kind": "register"}
                self.note("apart", client, "state", memory="wiki", **asked)
            deployment.front_ends[0].cli("backup")
            for process in (*deployment.front_ends, *deployment.shards):
                stop(process)
        finally:
            deployment.kill()

    # --- questions and keys ---

    def note(self, where: str, client: mneme.Client, ask: str, **arguments: Any) -> None:
        """Asks, and keeps what was told."""
        question = {"ask": ask, **arguments}
        # As it will be read again.
        question = json.loads(json.dumps(question))
        self.questions[where].append({**question, "answer": formats.Asked(client).answer(question)})

    def twice(self, client: mneme.Client, ask: str, **arguments: Any) -> None:
        """Asks for the first time; what it is told the second time is noted later."""
        question = {"ask": ask, **arguments}
        formats.Asked(client).answer(question)
        self.questions["again"].append(question)

    def keys(self, count: int, dimension: int = DIMENSION) -> Any:
        """Of few bits, so that they are the same as f16 and as f32, exact in every sum, and short in an archive."""
        return (np.clip(np.round(self.random.normal(size=(count, dimension)) * 4), -15, 15) / 4).astype(np.float32)


def stop(server: harness.Server) -> None:
    code = server.stop()
    assert code == 0, f"exit code {code}:\n{server.tail_of_log()}"


def mneme_cli(*arguments: Any) -> Any:
    command = [str(harness.BIN / "mneme"), *map(str, arguments), "-o", "json"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL).stdout)


def program_version() -> str:
    told = subprocess.run([str(harness.BIN / "mneme-server"), "--version"], check=True, capture_output=True, text=True)
    return told.stdout.split()[-1]


def log_records() -> str:
    """One of each kind, a line each in hexadecimal: the seeds of the fuzz target, which lack their checksum."""
    lines = []
    for seed in (harness.ROOT / "tests/fuzz/corpus/log_record").glob("seed-*"):
        record = seed.read_bytes()[1:]
        lines.append((record + xxh3.digest(record, 0x6C6F677265636F72).to_bytes(8, "little")).hex())
    return "\n".join(sorted(lines, key=lambda line: (line[:4], line))) + "\n"


def check_nothing_of_the_machine(folder: pathlib.Path) -> None:
    for path in formats.kept(folder):
        if path.is_file() and str(folder).encode() in path.read_bytes():
            sys.exit(f"{path} names the folder in which it was made")


def main() -> None:
    version = program_version()
    into = formats.FOLDER / formats.release_of(version)
    if into.exists():
        sys.exit(f"{into} is there: what a release wrote stays as it was")
    with tempfile.TemporaryDirectory(prefix="mneme-formats-") as scratch:
        folder = pathlib.Path(scratch)
        expected = Maker(folder).make()
        check_nothing_of_the_machine(folder)
        into.mkdir(parents=True)
        formats.pack(folder, into / formats.ARCHIVE)
    # A question a line.
    questions = {
        name: "[\n" + ",\n".join(json.dumps(each, ensure_ascii=False) for each in several) + "\n]"
        for name, several in expected["questions"].items()
    }
    lists = ",\n".join(f'"{name}": {several}' for name, several in questions.items())
    (into / formats.EXPECTED).write_text(f'{{"release": "{version}",\n"questions": {{\n{lists}\n}}}}\n')
    (into / formats.LOG_RECORDS).write_text(log_records())
    size = sum(path.stat().st_size for path in into.iterdir())
    if size > MOST_BYTES:
        shutil.rmtree(into)
        sys.exit(f"{size} bytes; at most {MOST_BYTES} belong into the repository")
    print(f"{into}: {size} bytes")


if __name__ == "__main__":
    if os.uname().nodename != HOST:
        named = ["unshare", "--user", "--map-root-user", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', HOST]
        os.execvp("unshare", [*named, sys.executable, *sys.argv])
    main()
