"""Vectors over a vocabulary, of which the largest components are listed."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence, Tuple, Union

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class SparseVectors:
    """Values of a memory created with value="sparse": vector i lists components[offsets[i]:offsets[i + 1]] at those
    indices, ascending; its other components sum to remainders[i] and count as equal parts of it. Stored as float16."""

    offsets: Array
    indices: Array
    components: Array
    remainders: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return f"SparseVectors({len(self)}, components={len(self.indices)})"

    def __getitem__(self, item: Union[int, slice]) -> Any:
        """A slice of the vectors, or (indices, components, remainder) of one."""
        if isinstance(item, slice):
            first, last, step = item.indices(len(self))
            if step != 1:
                raise ValueError(f"the step of a slice of sparse vectors is {step}; must be 1")
            last = max(first, last)
            begin, end = int(self.offsets[first]), int(self.offsets[last])
            offsets = self.offsets[first : last + 1] - self.offsets[first]
            return SparseVectors(
                offsets, self.indices[begin:end], self.components[begin:end], self.remainders[first:last]
            )
        if not -len(self) <= item < len(self):
            raise IndexError(f"vector {item} of {len(self)}")
        here = slice(int(self.offsets[item % len(self)]), int(self.offsets[item % len(self) + 1]))
        return self.indices[here], self.components[here], float(self.remainders[item % len(self)])

    @staticmethod
    def from_dense(dense: ArrayLike, top: Optional[int] = None) -> "SparseVectors":
        """The `top` components of greatest magnitude of each row [n, vocabulary] (None: those that are not zero), and
        the sum of the others."""
        rows = np.atleast_2d(np.asarray(dense, np.float64))
        listed = []
        for row in rows:
            order = np.flatnonzero(row) if top is None else np.argsort(-np.abs(row), kind="stable")[:top]
            listed.append(np.sort(order))
        indices = np.concatenate(listed) if listed else np.zeros(0, np.int64)
        components = np.concatenate([row[each] for row, each in zip(rows, listed)]) if listed else np.zeros(0)
        kept = components.astype(np.float16)
        offsets = np.concatenate([[0], np.cumsum([len(each) for each in listed])]).astype("<u8")
        remainders = np.array([row.sum() - row[each].sum() for row, each in zip(rows, listed)], "<f4")
        return SparseVectors(offsets, indices.astype("<u4"), kept, remainders)

    @staticmethod
    def from_rows(rows: Sequence[Tuple[ArrayLike, ArrayLike, float]]) -> "SparseVectors":
        """From (indices, components, remainder) of each vector."""
        offsets = np.concatenate([[0], np.cumsum([len(np.atleast_1d(each[0])) for each in rows])]).astype("<u8")
        return SparseVectors(
            offsets,
            np.concatenate([np.atleast_1d(each[0]) for each in rows]).astype("<u4"),
            np.concatenate([np.atleast_1d(each[1]) for each in rows]).astype(np.float16),
            np.array([each[2] for each in rows], "<f4"),
        )

    def dense(self, vocabulary_size: int) -> Array:
        """[n, vocabulary] in float64."""
        out = np.zeros((len(self), vocabulary_size))
        for i in range(len(self)):
            indices, components, remainder = self[i]
            if len(indices) < vocabulary_size:
                out[i] = remainder / (vocabulary_size - len(indices))
            out[i, indices] = components
        return out
