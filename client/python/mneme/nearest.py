"""What a model asks of its nearest entries, of one memory or of a mixture of several."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping, Optional, Sequence, TypeVar, Union

from numpy.typing import ArrayLike

from . import calls, decode, errors, read_outs, requests, results, splitting
from ._proto import memory_pb2

Partitions = Union[None, int, str, Sequence[int]]
_Answer = TypeVar("_Answer", results.Neighbours, results.Distributions, read_outs.Attentions)


class Nearest:
    """Distributions, attention and the decode loop. See Memory and Mixture, which say what is asked."""

    name: str  # the memory; of a mixture empty
    _fingerprint: Optional[Mapping[str, Any]]
    _caller: calls.Caller
    _data: Any
    _sources: Sequence[memory_pb2.MixtureSource] = ()
    # Of a pinned memory: its lease, and the partitions that it was taken for.
    _lease: bytes = b""
    _held: Partitions = None
    _append: Optional[str] = None  # the memory that a decode loop of a mixture teaches

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
        how = self._how("distribution", search)
        request = requests.query(self.name, keys, k, how, self._sources)
        request.distribution.CopyFrom(requests.distribution(temperature, ks, targets, allowed, top_m, mix, features))

        def read(
            asked: memory_pb2.QueryRequest, answer: memory_pb2.QueryResponse, error: Optional[errors.MnemeError]
        ) -> results.Distributions:
            rows, single = requests.rows_of(asked.keys), how.precision == "single"
            return results.read_distributions(answer, rows, asked.distribution, requests.most_k(asked), single, error)

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
        how = self._how("attention", search)
        request = requests.query(self.name, keys, k, how, self._sources)
        request.attention.CopyFrom(read_outs.attention(kernel, scale, shrink, keep_ties, with_weights, groups))

        def read(
            asked: memory_pb2.QueryRequest, answer: memory_pb2.QueryResponse, error: Optional[errors.MnemeError]
        ) -> read_outs.Attentions:
            rows, single = requests.rows_of(asked.keys), how.precision == "single"
            return read_outs.read_attentions(answer, rows, asked.attention, single, error)

        return self._ask(request, read, timeout, budget_ms, on_error)

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
            self.name if self._append is None else self._append,
            k,
            self._how("decode_stream", search),
            requests.distribution(temperature, ks, None, allowed, top_m),
            partition,
            durability,
            decode.Pace(self._caller.timeout if timeout is None else timeout, budget_ms, on_error),
            self._sources,
        )

    def _how(self, call: str, given: Mapping[str, Any]) -> requests.Search:
        return requests.search(call, {"lease": self._lease, "partitions": self._held, **given}, self._fingerprint)

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
        try:
            return self._ask_parts(request, read, lambda: timeout if end is None else end - time.monotonic())
        except errors.MnemeError as error:
            if on_error == "raise" or errors.is_of_the_caller(error):
                raise
            return read(request, memory_pb2.QueryResponse(), error)

    def _ask_parts(
        self,
        request: memory_pb2.QueryRequest,
        read: Callable[[memory_pb2.QueryRequest, memory_pb2.QueryResponse, Optional[errors.MnemeError]], _Answer],
        limit: Callable[[], Optional[float]],
    ) -> _Answer:
        while True:
            answers: list[_Answer] = []
            try:
                for part in splitting.query_parts(request):
                    if answers:
                        _read_on(part, answers[0])
                    answers.append(read(part, self._caller.call(self._data.Query, part, limit()), None))
                return splitting.join_answers(answers)
            except errors.FailedPrecondition as error:
                # The alias was swung after the first part: all of an answer is of one memory, so it is asked anew.
                if error.reason != "FOREIGN_VERSION" or not answers:
                    raise


def _read_on(part: memory_pb2.QueryRequest, first: results.Answer) -> None:
    """A later part of a question reads no memory but the first part's: its versions are foreign to any other."""
    for source, told in zip(part.sources, first.mixture):
        source.at_least_version = source.at_least_version or told.version
    if not (part.at_least_version or part.lease or part.sources):
        part.at_least_version = first.version
