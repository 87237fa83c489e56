"""What a release wrote, as tests/data/formats/RELEASE keeps it: an archive of its stores, and what it told of them.

expected.json has *questions*: what is asked (`ask`), its arguments, and the `answer` that the release gave of its own
stores. Every later program is asked the same of them. A question is kept as it was asked, so that those of a new
release may be more, or others.
"""

from __future__ import annotations

import hashlib
import io
import lzma
import math
import pathlib
import tarfile
from typing import Any, Iterator, Sequence

import harness
import mneme
import numpy as np
import xxh3
from google.protobuf import json_format
from mneme import SparseVectors, working

FOLDER = harness.ROOT / "tests" / "data" / "formats"
ARCHIVE, EXPECTED, LOG_RECORDS = "stored.tar.xz", "expected.json", "log_records.txt"
# What of an archive is which: a data directory of all shards, backups of it, what one of them became on three shards;
# directories of shards that have processes of their own, and their backup.
DATA, BACKUPS, RESHARDED = "data", "backups", "resharded"
APART, APART_BACKUPS = "apart", "apart-backups"
_FOLDERS = (DATA, BACKUPS, RESHARDED, f"{APART}/shard-0", f"{APART}/shard-1", APART_BACKUPS)
# What no other process reads: locks, and RocksDB's logs for people, which name paths.
NOISE = ("LOCK", "LOG", "LOG.old.*")

_SHORT = 32  # items of a column that are written out; of a longer one a digest is
_ENTRY_COLUMNS = (
    *("partitions", "ids", "keys", "weights", "scores", "labels", "sources", "positions", "expiries_ms", "created_ms"),
)
_NEIGHBOUR_COLUMNS = (
    *("offsets", "ids", "distances", "partitions", "weights", "labels", "sources", "positions", "successors"),
    "has_successor",
)
_REMEMBERED_COLUMNS = (
    *("found", "slots", "values", "similarities", "correct", "actions", "written_slots", "evicted", "evicted_values"),
    *("evicted_ages", "losses"),
)


