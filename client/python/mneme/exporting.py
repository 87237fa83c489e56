"""The index of a memory as a file that `faiss.read_index` opens."""

from __future__ import annotations

import os
import struct
from typing import Any, BinaryIO, Callable, Iterable, NamedTuple, Optional

import numpy as np

from ._proto import types_pb2

Progress = Callable[[int, int], None]


class ExportedIndex(NamedTuple):
    """What an export wrote, and the version of the memory that it is of."""

    rows: int
    lists: int
    version: bytes


def write(pieces: Iterable[Any], path: "os.PathLike[str] | str", progress: Optional[Progress]) -> ExportedIndex:
    """Writes the messages of one ExportIndex as an IVFFlat index; the file has its name once it is whole."""
    partial = os.fspath(path) + ".partial"
    try:
        with open(partial, "wb") as file:
            written = _Writer(file).write(pieces, progress)
        os.replace(partial, path)
        return written
    finally:
        if os.path.exists(partial):
            os.remove(partial)


class _Writer:
    """Kind and header, the quantiser (kind, header, centroids), an empty direct map, the sizes of the lists, and of
    each list its keys, then its ids."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sizes = np.zeros(0, "<u8")
        self._list = 0  # that is being written
        self._ids: list[bytes] = []  # its own, so far
        self._in_list = 0

    def write(self, pieces: Iterable[Any], progress: Optional[Progress]) -> ExportedIndex:
        shape, rows, centroids = None, 0, 0
        for piece in pieces:
            if piece.HasField("shape"):
                shape = piece.shape
                self._begin(shape)
            if shape is None:
                raise ValueError("the server's index begins without its shape")
            if piece.centroids:
                self._file.write(piece.centroids)
                centroids += len(piece.centroids)
                if centroids == 4 * shape.dimension * shape.lists:
                    self._begin_lists(shape)
            if piece.list_sizes:
                self._file.write(piece.list_sizes)
                self._sizes = np.concatenate([self._sizes, np.frombuffer(piece.list_sizes, "<u8")])
            if piece.ids:
                self._add(piece.ids, piece.keys, 4 * shape.dimension)
                rows += len(piece.ids) // 8
            if progress:
                progress(rows, shape.entries)
        if shape is None or len(self._sizes) != shape.lists or rows != shape.entries or rows != self._sizes.sum():
            raise ValueError(f"the server's index ends after {rows} entries")
        return ExportedIndex(rows, shape.lists, shape.version)

    def _begin(self, shape: Any) -> None:
        by_distance = shape.metric == types_pb2.METRIC_L2
        header = "<iqqq?i"  # dimension, rows, twice nothing, trained, metric
        self._file.write(b"IwFl")
        self._file.write(struct.pack(header, shape.dimension, shape.entries, 1 << 20, 1 << 20, True, by_distance))
        self._file.write(struct.pack("<QQ", shape.lists, 1))  # nprobe
        self._file.write(b"IxF2" if by_distance else b"IxFI")
        self._file.write(struct.pack(header, shape.dimension, shape.lists, 1 << 20, 1 << 20, True, by_distance))
        self._file.write(struct.pack("<Q", shape.lists * shape.dimension))

    def _begin_lists(self, shape: Any) -> None:
        self._file.write(struct.pack("<BQ", 0, 0))
        self._file.write(b"ilar" + struct.pack("<QQ", shape.lists, 4 * shape.dimension))
        self._file.write(b"full" + struct.pack("<Q", shape.lists))

    def _add(self, ids: bytes, keys: bytes, key_bytes: int) -> None:
        count, first = len(ids) // 8, 0
        while first < count:
            end = min(count, first + int(self._sizes[self._list]) - self._in_list)
            self._file.write(keys[first * key_bytes : end * key_bytes])
            self._ids.append(ids[8 * first : 8 * end])
            self._in_list += end - first
            first = end
            if self._in_list == self._sizes[self._list]:
                self._file.write(b"".join(self._ids))
                self._ids.clear()
                self._list, self._in_list = self._list + 1, 0
