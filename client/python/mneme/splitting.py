"""Requests that are larger than one message may be, as several; and their answers as one."""

from __future__ import annotations

import collections
import dataclasses
import struct
import uuid
from typing import Any, Callable, Iterator, Mapping, Optional, Sequence, TypeVar

import numpy as np

from . import read_outs, requests, results
from ._proto import memory_pb2, types_pb2
from .calls import MAX_MESSAGE_BYTES

MAX_INSERT_ENTRIES = 65_536
MAX_QUERY_ROWS = 1_024
MAX_NEIGHBOURS = 1 << 20  # rows * k of one query message
_INSERT_BYTES = MAX_MESSAGE_BYTES - 1024  # the request id comes to it, and the memory's own name in place of an alias
_ROOM_BYTES = MAX_MESSAGE_BYTES - (1 << 20)  # of columns: the rest is for what frames them
_ROWS_OVER_ALL = 64  # of attention over all entries, which the server bounds by rows times entries
_CELL_TOKEN_BYTES = 12  # a token and its ln p
_MIXTURE_KEY_BYTES = 2 * MAX_MESSAGE_BYTES  # the server's bound is on f32 keys, and they may travel as f16
_Answer = TypeVar("_Answer", results.Neighbours, results.Distributions, read_outs.Attentions)


def part_id(request_id: str, first_row: int) -> str:
    """The request id of one part: the same whenever the same insert is sent again."""
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{request_id}/{first_row}").hex