class Asked:
    """A deployment that is asked questions. Every answer is what JSON can say."""

    def __init__(self, client: mneme.Client) -> None:
        self._client = client

    def answer(self, question: dict[str, Any]) -> Any:
        arguments = {name: value for name, value in question.items() if name not in ("ask", "answer")}
        return getattr(self, f"_{question['ask']}")(**arguments)

    # --- the catalogue ---

    def _memories(self) -> Any:
        return {each.name: json_format.MessageToDict(each) for each in self._client.memories()}

    def _aliases(self) -> Any:
        return self._client.aliases()

    # --- entries ---

    def _entries(self, memory: str) -> Any:
        """All of a memory, by partition and id."""
        pages = list(self._client.memory(memory).scan(with_keys=True, partitions="all"))
        rows = {name: np.concatenate([getattr(page, name) for page in pages]) for name in _ENTRY_COLUMNS}
        values = [value for page in pages for value in _as_bytes(page.values)]
        order = np.lexsort((rows["ids"], rows["partitions"]))
        told = {name: _column(column[order]) for name, column in rows.items()}
        return {**told, "values": _texts([values[at] for at in order])}

    def _counted(self, memory: str, partitions: Any = "all", version: str = "") -> int:
        """version: a token that the release gave, in hexadecimal."""
        return self._client.memory(memory).count(partitions=partitions, version=bytes.fromhex(version))

    def _nearest(self, memory: str, keys: Any, k: int, labels: Any = None, sources: Any = None) -> Any:
        found = self._client.memory(memory).query(
            np.array(keys, np.float32),
            k,
            exact=True,
            partitions="all",
            filter=mneme.Filter(labels=labels, sources=sources),
            with_attributes=True,
            with_successors=True,
        )
        told = {name: np.asarray(getattr(found, name)).tolist() for name in _NEIGHBOUR_COLUMNS}
        return {**told, "values": [value.hex() for value in _as_bytes(found.values)]}

    def _approximate(self, memory: str, keys: Any, k: int, nprobe: int, estimated: bool) -> Any:
        """By codes of some lists; estimated: with the distances that the codes say."""
        found = self._client.memory(memory).query(
            np.array(keys, np.float32), k, nprobe=nprobe, approximate_distances=estimated
        )
        rows = [found.row(at) for at in range(len(keys))]
        searched = {"exact": found.statistics.exact, "lists": found.statistics.lists_probed}
        return {**searched, "rows": [list(zip(found.ids[row].tolist(), found.distances[row].tolist())) for row in rows]}

    def _distribution(self, memory: str, keys: Any, k: int, temperature: float) -> Any:
        """Tokens ascending, with ln p, of each row."""
        found = self._client.memory(memory).distribution(np.array(keys, np.float32), k, temperature, exact=True)
        rows = [found.row(at) for at in range(len(keys))]
        return [sorted(zip(found.tokens[row].tolist(), found.log_probs[row].tolist())) for row in rows]

    def _receipts(self, memory: str) -> list[str]:
        return sorted(each.id for each in self._client.memory(memory).receipts())

    def _receipt(self, memory: str, receipt: str, partitions: Any, reached: str) -> Any:
        """Whether the deletion is as far as it was: it may have come further since."""
        got = self._client.memory(memory).receipt(receipt, partitions=partitions)
        told = {"deleted": got.deleted, "deleted_at_ms": got.deleted_at_ms, "partitions": got.partitions}
        return {**told, "reached": got.reached(reached)}

    # --- working memory ---

    def _sessions(self, memory: str) -> Any:
        every = self._client.memory(memory).sessions()
        return [[each.session, each.states, each.bytes, each.expiry_ms] for each in every]

    def _state(self, memory: str, session: str, name: str, kind: str) -> Any:
        asked = {
            "register": working.get,
            "linear": working.linear_get,
            "feedback": working.feedback_get,
            "counts": working.counts,
        }
        (state,) = self._client.memory(memory).apply([asked[kind](session, name)])
        return _state(state)

    def _loaded(self, memory: str, content: str, states: Sequence[Sequence[str]]) -> Any:
        """What a session has that is made of the bytes of another; it goes again."""
        session = self._client.memory(memory).session("loaded")
        session.load(bytes.fromhex(content))
        told = [self._state(memory, "loaded", name, kind) for name, kind in states]
        session.reset()
        return told

    def _mask(self, memory: str, vocabulary: str, session: str, name: str, written: str) -> Any:
        facts = mneme.Facts(session, name, written)
        return self._client.memory(memory).mask_tokens(vocabulary, [facts]).allowed(0).tolist()

    # --- what was asked with a request id, asked again ---

    def _inserted(self, memory: str, keys: Any, values: Any, **arguments: Any) -> Any:
        done = self._client.memory(memory).insert(np.array(keys, np.float32), values, **arguments)
        return [done.inserted, done.replaced, done.ids.tolist(), done.replayed]

    def _deleted(self, memory: str, ids: Any, partition: int, request_id: str) -> Any:
        done = self._client.memory(memory).delete(ids=ids, partitions=[partition], request_id=request_id)
        return [done.deleted, done.absent]

    def _applied(self, memory: str, puts: Sequence[Sequence[str]], request_id: str) -> Any:
        operations = [working.put(session, name, value.encode()) for session, name, value in puts]
        return [_state(each) for each in self._client.memory(memory).apply(operations, request_id=request_id)]

    def _remembered(self, memory: str, queries: Any, labels: Any, **arguments: Any) -> Any:
        done = self._client.memory(memory).remember(np.array(queries, np.float32), labels, **arguments)
        told = {name: np.asarray(getattr(done, name)).tolist() for name in _REMEMBERED_COLUMNS}
        return {**told, "replayed": done.replayed}


def _state(state: working.State) -> Any:
    if state.error is not None:
        raise state.error
    value = state.value
    if isinstance(value, bytes):
        value = value.hex()
    elif value is not None:
        columns = {name: getattr(value, name) for name in value.__dataclass_fields__}
        value = {name: _column(each) if isinstance(each, np.ndarray) else each for name, each in columns.items()}
    return [state.found, state.version, state.expiry_ms, value]


def _column(array: Any) -> Any:
    data = np.ascontiguousarray(array)
    if data.size <= _SHORT:
        return data.tolist()
    return {"items": list(data.shape), "sha256": hashlib.sha256(data.tobytes()).hexdigest()}


def _as_bytes(values: Any) -> list[bytes]:
    if isinstance(values, SparseVectors):
        rows = (values[at] for at in range(len(values)))
        return [b"".join((each[0].tobytes(), each[1].tobytes(), np.float32(each[2]).tobytes())) for each in rows]
    return [value if isinstance(value, bytes) else np.asarray(value).tobytes() for value in values]


def _texts(values: list[bytes]) -> Any:
    if len(values) <= _SHORT:
        return [value.hex() for value in values]
    digest = hashlib.sha256(b"".join(len(value).to_bytes(8, "little") + value for value in values))
    return {"items": [len(values)], "sha256": digest.hexdigest()}


