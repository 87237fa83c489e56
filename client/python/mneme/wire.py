"""numpy to columns of the wire and back: little endian, one copy in, views out."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence, TypeVar, Union

import numpy as np
from numpy.typing import ArrayLike

from ._proto import memory_pb2, types_pb2
from .sparse import SparseVectors

Array = np.ndarray
Values = Union[np.ndarray, SparseVectors, Sequence[Any]]
_Word = TypeVar("_Word")

METRICS = {"l2": types_pb2.METRIC_L2, "ip": types_pb2.METRIC_INNER_PRODUCT, "cosine": types_pb2.METRIC_COSINE}
VALUE_KINDS = {
    "token": types_pb2.VALUE_KIND_TOKEN,
    "vector": types_pb2.VALUE_KIND_VECTOR,
    "sparse": types_pb2.VALUE_KIND_SPARSE_VECTOR,
    "bytes": types_pb2.VALUE_KIND_BYTES,
}
DURABILITIES = {"sync": types_pb2.DURABILITY_SYNC, "written": types_pb2.DURABILITY_WRITTEN}
PRECISIONS = {"double": memory_pb2.PRECISION_DOUBLE, "single": memory_pb2.PRECISION_SINGLE}
SPREADS = {"all": types_pb2.SPREAD_ALL, "one": types_pb2.SPREAD_ONE}
_NUMPY_OF = {types_pb2.DTYPE_F32: "<f4", types_pb2.DTYPE_F16: "<f2", types_pb2.DTYPE_BF16: "<u2"}
DTYPES = {"f32": types_pb2.DTYPE_F32, "f16": types_pb2.DTYPE_F16, "bf16": types_pb2.DTYPE_BF16}


def choice(name: str, given: str, known: Mapping[str, _Word]) -> _Word:
    """The enum number of a word; ValueError names the words there are."""
    if given not in known:
        raise ValueError(f"{name} is {given!r}; must be one of {', '.join(sorted(known))}")
    return known[given]


def vectors(array: ArrayLike, name: str = "keys", into: Optional[types_pb2.Vectors] = None) -> types_pb2.Vectors:
    """[n, d] (or [d], one row) of float16, bfloat16 or float32; float64 is rounded to float32. Megabytes are better
    written `into` the request that carries them: a message given to another is copied."""
    data = np.asarray(array)
    if data.ndim == 1:
        data = data[None, :]
    if data.ndim != 2:
        raise ValueError(f"{name} has {data.ndim} dimensions; must be [rows, components]")
    if data.dtype == np.float16:
        dtype = types_pb2.DTYPE_F16
    elif data.dtype.name == "bfloat16":  # of the package ml_dtypes
        dtype, data = types_pb2.DTYPE_BF16, data.view(np.uint16)
    elif data.dtype.kind == "f":
        dtype = types_pb2.DTYPE_F32
    else:
        raise TypeError(f"{name} is of {data.dtype}; must be float16, bfloat16 or float32")
    message = types_pb2.Vectors() if into is None else into
    message.data = data.astype(_NUMPY_OF[dtype], copy=False).tobytes()
    message.dtype, message.dimension = dtype, data.shape[1]
    return message


def column(values: Optional[ArrayLike], dtype: str, name: str) -> bytes:
    """A packed column; integers outside the column's type are refused, never wrapped. None is the empty column."""
    if values is None:
        return b""
    array = np.atleast_1d(np.asarray(values)).ravel()
    target = np.dtype(dtype)
    if target.kind in "iu" and array.size:
        if array.dtype.kind not in "iu":
            raise TypeError(f"{name} is of {array.dtype}; must be integers")
        low, high, bound = int(array.min()), int(array.max()), np.iinfo(target)
        if low < bound.min or high > bound.max:
            raise ValueError(f"{name} has {low if low < bound.min else high}; must be in [{bound.min}, {bound.max}]")
    return array.astype(target, copy=False).tobytes()


def values_of(values: Values) -> types_pb2.Values:
    """Integers are TOKENs, floating-point rows VECTORs, SparseVectors themselves, a sequence of bytes or str BYTES."""
    if isinstance(values, SparseVectors):
        return types_pb2.Values(
            sparse=types_pb2.SparseVectors(
                offsets=column(values.offsets, "<u8", "offsets"),
                indices=column(values.indices, "<u4", "indices"),
                components=np.asarray(values.components).astype("<f2").tobytes(),
                dtype=types_pb2.DTYPE_F16,
                remainders=np.asarray(values.remainders).astype("<f4").tobytes(),
            )
        )
    if not isinstance(values, np.ndarray) and len(values) and isinstance(values[0], (bytes, str)):
        blobs = [each.encode() if isinstance(each, str) else each for each in values]
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in blobs])])
        return types_pb2.Values(
            blobs=types_pb2.BytesColumn(data=b"".join(blobs), offsets=offsets.astype("<u8").tobytes())
        )
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        return types_pb2.Values(tokens=column(array, "<u4", "tokens"))
    return types_pb2.Values(vectors=vectors(array, "values"))


def read_vectors(message: types_pb2.Vectors) -> Array:
    """[n, d] in the dtype of the wire (bf16 as its raw 16 bits)."""
    return np.frombuffer(message.data, _NUMPY_OF.get(message.dtype, "<f4")).reshape(-1, max(message.dimension, 1))


