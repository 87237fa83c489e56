"""What a model may want made of a memory, other than neighbours and distributions: requests and answers."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Union

import numpy as np
from numpy.typing import ArrayLike

from . import wire
from ._proto import memory_pb2, read_outs_pb2
from .errors import MnemeError
from .results import Answer, _answer, _optional
from .wire import Array

_KERNELS = {
    "softmax": read_outs_pb2.ATTENTION_KERNEL_SOFTMAX,
    "exp_neg_distance": read_outs_pb2.ATTENTION_KERNEL_EXP_NEG_DISTANCE,
}
_FORMS = {"half": read_outs_pb2.CSLS_FORM_HALF, "muse": read_outs_pb2.CSLS_FORM_MUSE}
_MODES = {"argmax": read_outs_pb2.SELECT_MODE_ARGMAX, "softmax": read_outs_pb2.SELECT_MODE_SOFTMAX}


@dataclasses.dataclass(frozen=True)
class Groups:
    """A second level of attention: rows offsets[g]:offsets[g + 1] are the queries of group g, whose outputs are read by
    softmax(metric(contexts[g], output) / temperature). contexts: [groups, value_dim]."""

    offsets: ArrayLike
    contexts: ArrayLike
    metric: str = "ip"
    temperature: float = 1.0

    def to_message(self) -> read_outs_pb2.AttentionGroups:
        return read_outs_pb2.AttentionGroups(
            offsets=wire.column(self.offsets, "<u8", "offsets"),
            contexts=wire.vectors(self.contexts, "contexts"),
            metric=wire.choice("metric", self.metric, wire.METRICS),
            temperature=self.temperature,
        )


@dataclasses.dataclass(frozen=True)
class Attentions(Answer):
    """A weighted mean of values for each row.

    outputs: [rows, value_dim]; of a sparse memory None, and `sparse(row)` tells. found: entries that took part; active:
    those of weight above 0 after shrinkage. weights(row) where they were asked for.
    """

    outputs: Optional[Array]
    sparse_offsets: Optional[Array]
    sparse_indices: Optional[Array]
    sparse_components: Optional[Array]
    sparse_elsewhere: Optional[Array]
    found: Array
    active: Array
    entropies: Array
    log_total_mass: Array
    all_zero: Array
    ties_cut: Optional[Array]
    weight_offsets: Optional[Array]
    weight_ids: Optional[Array]
    weight_values: Optional[Array]
    weight_partitions: Optional[Array]
    group_weights: Optional[Array]
    group_outputs: Optional[Array]

    def __repr__(self) -> str:
        return f"Attentions(rows={len(self.found)}, all_zero={int(np.sum(self.all_zero))}, {self._state})"

    def weights(self, row: int) -> tuple[Array, Array]:
        """(ids, weights) of the entries of weight above 0, nearest first; asked for with with_weights=True."""
        if self.weight_offsets is None or self.weight_ids is None or self.weight_values is None:
            raise ValueError("the weights were not asked for (with_weights=True)")
        here = slice(int(self.weight_offsets[row]), int(self.weight_offsets[row + 1]))
        return self.weight_ids[here], self.weight_values[here]

    def sparse(self, row: int) -> tuple[Array, Array, float]:
        """(indices, components, elsewhere) of a sparse memory's output: every other component is `elsewhere`."""
        if self.sparse_offsets is None or self.sparse_elsewhere is None:
            raise ValueError("the memory's values are not sparse; see outputs")
        assert self.sparse_indices is not None and self.sparse_components is not None
        here = slice(int(self.sparse_offsets[row]), int(self.sparse_offsets[row + 1]))
        return self.sparse_indices[here], self.sparse_components[here], float(self.sparse_elsewhere[row])

    def dense(self, vocabulary_size: int) -> Array:
        """A sparse memory's outputs as [rows, vocabulary]."""
        out = np.zeros((len(self.found), vocabulary_size))
        for row in range(len(self.found)):
            indices, components, elsewhere = self.sparse(row)
            out[row] = elsewhere
            out[row, indices] = components
        return out


def attention(
    kernel: str, scale: float, shrink: float, keep_ties: bool, with_weights: bool, groups: Optional[Groups]
) -> read_outs_pb2.AttentionReadOut:
    """The read-out; scale is T or sigma."""
    if scale <= 0:
        raise ValueError(f"scale is {scale}; must be above 0")
    return read_outs_pb2.AttentionReadOut(
        kernel=wire.choice("kernel", kernel, _KERNELS),
        scale=scale,
        shrink=shrink,
        keep_ties=keep_ties,
        with_weights=with_weights,
        groups=None if groups is None else groups.to_message(),
    )