def differences(question: dict[str, Any], answer: Any) -> list[str]:
    """Where it is another than the release gave."""
    if question["ask"] == "approximate":
        return list(_approximate_differences(question, answer))
    return list(_differences(question["answer"], answer))


def _approximate_differences(question: dict[str, Any], answer: Any) -> Iterator[str]:
    """The same lists, of which nine in ten neighbours are the same, as far away as they were. What codes say may differ
    by two in a hundred: another kernel may round its tables otherwise."""
    expected, tolerance = question["answer"], 0.02 if question["estimated"] else 1e-9
    for name in ("exact", "lists"):
        yield from _differences(expected[name], answer[name], name)
    for at, (one, other) in enumerate(zip(expected["rows"], answer["rows"], strict=True)):
        was, found = dict(map(tuple, one)), dict(map(tuple, other))
        both = was.keys() & found.keys()
        if len(both) < 0.9 * len(was):
            yield f"row {at} has {sorted(found)}; had {sorted(was)}"
        for each in both:
            if not math.isclose(was[each], found[each], rel_tol=tolerance):
                yield f"row {at}: {each} is {found[each]} away; was {was[each]}"


def _differences(expected: Any, got: Any, where: str = "") -> Iterator[str]:
    """Where an answer is another than it was. Numbers with a point may differ in their last digits, as they do between
    processors; a newer program may tell more of something by name."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for name, value in expected.items():
            yield from _differences(value, got.get(name), f"{where}/{name}")
    elif isinstance(expected, (list, tuple)) and isinstance(got, (list, tuple)) and len(expected) == len(got):
        for at, (one, other) in enumerate(zip(expected, got)):
            yield from _differences(one, other, f"{where}/{at}")
    elif isinstance(expected, float) and isinstance(got, float):
        if not math.isclose(expected, got, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where} is {got}; was {expected}"
    elif expected != got:
        yield f"{where} is {got!r}; was {expected!r}"


# --- archives ---


def release_of(version: str) -> str:
    """Whose formats a version has: patches of a release change none."""
    return version.rpartition(".")[0]


def kept(folder: pathlib.Path) -> list[pathlib.Path]:
    """What belongs into an archive of a folder, folders included, in the order in which it is packed."""
    wanted = [path for name in _FOLDERS for path in _below(folder / name)]
    return [path for path in wanted if not any(path.match(pattern) for pattern in NOISE)]


def _below(folder: pathlib.Path) -> list[pathlib.Path]:
    return [folder, *sorted(folder.rglob("*"))]


def pack(folder: pathlib.Path, archive: pathlib.Path) -> None:
    """The same bytes for the same files: without owners and times."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in kept(folder):
            info = tar.gettarinfo(str(path), arcname=str(path.relative_to(folder)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            info.mtime = 0
            info.mode = 0o700 if path.is_dir() else 0o600
            with open(path, "rb") if path.is_file() else io.BytesIO() as content:
                tar.addfile(info, content)
    # One window over all of it: a table stands in the directory, in its backup and in what was restored of that.
    archive.write_bytes(lzma.compress(packed.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def unpack(archive: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir()
    with tarfile.open(archive, mode="r:xz") as tar:
        tar.extractall(folder)


# --- versions ---

_TEXT_SEEDS = {b"mneme data directory": 0x6469726563746F72, b"mneme backup": 0x6261636B75707321}
_ENVELOPE_MAGIC, _ENVELOPE_HEADER = b"MNMEIDX1", 4096


def with_version(text: bytes, version: int) -> bytes:
    """A FORMAT, or the manifest of a backup, as one of another version, whole."""
    lines = text.splitlines(keepends=True)
    assert lines[1].startswith(b"version ") and lines[-1].startswith(b"checksum "), text
    lines[1] = b"version %d\n" % version
    checked = b"".join(lines[:-1])
    return checked + b"checksum %016x\n" % xxh3.digest(checked, _TEXT_SEEDS[lines[0].rstrip()])


def with_envelope_version(content: bytes, version: int) -> bytes:
    """An index file as one of another version, whole."""
    assert content[8:16] == _ENVELOPE_MAGIC, content[:16]
    checked = content[8:16] + version.to_bytes(4, "little") + content[20:_ENVELOPE_HEADER]
    return xxh3.digest(checked).to_bytes(8, "little") + checked + content[_ENVELOPE_HEADER:]