def halves(total: int, most: int) -> list[slice]:
    """[0, total) as the fewest slices of at most `most`, of nearly one size."""
    count = max(1, -(-total // most))
    ends = [total * part // count for part in range(count + 1)]
    return [slice(a, b) for a, b in zip(ends, ends[1:])]


def rows_per_insert(keys: Any, values: Any) -> int:
    """Entries that fit into one message, by the mean of what is given."""
    count = max(1, len(values))
    wide = np.asarray(keys)
    row_bytes = wide.size * min(wide.itemsize, 4) // count + 64  # and eight bytes for each other column
    if isinstance(values, np.ndarray):
        row_bytes += values.nbytes // count
    elif len(values) and isinstance(values[0], (bytes, str)):
        row_bytes += sum(len(each) for each in values) // count
    return max(1, min(MAX_INSERT_ENTRIES, _ROOM_BYTES // row_bytes))


def insert_parts(
    build: Callable[[Any, Any, Mapping[str, Any]], memory_pb2.InsertRequest],
    keys: Any,
    values: Any,
    columns: Mapping[str, Any],
    request_id: str,
) -> Iterator[memory_pb2.InsertRequest]:
    """The batch, or as many parts of it as messages need, in order; each part with an id derived from the request's."""
    total, most = len(values), rows_per_insert(keys, values)
    if total <= most:
        whole = build(keys, values, columns)
        if total < 2 or whole.ByteSize() <= _INSERT_BYTES:
            whole.request_id = request_id
            yield whole
            return
    keys = np.asarray(keys)
    for name, column in {"keys": keys, **columns}.items():
        if np.ndim(column) and len(column) != total:
            raise ValueError(f"{name} has {len(column)} rows; must have {total}, as values has")
    waiting = collections.deque(halves(total, most))
    while waiting:
        rows = waiting.popleft()
        parts = {name: column if np.ndim(column) == 0 else column[rows] for name, column in columns.items()}
        message = build(keys[rows], values[rows], parts)
        middle = (rows.start + rows.stop) // 2
        if message.ByteSize() > _INSERT_BYTES and middle > rows.start:
            waiting.extendleft((slice(middle, rows.stop), slice(rows.start, middle)))
            continue
        message.request_id = part_id(request_id, rows.start)
        yield message


def join_inserted(parts: Sequence[results.Inserted]) -> results.Inserted:
    """One acknowledgement of all parts, in order."""
    if len(parts) == 1:
        return parts[0]
    return results.Inserted(
        sum(part.inserted for part in parts),
        sum(part.replaced for part in parts),
        np.concatenate([part.ids for part in parts]),
        join_versions([part.version for part in parts]),
        parts[-1].durability,
        all(part.replayed for part in parts),
    )


_VERSION_HEAD, _VERSION_PART = 13, struct.Struct("<HQ")  # docs/formats.md, version tokens


def join_versions(versions: Sequence[bytes]) -> bytes:
    """What a read presents to see all of them: a write names only the shards that it touched."""
    sequences: dict[int, int] = {}
    for version in versions:
        for shard, sequence in _VERSION_PART.iter_unpack(version[_VERSION_HEAD:]):
            sequences[shard] = max(sequence, sequences.get(shard, 0))
    return versions[-1][:_VERSION_HEAD] + b"".join(_VERSION_PART.pack(*part) for part in sorted(sequences.items()))


def query_parts(request: memory_pb2.QueryRequest) -> Iterator[memory_pb2.QueryRequest]:
    """The request, or as many of it as its rows need."""
    rows = requests.rows_of(request.keys)
    most = _rows_per_query(request, rows)
    if rows <= most:
        yield request
        return
    columns = {name: _Column(name, _get(request, name), rows) for name in _ROW_COLUMNS if _get(request, name)}
    rest = memory_pb2.QueryRequest()
    rest.CopyFrom(request)
    for name in columns:
        _set(rest, name, b"")
    rest.ClearField("extra")
    for part in halves(rows, most):
        message = memory_pb2.QueryRequest()
        message.CopyFrom(rest)
        for name, column in columns.items():
            _set(message, name, column.cut(part))
        if request.HasField("extra"):
            message.extra.CopyFrom(_extra_part(request.extra, part, rows))
        yield message


_ROW_COLUMNS = (
    "keys.data",
    "exclude_ids",
    "exclude_sources",
    "sequence_ids",
    "distribution.targets",
    "distribution.mix.lm_log_probs",
)


@dataclasses.dataclass(frozen=True)
class _Column:
    """A packed column with the same number of bytes for each row."""

    name: str
    data: bytes
    rows: int

    def __post_init__(self) -> None:
        if len(self.data) % self.rows:
            raise ValueError(f"{self.name} has {len(self.data)} bytes, which {self.rows} rows do not share evenly")

    def cut(self, part: slice) -> bytes:
        width = len(self.data) // self.rows
        return self.data[part.start * width : part.stop * width]


def _get(message: Any, name: str) -> bytes:
    for field in name.split("."):
        message = getattr(message, field)
    return message


def _set(message: Any, name: str, data: bytes) -> None:
    *outer, last = name.split(".")
    for field in outer:
        message = getattr(message, field)
    setattr(message, last, data)


def _extra_part(extra: memory_pb2.ExtraCandidates, part: slice, rows: int) -> memory_pb2.ExtraCandidates:
    offsets = np.frombuffer(extra.offsets, "<u8")
    if len(offsets) != rows + 1:
        raise ValueError(f"extra has {len(offsets)} offsets; must have {rows + 1}, one more than rows")
    first, last = int(offsets[part.start]), int(offsets[part.stop])
    return memory_pb2.ExtraCandidates(
        offsets=(offsets[part.start : part.stop + 1] - offsets[part.start]).tobytes(),
        ids=extra.ids[first * 8 : last * 8],
        sources=extra.sources[first * 8 : last * 8],
    )


def _rows_per_query(request: memory_pb2.QueryRequest, rows: int) -> int:
    """Bounded by the rows, the neighbours, and the bytes of the question and of the answer."""
    if rows == 0:
        return MAX_QUERY_ROWS
    read_out, k = request.distribution, max(1, sum(requests.ks_of(request)))
    asked = (len(request.keys.data) + len(read_out.mix.lm_log_probs)) // rows
    searched = len(request.keys.data) // rows * len(request.sources)
    answered = 40 * k
    if request.HasField("distribution"):
        cells = max(1, len(read_out.temperatures)) * max(1, len(read_out.ks))
        mixed = len(read_out.mix.lm_log_probs) // 4 // rows
        tokens = min(read_out.top_m or 1 << 24, max(k, mixed))
        answered = 0 if read_out.targets else cells * tokens * _CELL_TOKEN_BYTES
    elif request.HasField("attention"):
        if request.attention.HasField("groups"):
            return rows  # a group is not to be cut
        answered = 16 * k if request.attention.with_weights else 0
        if 0 in requests.ks_of(request):
            return _ROWS_OVER_ALL // max(1, len(request.sources))
    elif request.neighbours.with_keys:
        answered += k * len(request.keys.data) // rows
    bytes_bound = _ROOM_BYTES // max(1, asked, answered)
    if searched:
        bytes_bound = min(bytes_bound, _MIXTURE_KEY_BYTES // searched)
    return max(1, min(MAX_QUERY_ROWS, MAX_NEIGHBOURS // k, bytes_bound))


def join_answers(parts: Sequence[_Answer]) -> _Answer:
    """The answers of all rows in order. `version` is that of the first part, which every later one has seen as well."""
    if len(parts) == 1:
        return parts[0]
    joined: dict[str, Any] = {}
    for field in dataclasses.fields(parts[0]):
        column = [getattr(part, field.name) for part in parts]
        if field.name in ("offsets", "feature_offsets", "weight_offsets", "sparse_offsets"):
            joined[field.name] = _join_offsets(column)
        elif field.name == "mixture":
            joined[field.name] = tuple(map(_join_sources, zip(*column)))
        elif field.name == "allowed":  # of the question, not of its rows
            joined[field.name] = column[0]
        elif field.name == "statistics":
            joined[field.name] = _join_statistics(column)
        elif field.name == "coverage":
            joined[field.name] = _join_coverage(column)
        else:
            joined[field.name] = _join(column)
    return type(parts[0])(**joined)


def _join(column: list[Any]) -> Any:
    """Of a column that a part left out, since it found nothing, there is nothing to add."""
    filled = [each for each in column if isinstance(each, (np.ndarray, list)) and len(each)]
    if not filled:
        return column[0]
    if isinstance(filled[0], list):
        return [each for part in filled for each in part]
    return np.concatenate(filled)


def _join_sources(parts: Sequence[results.SourceAnswer]) -> results.SourceAnswer:
    """One source of a mixture, over the rows of all parts."""
    return dataclasses.replace(
        parts[0],
        found=_join([part.found for part in parts]),
        weights=_join([part.weights for part in parts]),
        active=_join([part.active for part in parts]),
        coverage=_join_coverage([part.coverage for part in parts]),
        statistics=_join_statistics([part.statistics for part in parts]),
    )


def _join_offsets(column: list[Any]) -> Optional[Any]:
    if column[0] is None:
        return None
    out, end = [column[0][:1]], 0
    for offsets in column:
        out.append(offsets[1:] + offsets.dtype.type(end))
        end += int(offsets[-1])
    return np.concatenate(out)


def _join_coverage(column: Sequence[types_pb2.Coverage]) -> types_pb2.Coverage:
    """A shard that one part lacks is missing."""
    total, missing = column[0].shards_total, sorted({shard for each in column for shard in each.missing_shards})
    return types_pb2.Coverage(shards_total=total, shards_answered=total - len(missing), missing_shards=missing)


def _join_statistics(column: list[Any]) -> Any:
    """Sums of what is counted over all queries, the last of what describes the memory."""
    joined = type(column[0])()
    joined.CopyFrom(column[-1])
    for name in ("rows_reranked", "queue_us", "search_us"):
        setattr(joined, name, sum(getattr(each, name) for each in column))
    for name in ("rows_scanned", "lists_probed"):
        setattr(joined, name, sum(getattr(each, name) for each in column) // len(column))
    joined.exact = all(each.exact for each in column)
    return joined