def read_attentions(
    response: memory_pb2.QueryResponse,
    rows: int,
    read_out: read_outs_pb2.AttentionReadOut,
    single: bool,
    error: Optional[MnemeError] = None,
) -> Attentions:
    """Views into the bytes of an answer; an empty one where the call failed open."""
    got, real = response.attention, "<f4" if single else "<f8"

    def reals(data: bytes, default: float) -> Array:
        return np.frombuffer(data, real) if data else np.full(rows, default)

    outputs = np.frombuffer(got.outputs, real).reshape(rows, -1) if got.outputs else None
    groups = max(1, len(read_out.groups.offsets) // 8 - 1)
    return Attentions(
        **_answer(response, error),
        outputs=outputs,
        sparse_offsets=_optional(got.sparse_offsets, "<u8"),
        sparse_indices=np.frombuffer(got.sparse_indices, "<u4") if got.sparse_offsets else None,
        sparse_components=np.frombuffer(got.sparse_components, real) if got.sparse_offsets else None,
        sparse_elsewhere=_optional(got.sparse_elsewhere, real),
        found=np.frombuffer(got.found, "<u4") if got.found else np.zeros(rows, "<u4"),
        active=np.frombuffer(got.active, "<u4") if got.active else np.zeros(rows, "<u4"),
        entropies=reals(got.entropies, 0.0),
        log_total_mass=reals(got.log_total_mass, -np.inf),
        all_zero=np.frombuffer(got.all_zero, "u1").astype(bool) if got.all_zero else np.ones(rows, bool),
        ties_cut=np.frombuffer(got.ties_cut, "u1").astype(bool) if got.ties_cut else None,
        weight_offsets=_optional(got.weight_offsets, "<u8"),
        weight_ids=np.frombuffer(got.weight_ids, "<u8") if got.weight_offsets else None,
        weight_values=np.frombuffer(got.weights, real) if got.weight_offsets else None,
        weight_partitions=_optional(got.weight_partitions, "<u8"),
        group_weights=_optional(got.group_weights, real),
        group_outputs=np.frombuffer(got.group_outputs, real).reshape(groups, -1) if got.group_outputs else None,
    )


@dataclasses.dataclass(frozen=True)
class Centroids:
    """One vector for each label. zero: no entries, or no direction. mixed: where rows were given. rows_read: entries
    that the server read for this answer, of which it knows the sums of those that were there when it was asked before.
    """

    labels: Array
    counts: Array
    zero: Array
    centroids: Array
    mixed: Optional[Array]
    version: bytes
    rows_read: int

    def __repr__(self) -> str:
        return f"Centroids(labels={len(self.labels)}, entries={int(self.counts.sum())})"


def centroids(
    labels: Optional[ArrayLike], mean: bool, mix: Optional[tuple[ArrayLike, float]]
) -> read_outs_pb2.CentroidsReadOut:
    """The read-out; mix is (rows, alpha): alpha * row + (1 - alpha) * centroid."""
    read_out = read_outs_pb2.CentroidsReadOut(labels=wire.column(labels, "<i8", "labels"), mean=mean)
    if mix is not None:
        read_out.rows.CopyFrom(wire.vectors(mix[0], "rows"))
        read_out.mix_weight = mix[1]
    return read_out


def read_centroids(response: memory_pb2.QueryResponse, single: bool) -> Centroids:
    """Views into the bytes of an answer."""
    got, real = response.centroids, "<f4" if single else "<f8"
    labels = np.frombuffer(got.labels, "<i8")

    def rows(data: bytes) -> Array:
        return np.frombuffer(data, real).reshape(len(labels), -1) if len(labels) else np.zeros((0, 0))

    return Centroids(
        labels,
        np.frombuffer(got.counts, "<u8"),
        np.frombuffer(got.zero, "u1").astype(bool),
        rows(got.centroids),
        rows(got.mixed) if got.mixed else None,
        response.version,
        response.statistics.rows_scanned,
    )


@dataclasses.dataclass(frozen=True)
class Matches:
    """The best counterpart of each entry of two sides, by CSLS.

    Source row i (of source_ids, ascending) pairs best with target row best_targets[i], by target_scores[i]; the other
    way best_sources and source_scores. mutual[i]: both agree. source_means and target_means are over source_k and
    target_k similarities. Where source_ids were asked for, only these and the targets that are best for one of them are
    here, and best_sources and source_scores are empty. rows_read: entries that the server read for this answer; 0 when
    it knew the match.
    """

    source_ids: Array
    target_ids: Array
    best_targets: Array
    best_sources: Array
    target_scores: Array
    source_scores: Array
    mutual: Array
    source_means: Array
    target_means: Array
    source_k: int
    target_k: int
    version: bytes
    rows_read: int

    def __repr__(self) -> str:
        return f"Matches({len(self.source_ids)} x {len(self.target_ids)}, mutual={int(self.mutual.sum())})"


def match(
    source: str,
    source_partitions: Union[None, int, str, Any],
    csls_k: int,
    form: str,
    source_columns: Optional[ArrayLike],
    target_columns: Optional[ArrayLike],
    source_ids: Optional[ArrayLike],
) -> read_outs_pb2.MatchReadOut:
    """The read-out."""
    return read_outs_pb2.MatchReadOut(
        source_memory=source,
        source_partitions=wire.partition_selection(source_partitions),
        csls_k=csls_k,
        form=wire.choice("form", form, _FORMS),
        source_columns=wire.column(source_columns, "<u4", "source_columns"),
        target_columns=wire.column(target_columns, "<u4", "target_columns"),
        source_ids=wire.column(source_ids, "<u8", "source_ids"),
    )


def read_matches(response: memory_pb2.QueryResponse, single: bool) -> Matches:
    """Views into the bytes of an answer."""
    got, real = response.match, "<f4" if single else "<f8"
    return Matches(
        source_ids=np.frombuffer(got.source_ids, "<u8"),
        target_ids=np.frombuffer(got.target_ids, "<u8"),
        best_targets=np.frombuffer(got.best_targets, "<u4"),
        best_sources=np.frombuffer(got.best_sources, "<u4"),
        target_scores=np.frombuffer(got.target_scores, real),
        source_scores=np.frombuffer(got.source_scores, real),
        mutual=np.frombuffer(got.mutual, "u1").astype(bool),
        source_means=np.frombuffer(got.source_means, real),
        target_means=np.frombuffer(got.target_means, real),
        source_k=got.source_k,
        target_k=got.target_k,
        version=response.version,
        rows_read=response.statistics.rows_scanned,
    )


@dataclasses.dataclass(frozen=True)
class Selections:
    """What was chosen of each pool: pool p has offsets[p]:offsets[p + 1] of every column, first chosen first."""

    partitions: Array
    offsets: Array
    pool_sizes: Array
    ids: Array
    scores: Array
    probabilities: Array
    values: Any
    labels: Array
    sources: Array
    positions: Array
    version: bytes

    def __repr__(self) -> str:
        return f"Selections(pools={len(self.partitions)}, chosen={len(self.ids)})"

    def pool(self, index: int) -> slice:
        """The slice of one pool, for every column."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))


def select(mode: str, temperature: float, seed: int, n: int) -> read_outs_pb2.SelectReadOut:
    """The read-out."""
    if temperature <= 0 or n < 1:
        raise ValueError(f"temperature is {temperature} and n {n}; both must be positive")
    return read_outs_pb2.SelectReadOut(mode=wire.choice("mode", mode, _MODES), temperature=temperature, seed=seed, n=n)


def read_selections(response: memory_pb2.QueryResponse, single: bool) -> Selections:
    """Views into the bytes of an answer."""
    got = response.select
    return Selections(
        partitions=np.frombuffer(got.partitions, "<u8"),
        offsets=np.frombuffer(got.offsets, "<u8"),
        pool_sizes=np.frombuffer(got.pool_sizes, "<u8"),
        ids=np.frombuffer(got.ids, "<u8"),
        scores=np.frombuffer(got.scores, "<f8"),
        probabilities=np.frombuffer(got.probabilities, "<f4" if single else "<f8"),
        values=wire.read_values(got.values),
        labels=np.frombuffer(got.labels, "<i8"),
        sources=np.frombuffer(got.sources, "<u8"),
        positions=np.frombuffer(got.positions, "<u8"),
        version=response.version,
    )


def selection(
    memory: str, partitions: Any, filter: Optional[wire.Filter], version: bytes, precision: str
) -> memory_pb2.QueryRequest:
    """A query of entries rather than of the nearest ones, without its read-out."""
    return memory_pb2.QueryRequest(
        memory=memory,
        partitions=wire.partition_selection(partitions),
        filter=wire.filter_message(filter),
        at_least_version=version,
        precision=wire.choice("precision", precision, wire.PRECISIONS),
    )