def read_values(message: types_pb2.Values) -> Union[Array, SparseVectors, list[bytes]]:
    """Tokens u4 [n], vectors [n, m], sparse vectors or a list of bytes."""
    kind = message.WhichOneof("kind")
    if kind == "vectors":
        return read_vectors(message.vectors)
    if kind == "sparse":
        got = message.sparse
        return SparseVectors(
            np.frombuffer(got.offsets, "<u8"),
            np.frombuffer(got.indices, "<u4"),
            np.frombuffer(got.components, "<f2"),
            np.frombuffer(got.remainders, "<f4"),
        )
    if kind == "blobs":
        ends = np.frombuffer(message.blobs.offsets, "<u8").tolist()
        return [message.blobs.data[a:b] for a, b in zip(ends, ends[1:])]
    return np.frombuffer(message.tokens, "<u4")


_COLUMNS = {
    "ids": "<u8",
    "weights": "<f4",
    "scores": "<f8",
    "labels": "<i8",
    "sources": "<u8",
    "positions": "<u8",
    "expiries_ms": "<i8",
}


def entries(
    keys: Optional[ArrayLike], values: Values, columns: Mapping[str, Any], into: Optional[types_pb2.Entries] = None
) -> types_pb2.Entries:
    """A batch; a column given as one number holds for every entry. `into` as in `vectors`."""
    message = types_pb2.Entries() if into is None else into
    message.values.CopyFrom(values_of(values))
    count = len(values)
    if keys is not None:
        vectors(keys, into=message.keys)
    for name, given in columns.items():
        if given is None:
            continue
        if name not in _COLUMNS:
            raise TypeError(f"no column is called {name!r}; there are {', '.join(_COLUMNS)}")
        setattr(message, name, column(np.full(count, given) if np.ndim(given) == 0 else given, _COLUMNS[name], name))
    return message


@dataclasses.dataclass(frozen=True)
class Entries:
    """Entries as columns; row i of each column is entry i. `created_ms` is when each arrived."""

    ids: Array
    values: Union[Array, SparseVectors, list[bytes]]
    keys: Optional[Array]
    weights: Array
    scores: Array
    labels: Array
    sources: Array
    positions: Array
    expiries_ms: Array
    created_ms: Array
    partitions: Array

    def __repr__(self) -> str:
        keys = "none" if self.keys is None else list(self.keys.shape)
        return f"Entries({len(self)}, keys={keys})"

    def __len__(self) -> int:
        return len(self.ids)


def read_entries(message: types_pb2.Entries, partitions: bytes = b"") -> Entries:
    """The columns of an answer, defaults filled in where a column was left out."""
    ids = np.frombuffer(message.ids, "<u8")

    def get(data: bytes, dtype: str, default: float = 0) -> Array:
        return np.frombuffer(data, dtype) if data else np.full(len(ids), default, dtype)

    return Entries(
        ids=ids,
        values=read_values(message.values),
        keys=read_vectors(message.keys) if message.HasField("keys") else None,
        weights=get(message.weights, "<f4", 1),
        scores=get(message.scores, "<f8"),
        labels=get(message.labels, "<i8"),
        sources=get(message.sources, "<u8"),
        positions=get(message.positions, "<u8"),
        expiries_ms=get(message.expiries_ms, "<i8"),
        created_ms=get(message.created_ms, "<i8"),
        partitions=get(partitions, "<u8"),
    )


@dataclasses.dataclass(frozen=True)
class Filter:
    """Which entries may answer: a conjunction, decided before the k nearest are chosen."""

    labels: Optional[ArrayLike] = None
    sources: Optional[ArrayLike] = None
    ids: Optional[ArrayLike] = None
    created_from_ms: Optional[int] = None
    created_to_ms: Optional[int] = None

    def message(self) -> types_pb2.Filter:
        return types_pb2.Filter(
            labels=column(self.labels, "<i8", "labels"),
            sources=column(self.sources, "<u8", "sources"),
            ids=column(self.ids, "<u8", "ids"),
            created_from_ms=self.created_from_ms,
            created_to_ms=self.created_to_ms,
        )


def filter_message(given: Optional[Filter]) -> Optional[types_pb2.Filter]:
    """None is no filter; TypeError for what is not one."""
    if given is None:
        return None
    if not isinstance(given, Filter):
        raise TypeError(f"filter is a {type(given).__name__}; must be a mneme.Filter, like mneme.Filter(sources=[3])")
    return given.message()


def partition_selection(partitions: Union[None, int, str, Sequence[int]]) -> Optional[types_pb2.PartitionSelection]:
    """None: partition 0; a number, several, or "all"."""
    if partitions is None:
        return None
    if isinstance(partitions, str):
        if partitions != "all":
            raise ValueError(f'partitions is {partitions!r}; must be numbers or "all"')
        return types_pb2.PartitionSelection(all=True)
    return types_pb2.PartitionSelection(partitions=[int(each) for each in np.atleast_1d(partitions)])


def fingerprint(given: Optional[Mapping[str, Any]]) -> Optional[types_pb2.Fingerprint]:
    """model, revision, layer, tokenizer_hash, vocabulary_size, normalization; what is left out says nothing."""
    return None if given is None else types_pb2.Fingerprint(**given)
