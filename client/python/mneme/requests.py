"""Builds the messages of queries from plain arguments; the wire is seen in no other public signature."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence, Union

import numpy as np
from numpy.typing import ArrayLike

from . import wire
from ._proto import admin_pb2, memory_pb2, types_pb2


@dataclasses.dataclass(frozen=True)
class Search:
    """How and among what to search; every field has the server's default.

    exact | recall | nprobe: at most one. approximate_distances: order by the codec's own distances, not re-ranked
    exactly; those of the answer are then estimates (not with exact). `extra` is (offsets, ids) or (offsets, ids,
    sources) of candidates to score in addition, usually the successors of the last step. `version` is one that a write
    returned, to read that write; `lease` is that of a `Pinned`, to read what it holds. allow_partial: answer without
    shards that do not, rather than raise; `coverage.missing_shards` of the answer names them.
    """

    exact: bool = False
    recall: Optional[float] = None
    nprobe: Optional[int] = None
    approximate_distances: bool = False
    filter: Optional[wire.Filter] = None
    partitions: Union[None, int, str, Sequence[int]] = None
    exclude_ids: Optional[ArrayLike] = None
    exclude_sources: Optional[ArrayLike] = None
    extra: Optional[tuple[ArrayLike, ...]] = None
    sequence_ids: Optional[ArrayLike] = None
    version: bytes = b""
    lease: bytes = b""
    allow_partial: bool = False
    fingerprint: Optional[Mapping[str, Any]] = None
    precision: str = "double"


def search(call: str, given: Mapping[str, Any], fingerprint: Optional[Mapping[str, Any]]) -> Search:
    """The search that keyword arguments of `call` describe, with this fingerprint unless they name one."""
    known = [field.name for field in dataclasses.fields(Search)]
    for name in given:
        if name not in known:
            raise TypeError(f"{call}() got an unknown argument {name!r}; of a search it takes {', '.join(known)}")
    return Search(**{"fingerprint": fingerprint, **given})


def accuracy(search: Search) -> memory_pb2.SearchParams:
    """How to search, without among what."""
    given = [name for name in ("exact", "recall", "nprobe") if getattr(search, name) not in (None, False)]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; at most one of exact, recall, nprobe")
    params = memory_pb2.SearchParams(approximate_distances=search.approximate_distances)
    if search.exact:
        params.exact = True
    elif search.recall is not None:
        params.recall_target = search.recall
    elif search.nprobe is not None:
        params.nprobe = search.nprobe
    return params


def query(
    memory: str, keys: ArrayLike, k: int, search: Search, sources: Sequence[memory_pb2.MixtureSource] = ()
) -> memory_pb2.QueryRequest:
    """A query without its read-out; with sources it mixes these, and `memory` is where a stream appends."""
    request = memory_pb2.QueryRequest(
        memory=memory,
        sources=sources,
        keys=wire.vectors(keys),
        k=k,
        search=accuracy(search),
        partitions=wire.partition_selection(search.partitions),
        filter=wire.filter_message(search.filter),
        exclude_ids=wire.column(search.exclude_ids, "<u8", "exclude_ids"),
        exclude_sources=wire.column(search.exclude_sources, "<u8", "exclude_sources"),
        sequence_ids=wire.column(search.sequence_ids, "<u8", "sequence_ids"),
        at_least_version=search.version,
        lease=search.lease,
        allow_partial=search.allow_partial,
        fingerprint=wire.fingerprint(search.fingerprint),
        precision=wire.choice("precision", search.precision, wire.PRECISIONS),
    )
    if search.extra is not None:
        offsets, ids, *sources = search.extra
        request.extra.CopyFrom(
            memory_pb2.ExtraCandidates(
                offsets=wire.column(offsets, "<u8", "offsets"),
                ids=wire.column(ids, "<u8", "ids"),
                sources=wire.column(sources[0], "<u8", "sources") if sources else b"",
            )
        )
    return request


@dataclasses.dataclass(frozen=True)
class PruneGuard:
    """Queries of text that the memory did not see, with what followed: pruning is refused when their perplexity under
    knn_weight * p_kNN + (1 - knn_weight) * p_LM would rise by more than `max_perplexity_rise`."""

    keys: ArrayLike
    targets: ArrayLike
    lm_log_probs: ArrayLike
    k: int
    temperature: float
    knn_weight: float
    max_perplexity_rise: float = 0.0

    def to_message(self) -> admin_pb2.PruneGuard:
        return admin_pb2.PruneGuard(
            keys=wire.vectors(self.keys),
            targets=wire.column(self.targets, "<u4", "targets"),
            lm_log_probs=wire.column(self.lm_log_probs, "<f4", "lm_log_probs"),
            k=self.k,
            temperature=self.temperature,
            knn_weight=self.knn_weight,
            max_perplexity_rise=self.max_perplexity_rise,
        )


def rows_of(keys: types_pb2.Vectors) -> int:
    """Rows of packed vectors."""
    width = keys.dimension * (4 if keys.dtype == types_pb2.DTYPE_F32 else 2)
    return len(keys.data) // width if width else 0


def ks_of(request: memory_pb2.QueryRequest) -> list[int]:
    """The neighbours asked for, of each source."""
    return [source.k or request.k for source in request.sources] or [request.k]


def most_k(request: memory_pb2.QueryRequest) -> int:
    """The greatest of them, which a distribution without ks uses."""
    return max(ks_of(request))


def distribution(
    temperature: Union[float, Sequence[float]] = 1.0,
    ks: Optional[Sequence[int]] = None,
    targets: Optional[ArrayLike] = None,
    allowed: Optional[ArrayLike] = None,
    top_m: int = 0,
    mix: Optional[tuple[ArrayLike, float]] = None,
    features: bool = False,
) -> memory_pb2.DistributionReadOut:
    """The kNN-LM read-out; `mix` is (natural log-probabilities of the model, knn_weight)."""
    read_out = memory_pb2.DistributionReadOut(
        temperatures=[float(each) for each in np.atleast_1d(temperature)],
        ks=[int(each) for each in ks or ()],
        targets=wire.column(targets, "<u4", "targets"),
        allowed_tokens=wire.column(allowed, "<u4", "allowed"),
        top_m=top_m,
        with_features=features,
    )
    if mix is not None:
        lm_log_probs, knn_weight = mix
        read_out.mix.CopyFrom(
            memory_pb2.ModelMix(knn_weight=knn_weight, lm_log_probs=wire.column(lm_log_probs, "<f4", "lm_log_probs"))
        )
    return read_out
