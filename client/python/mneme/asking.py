"""Asking a memory what it knows: every read-out of a query."""

from __future__ import annotations

from typing import Any, Optional, Sequence, Union

from numpy.typing import ArrayLike

from . import errors, nearest, read_outs, requests, results, wire
from ._proto import memory_pb2

Partitions = nearest.Partitions


class Asking(nearest.Nearest):
    """The reads of a memory that are more than its entries. See Memory."""

    def query(
        self,
        keys: ArrayLike,
        k: int = 10,
        *,
        with_keys: bool = False,
        with_successors: bool = False,
        with_values: bool = True,
        with_attributes: bool = False,
        timeout: Optional[float] = None,
        budget_ms: Optional[float] = None,
        on_error: str = "raise",
        **search: Any,
    ) -> results.Neighbours:
        """The k nearest entries of each key. `search` are the fields of `mneme.Search` (exact=True, filter=, ...).

        More rows than one message may have go as several, each within `timeout`, and come back as one answer.
        budget_ms is a hard bound on the time of all this, retries included; with on_error="empty" a call that fails or
        runs out of it gives an empty answer whose `error` says why, so that a decode loop never stalls on its memory.
        """
        how = self._how("query", search)
        request = requests.query(self.name, keys, k, how)
        request.neighbours.CopyFrom(
            memory_pb2.NeighboursReadOut(
                with_keys=with_keys,
                with_successors=with_successors,
                without_values=not with_values,
                with_attributes=with_attributes,
            )
        )

        def read(
            asked: memory_pb2.QueryRequest, answer: memory_pb2.QueryResponse, error: Optional[errors.MnemeError]
        ) -> results.Neighbours:
            return results.read_neighbours(answer, requests.rows_of(asked.keys), how.precision == "single", error)

        return self._ask(request, read, timeout, budget_ms, on_error)

    def centroids(
        self,
        labels: Optional[ArrayLike] = None,
        *,
        mean: bool = False,
        mix: Optional[tuple[ArrayLike, float]] = None,
        nearest: Optional[tuple[ArrayLike, int]] = None,
        filter: Optional[wire.Filter] = None,
        partitions: Partitions = None,
        version: bytes = b"",
        precision: str = "double",
        timeout: Optional[float] = None,
    ) -> read_outs.Centroids:
        """One vector for each label (None: all there are): the unit vector of the sum of its keys, or their mean.

        mix: (rows, alpha) adds alpha * row + (1 - alpha) * centroid, the head of Neural Priming. nearest: (keys, k)
        takes only what is among the k nearest of one of these keys.
        """
        request = self._selection(partitions, filter, version, precision)
        request.centroids.CopyFrom(read_outs.centroids(labels, mean, mix))
        if nearest is not None:
            request.keys.CopyFrom(wire.vectors(nearest[0]))
            request.k, request.search.exact = nearest[1], True
        return read_outs.read_centroids(self._caller.call(self._data.Query, request, timeout), precision == "single")

    def match(
        self,
        source: Union["Asking", str] = "",
        *,
        csls_k: int = 10,
        form: str = "half",
        source_columns: Optional[ArrayLike] = None,
        target_columns: Optional[ArrayLike] = None,
        source_partitions: Partitions = None,
        source_ids: Optional[ArrayLike] = None,
        filter: Optional[wire.Filter] = None,
        partitions: Partitions = None,
        version: bytes = b"",
        precision: str = "double",
        timeout: Optional[float] = None,
    ) -> read_outs.Matches:
        """The best entry of this memory for each of `source` (a memory of the same metric, or this one's
        source_partitions), and the other way round, by CSLS over csls_k neighbours (0: by similarity).

        source_columns, target_columns: compare only these components of the keys, in pairs.
        source_ids: only these entries of the source side; corrections and `mutual` are over all of it as ever.
        ValueError when `source` is pinned by another lease than this memory: the source side is read as it is.
        """
        if isinstance(source, Asking) and source._lease not in (b"", self._lease):
            raise ValueError(f"{source!r} is pinned; a match holds only its own side, and reads its source as it is")
        request = self._selection(partitions, filter, version, precision)
        name = source.name if isinstance(source, Asking) else source
        request.match.CopyFrom(
            read_outs.match(name, source_partitions, csls_k, form, source_columns, target_columns, source_ids)
        )
        return read_outs.read_matches(self._caller.call(self._data.Query, request, timeout), precision == "single")

    def select(
        self,
        partitions: Partitions = None,
        *,
        mode: str = "argmax",
        temperature: float = 1.0,
        seed: int = 0,
        n: int = 1,
        filter: Optional[wire.Filter] = None,
        version: bytes = b"",
        precision: str = "double",
        timeout: Optional[float] = None,
    ) -> read_outs.Selections:
        """Chooses n entries of each partition by their scores: "argmax", or "softmax" draws without replacement."""
        request = self._selection(partitions, filter, version, precision)
        request.select.CopyFrom(read_outs.select(mode, temperature, seed, n))
        return read_outs.read_selections(self._caller.call(self._data.Query, request, timeout), precision == "single")

    def count(
        self,
        *,
        filter: Optional[wire.Filter] = None,
        partitions: Partitions = None,
        version: bytes = b"",
        timeout: Optional[float] = None,
    ) -> int:
        """Live entries that match."""
        request = memory_pb2.CountRequest(
            memory=self.name,
            partitions=wire.partition_selection(self._held if partitions is None else partitions),
            filter=wire.filter_message(filter),
            at_least_version=version,
            lease=self._lease,
        )
        return int(self._caller.call(self._data.Count, request, timeout).count)

    def _selection(
        self, partitions: Partitions, filter: Optional[wire.Filter], version: bytes, precision: str
    ) -> memory_pb2.QueryRequest:
        held = self._held if partitions is None else partitions
        request = read_outs.selection(self.name, held, filter, version, precision)
        request.lease = self._lease
        return request
