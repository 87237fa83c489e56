"""Asking a memory what it knows: every read-out of a query."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar, Union

from numpy.typing import ArrayLike

from . import calls, decode, errors, read_outs, requests, results, splitting, wire
from ._proto import memory_pb2

Partitions = Union[None, int, str, Sequence[int]]
_Answer = TypeVar("_Answer", results.Neighbours, results.Distributions, read_outs.Attentions)


class Asking:
    """The reads of a memory that are more than its entries. See Memory."""

    name: str
    _fingerprint: Optional[Mapping[str, Any]]
    _caller: calls.Caller
    _data: Any

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
        how = requests.search("query", search, self._fingerprint)
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

    def distribution(
        self,
        keys: ArrayLike,
        k: int = 1024,
        temperature: Union[float, Sequence[float]] = 1.0,
        *,
        ks: Optional[Sequence[int]] = None,
        targets: Optional[ArrayLike] = None,
        allowed: Optional[ArrayLike] = None,
        top_m: int = 0,
        mix: Optional[tuple[ArrayLike, float]] = None,
        features: bool = False,
        timeout: Optional[float] = None,
        budget_ms: Optional[float] = None,
        on_error: str = "raise",
        **search: Any,
    ) -> results.Distributions:
        """p_kNN(y | key) over the values of the k nearest, in natural logarithms (Khandelwal et al. 2020).

        Several temperatures and ks cost one search. targets: only ln p of one token per row. allowed: only these
        tokens. top_m: the most likely m, with the mass left out. mix: (ln p_LM, knn_weight), mixed by the server.
        budget_ms, on_error and `search` as in `query`.
        """
        how = requests.search("distribution", search, self._fingerprint)
        request = requests.query(self.name, keys, k, how)
        request.distribution.CopyFrom(requests.distribution(temperature, ks, targets, allowed, top_m, mix, features))

        def read(
            asked: memory_pb2.QueryRequest, answer: memory_pb2.QueryResponse, error: Optional[errors.MnemeError]
        ) -> results.Distributions:
            rows, single = requests.rows_of(asked.keys), how.precision == "single"
            return results.read_distributions(answer, rows, asked.distribution, k, single, error)

        return self._ask(request, read, timeout, budget_ms, on_error)

    def attention(
        self,
        keys: ArrayLike,
        k: int = 0,
        *,
        kernel: str = "softmax",
        scale: float = 1.0,
        shrink: float = 0.0,
        keep_ties: bool = False,
        with_weights: bool = False,
        groups: Optional[read_outs.Groups] = None,
        timeout: Optional[float] = None,
        budget_ms: Optional[float] = None,
        on_error: str = "raise",
        **search: Any,
    ) -> read_outs.Attentions:
        """A weighted mean of the values of the k nearest, or of all entries (k=0, exactly), for each key.

        kernel "softmax": weights exp(score / scale), score the similarity or minus the squared distance (MemAE, ToMMY);
        "exp_neg_distance": exp(-distance / scale) (ResMem). shrink: lambda of MemAE's hard shrinkage. keep_ties:
        entries as near as the k-th take part. groups: a second level. budget_ms, on_error and `search` as in `query`.
        """
        how = requests.search("attention", search, self._fingerprint)
        request = requests.query(self.name, keys, k, how)
        request.attention.CopyFrom(read_outs.attention(kernel, scale, shrink, keep_ties, with_weights, groups))

        def read(
            asked: memory_pb2.QueryRequest, answer: memory_pb2.QueryResponse, error: Optional[errors.MnemeError]
        ) -> read_outs.Attentions:
            rows, single = requests.rows_of(asked.keys), how.precision == "single"
            return read_outs.read_attentions(answer, rows, asked.attention, single, error)

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
        request = read_outs.selection(self.name, partitions, filter, version, precision)
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
        """
        request = read_outs.selection(self.name, partitions, filter, version, precision)
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
        request = read_outs.selection(self.name, partitions, filter, version, precision)
        request.select.CopyFrom(read_outs.select(mode, temperature, seed, n))
        return read_outs.read_selections(self._caller.call(self._data.Query, request, timeout), precision == "single")

    def decode_stream(
        self,
        k: int = 1024,
        temperature: Union[float, Sequence[float]] = 1.0,
        *,
        ks: Optional[Sequence[int]] = None,
        allowed: Optional[ArrayLike] = None,
        top_m: int = 0,
        partition: int = 0,
        durability: str = "written",
        timeout: Optional[float] = None,
        budget_ms: Optional[float] = None,
        on_error: str = "raise",
        **search: Any,
    ) -> decode.DecodeStream:
        """The decode loop over one connection: `with m.decode_stream(k=1024, temperature=7) as s: s.step(q)`.

        timeout (the client's, unless given) bounds each step, and `wait`; budget_ms, on_error and `search` are those of
        `query`, for each step.
        """
        return decode.DecodeStream(
            self._data.QueryStream,
            self.name,
            k,
            requests.search("decode_stream", search, self._fingerprint),
            requests.distribution(temperature, ks, None, allowed, top_m),
            partition,
            durability,
            decode.Pace(self._caller.timeout if timeout is None else timeout, budget_ms, on_error),
        )

    def _ask(
        self,
        request: memory_pb2.QueryRequest,
        read: Callable[[memory_pb2.QueryRequest, memory_pb2.QueryResponse, Optional[errors.MnemeError]], _Answer],
        timeout: Optional[float],
        budget_ms: Optional[float],
        on_error: str,
    ) -> _Answer:
        errors.check_on_error(on_error)
        end = None if budget_ms is None else time.monotonic() + budget_ms / 1000
        answers = []
        try:
            for part in splitting.query_parts(request):
                limit = timeout if end is None else end - time.monotonic()
                answers.append(read(part, self._caller.call(self._data.Query, part, limit), None))
            return splitting.join_answers(answers)
        except errors.MnemeError as error:
            if on_error == "raise" or errors.is_of_the_caller(error):
                raise
            return read(request, memory_pb2.QueryResponse(), error)
