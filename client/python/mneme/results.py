"""Answers as numpy columns. Row i of a query owns the slice offsets[i]:offsets[i + 1] (CSR)."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Sequence, Union

import numpy as np
from numpy.typing import ArrayLike

from . import wire
from ._proto import memory_pb2, receipts_pb2, types_pb2
from .errors import MnemeError
from .sparse import SparseVectors
from .wire import Array


@dataclasses.dataclass(frozen=True)
class SourceAnswer:
    """What one source of a mixture had to say.

    found: [rows]. weights: [rows], or [rows, temperatures, ks] where several were asked for: the share that it had, 0
    where it had nothing. active: [rows], where attention tells weights: so many of the row's are of this source.
    """

    memory: str
    found: Array
    weights: Array
    active: Optional[Array]
    coverage: types_pb2.Coverage
    statistics: types_pb2.SearchStatistics
    version: bytes

    def __repr__(self) -> str:
        return f"SourceAnswer({self.memory!r}, rows={len(self.found)}, found={int(self.found.sum())})"


@dataclasses.dataclass(frozen=True)
class Answer:
    """What every answer says of itself. `error` is set only where a call was asked to fail open and did. Where
    several memories were mixed, `mixture` has the coverage, statistics and version of each, in the order in which they
    were named."""

    coverage: types_pb2.Coverage
    statistics: types_pb2.SearchStatistics
    version: bytes
    sequence_ids: Array
    error: Optional[MnemeError]
    mixture: tuple[SourceAnswer, ...]

    @property
    def ok(self) -> bool:
        """False when this is the empty answer of a call that failed open."""
        return self.error is None

    @property
    def _state(self) -> str:
        return "ok" if self.error is None else f"error={self.error.code.name}"


def _answer(
    response: memory_pb2.QueryResponse, error: Optional[MnemeError], cells: tuple[int, ...] = (-1,)
) -> dict[str, Any]:
    """`cells` is the shape of a column of them."""
    return {
        "coverage": response.coverage,
        "statistics": response.statistics,
        "version": response.version,
        "sequence_ids": np.frombuffer(response.sequence_ids, "<u8"),
        "error": error,
        "mixture": tuple(_source_answer(each, cells) for each in response.sources),
    }


def _source_answer(got: memory_pb2.MixtureAnswer, cells: tuple[int, ...]) -> SourceAnswer:
    return SourceAnswer(
        got.memory,
        np.frombuffer(got.found, "<u4"),
        np.frombuffer(got.weights, "<f8").reshape(cells),
        _optional(got.active, "<u4"),
        got.coverage,
        got.statistics,
        got.version,
    )


def _optional(data: bytes, dtype: str) -> Optional[Array]:
    return np.frombuffer(data, dtype) if data else None


@dataclasses.dataclass(frozen=True)
class DenseNeighbours:
    """[rows, k] arrays; where `mask` is False there is no neighbour (id 0, distance NaN)."""

    ids: Array
    distances: Array
    values: Optional[Array]
    mask: Array

    def __repr__(self) -> str:
        return f"DenseNeighbours({list(self.mask.shape)}, found={int(self.mask.sum())})"


@dataclasses.dataclass(frozen=True)
class Neighbours(Answer):
    """The k nearest entries of each row, nearest first, equal scores by id."""

    offsets: Array
    ids: Array
    distances: Array
    values: Union[Array, SparseVectors, list[bytes]]
    partitions: Optional[Array]
    keys: Optional[Array]
    successors: Optional[Array]
    has_successor: Optional[Array]
    weights: Optional[Array]
    labels: Optional[Array]
    sources: Optional[Array]
    positions: Optional[Array]

    def __repr__(self) -> str:
        return f"Neighbours(rows={len(self.offsets) - 1}, found={len(self.ids)}, {self._state})"

    @property
    def found(self) -> Array:
        """Neighbours of each row."""
        return np.diff(self.offsets)

    def row(self, index: int) -> slice:
        """The slice of one row, for every column."""
        return slice(int(self.offsets[index]), int(self.offsets[index + 1]))

    def dense(self) -> DenseNeighbours:
        """Padded to the longest row; the mask tells what is there."""
        found = self.found.astype(np.int64)
        mask = np.arange(int(found.max(initial=0)))[None, :] < found[:, None]
        ids, distances = np.zeros(mask.shape, "<u8"), np.full(mask.shape, np.nan)
        ids[mask], distances[mask] = self.ids, self.distances
        values = None
        if isinstance(self.values, np.ndarray) and len(self.values) == len(self.ids):
            values = np.zeros(mask.shape + self.values.shape[1:], self.values.dtype)
            values[mask] = self.values
        return DenseNeighbours(ids, distances, values, mask)


def read_neighbours(
    response: memory_pb2.QueryResponse, rows: int, single: bool, error: Optional[MnemeError] = None
) -> Neighbours:
    """Views into the bytes of an answer."""
    got = response.neighbours
    offsets = np.frombuffer(got.offsets, "<u8").astype(np.int64) if got.offsets else np.zeros(rows + 1, np.int64)
    return Neighbours(
        **_answer(response, error),
        offsets=offsets,
        ids=np.frombuffer(got.ids, "<u8"),
        distances=np.frombuffer(got.distances, "<f4" if single else "<f8"),
        values=wire.read_values(got.values),
        partitions=_optional(got.partitions, "<u8"),
        keys=wire.read_vectors(got.keys) if got.HasField("keys") else None,
        successors=_optional(got.successors, "<u8"),
        has_successor=_optional(got.has_successor, "u1"),
        weights=_optional(got.weights, "<f4"),
        labels=_optional(got.labels, "<i8"),
        sources=_optional(got.sources, "<u8"),
        positions=_optional(got.positions, "<u8"),
    )


@dataclasses.dataclass(frozen=True)
class Distributions(Answer):
    """p_kNN of each row, for each cell (temperature, k): cell c of row i is at i * cells + t * len(ks) + j.

    `target_log_probs` is [rows], or [rows, temperatures, ks] where several were asked for. `found` counts neighbours
    before the mask; `log_total_mass` is -inf where none of them is allowed. `allowed`: the mask that was asked for,
    tokens ascending; `target_allowed`, [rows], where targets were asked for under a mask.
    """

    temperatures: tuple[float, ...]
    ks: tuple[int, ...]
    offsets: Array
    tokens: Array
    log_probs: Array
    target_log_probs: Optional[Array]
    left_out: Optional[Array]
    found: Array
    min_distances: Array
    log_total_mass: Array
    feature_offsets: Optional[Array]
    feature_distances: Optional[Array]
    feature_distinct: Optional[Array]
    mixed: bool
    allowed: Optional[Array]
    target_allowed: Optional[Array]

    def __repr__(self) -> str:
        cells = f"temperatures={self.temperatures}, ks={self.ks}"
        return f"Distributions(rows={len(self.found)}, {cells}, tokens={len(self.tokens)}, {self._state})"

    @property
    def cells(self) -> int:
        return len(self.temperatures) * len(self.ks)

    def row(self, index: int, temperature: int = 0, k: int = 0) -> slice:
        """The slice of one row's tokens and log_probs, in one cell (by the index of its temperature and of its k)."""
        at = index * self.cells + temperature * len(self.ks) + k
        return slice(int(self.offsets[at]), int(self.offsets[at + 1]))

    def mix(self, lm_log_probs: ArrayLike, knn_weight: float, temperature: int = 0, k: int = 0) -> Array:
        """ln(knn_weight p_kNN + (1 - knn_weight) p_LM) in float64; a row without neighbours is p_LM alone.

        As the server mixes: under a mask (`allowed` of the request) a row of which no neighbour is allowed is p_LM
        alone, too; p_LM is renormalised over the allowed tokens, and any other is -inf. Of targets p_LM is taken as it
        was given.
        lm_log_probs is [rows, vocabulary] of natural logarithms, or [rows] (of the targets) where targets were given;
        for a single row also [vocabulary] (or one number), and the result has the shape that was given.
        """
        if not 0.0 <= knn_weight <= 1.0:
            raise ValueError(f"knn_weight is {knn_weight}; must be in [0, 1]")
        if self.mixed:
            raise ValueError("the server has mixed this answer already (mix= of the request)")
        given = np.array(lm_log_probs, np.float64)
        rows, dimensions = len(self.found), 2 if self.target_log_probs is None else 1
        lm = given[None] if rows == 1 and given.ndim == dimensions - 1 else given
        if lm.ndim != dimensions or len(lm) != rows:
            expected = f"[{rows}, vocabulary]" if dimensions == 2 else f"[{rows}]"
            raise ValueError(f"lm_log_probs has shape {given.shape}; must be {expected}")
        if dimensions == 2:
            self._check_vocabulary("lm_log_probs", lm.shape[1])
        return self._mixed(lm, knn_weight, temperature, k).reshape(given.shape)

    def _mixed(self, lm: Array, knn_weight: float, temperature: int, k: int) -> Array:
        with np.errstate(divide="ignore"):
            ln_knn, ln_lm = np.log(knn_weight), np.log1p(-knn_weight)
        if self.target_log_probs is not None:
            cell = (len(lm), len(self.temperatures), len(self.ks))
            of_target = self.target_log_probs.reshape(cell)[:, temperature, k]
            known = self.log_total_mass.reshape(cell)[:, temperature, k] > -np.inf
            mixed = np.where(known, np.logaddexp(ln_knn + of_target, ln_lm + lm), lm)
            return mixed if self.target_allowed is None else np.where(self.target_allowed, mixed, -np.inf)
        lm = self._renormalised(lm)
        for index in range(len(lm)):
            here = self.row(index, temperature, k)
            tokens, ln_p = self.tokens[here], self.log_probs[here]
            if not len(tokens):
                continue
            if self.allowed is not None and (lm[index] == -np.inf).all():  # to the model none of them is possible
                lm[index, tokens] = ln_p
                continue
            out = ln_lm + lm[index]
            out[tokens] = np.logaddexp(out[tokens], ln_knn + ln_p)
            lm[index] = out
        return lm

    def _renormalised(self, lm: Array) -> Array:
        """ln p_LM, [rows, vocabulary], over the allowed tokens."""
        if self.allowed is None:
            return lm
        out, inside = np.full_like(lm, -np.inf), self.allowed[self.allowed < lm.shape[1]]
        masses = np.logaddexp.reduce(lm[:, inside], axis=1, keepdims=True, initial=-np.inf)
        out[:, inside] = lm[:, inside] - np.where(masses > -np.inf, masses, 0.0)
        return out

    def _check_vocabulary(self, name: str, size: int) -> None:
        largest = int(self.tokens.max(initial=0))
        if largest >= size:
            known = f"the memory knows token {largest}: another tokenizer?"
            raise ValueError(f"{name} is for a vocabulary of {size}; {known}")

    def dense(self, vocabulary_size: int, temperature: int = 0, k: int = 0) -> Array:
        """ln p_kNN as [rows, vocabulary]; -inf where no neighbour has the token."""
        self._check_vocabulary("vocabulary_size", vocabulary_size)
        out = np.full((len(self.found), vocabulary_size), -np.inf)
        for index in range(len(self.found)):
            here = self.row(index, temperature, k)
            out[index, self.tokens[here]] = self.log_probs[here]
        return out


def read_distributions(
    response: memory_pb2.QueryResponse,
    rows: int,
    read_out: memory_pb2.DistributionReadOut,
    k: int,
    single: bool,
    error: Optional[MnemeError] = None,
) -> Distributions:
    """Views into the bytes of an answer; `read_out` and `k` are what was asked."""
    got, real = response.distribution, "<f4" if single else "<f8"
    temperatures: Sequence[float] = tuple(read_out.temperatures) or (1.0,)
    ks: Sequence[int] = tuple(read_out.ks) or (k,)
    cells = rows * len(temperatures) * len(ks)
    shape = (rows,) if len(temperatures) * len(ks) == 1 else (rows, len(temperatures), len(ks))

    def reals(data: bytes, count: int, default: float) -> Array:
        return np.frombuffer(data, real) if data else np.full(count, default)

    allowed = np.unique(np.frombuffer(read_out.allowed_tokens, "<u4")) if read_out.allowed_tokens else None
    target_allowed = None
    if read_out.targets and allowed is not None:
        target_allowed = np.isin(np.frombuffer(read_out.targets, "<u4"), allowed)
    targets = reals(got.target_log_probs, cells, -np.inf).reshape(shape) if read_out.targets else None
    return Distributions(
        **_answer(response, error, shape),
        temperatures=tuple(temperatures),
        ks=tuple(ks),
        offsets=np.frombuffer(got.offsets, "<u8").astype(np.int64) if got.offsets else np.zeros(cells + 1, np.int64),
        tokens=np.frombuffer(got.tokens, "<u4"),
        log_probs=np.frombuffer(got.log_probs, real),
        target_log_probs=targets,
        left_out=reals(got.left_out, cells, 0.0).reshape(shape) if read_out.top_m else None,
        found=np.frombuffer(got.found, "<u4") if got.found else np.zeros(rows, "<u4"),
        min_distances=reals(got.min_distances, rows, np.nan),
        log_total_mass=reals(got.log_total_mass, cells, -np.inf).reshape(shape),
        feature_offsets=_optional(got.feature_offsets, "<u8"),
        feature_distances=_optional(got.feature_distances, real),
        feature_distinct=_optional(got.feature_distinct, "<u4"),
        mixed=read_out.HasField("mix") and error is None,
        allowed=allowed,
        target_allowed=target_allowed,
    )


@dataclasses.dataclass(frozen=True)
class Inserted:
    """What an acknowledgement says. `ids` are those that the server gave, else empty; `sequence` is that of a stream:
    so many batches are acknowledged, without gaps."""

    inserted: int
    replaced: int
    ids: Array
    version: bytes
    durability: str
    replayed: bool = False
    sequence: int = 0

    def __repr__(self) -> str:
        counts = f"inserted={self.inserted}, replaced={self.replaced}, ids_given={len(self.ids)}"
        return f"Inserted({counts}, durability={self.durability!r}, replayed={self.replayed}, sequence={self.sequence})"


def read_inserted(response: memory_pb2.InsertResponse) -> Inserted:
    """The acknowledgement of one insert."""
    ids, durability = np.frombuffer(response.ids, "<u8"), durability_name(response.durability)
    return Inserted(response.inserted, response.replaced, ids, response.version, durability, response.replayed)


@dataclasses.dataclass(frozen=True)
class Deleted:
    """What a deletion did. receipt: by which `Memory.receipt` tells what has become of the bytes; "" of a dry run."""

    deleted: int
    absent: int
    deleted_at_ms: int
    dry_run: bool
    version: bytes
    receipt: str = ""

    def __repr__(self) -> str:
        return f"Deleted(deleted={self.deleted}, absent={self.absent}, dry_run={self.dry_run})"


# How far a deletion is, each state including those before it.
ERASURE_STATES = ("hidden", "index", "rocksdb", "snapshots")


@dataclasses.dataclass(frozen=True)
class Receipt:
    """How far a deletion is: "hidden" (no read finds it), "index" (no index has it, nor a lease), "rocksdb" (no file of
    the store in use has it), "snapshots" (no backup that the server knows has it).

    index_at_ms, rocksdb_at_ms: when; 0: not yet. backups: numbers of those that may have it, as far as the server knows
    any (backups_known). partitions: those that entries went from; empty also where they are more than 1,024.
    """

    id: str
    state: str
    deleted: int
    deleted_at_ms: int
    index_at_ms: int
    rocksdb_at_ms: int
    backups: list[int]
    backups_known: bool
    partitions: list[int]

    def reached(self, state: str) -> bool:
        """Whether it has come so far."""
        return ERASURE_STATES.index(self.state) >= ERASURE_STATES.index(state)


def read_receipt(wire_receipt: receipts_pb2.Receipt) -> Receipt:
    """One of an answer."""
    return Receipt(
        wire_receipt.id,
        ERASURE_STATES[wire_receipt.state - receipts_pb2.ERASURE_STATE_HIDDEN],
        wire_receipt.deleted,
        wire_receipt.deleted_at_ms,
        wire_receipt.index_at_ms,
        wire_receipt.rocksdb_at_ms,
        [backup.number for backup in wire_receipt.backups],
        wire_receipt.backups_known,
        list(wire_receipt.partitions),
    )


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What each query of a learned write met and did, a column each, [rows].

    found: the table had a slot; slots, values, similarities: the nearest. correct: its value was the label. actions: 0
    none, 1 merged into it, 2 written to written_slots of its own; evicted: that slot was taken, its value and age.
    pos, neg: the greatest similarity with and without the label; losses: max(0, neg - pos + alpha) - alpha. mask(row):
    (slots, weights), where they were asked for.
    """

    found: Array
    slots: Array
    values: Array
    similarities: Array
    correct: Array
    actions: Array
    written_slots: Array
    evicted: Array
    evicted_values: Array
    evicted_ages: Array
    pos: Array
    neg: Array
    losses: Array
    mask_offsets: Optional[Array]
    mask_slots: Array
    mask_weights: Array
    version: bytes
    replayed: bool

    def __repr__(self) -> str:
        merged, inserted = int(np.sum(self.actions == 1)), int(np.sum(self.actions == 2))
        return f"Remembered(rows={len(self.found)}, merged={merged}, inserted={inserted}, replayed={self.replayed})"

    def mask(self, row: int) -> tuple[Array, Array]:
        """(slots, weights) of one row, nearest first; asked for with mask=True."""
        if self.mask_offsets is None:
            raise ValueError("the mask was not asked for (mask=True)")
        here = slice(int(self.mask_offsets[row]), int(self.mask_offsets[row + 1]))
        return self.mask_slots[here], self.mask_weights[here]


def read_remembered(got: memory_pb2.RememberResponse) -> Remembered:
    """Views into the bytes of an answer."""
    return Remembered(
        found=np.frombuffer(got.found, "u1").astype(bool),
        slots=np.frombuffer(got.slots, "<u8"),
        values=np.frombuffer(got.values, "<i8"),
        similarities=np.frombuffer(got.similarities, "<f8"),
        correct=np.frombuffer(got.correct, "u1").astype(bool),
        actions=np.frombuffer(got.actions, "u1"),
        written_slots=np.frombuffer(got.written_slots, "<u8"),
        evicted=np.frombuffer(got.evicted, "u1").astype(bool),
        evicted_values=np.frombuffer(got.evicted_values, "<i8"),
        evicted_ages=np.frombuffer(got.evicted_ages, "<i8"),
        pos=np.frombuffer(got.pos, "<f8"),
        neg=np.frombuffer(got.neg, "<f8"),
        losses=np.frombuffer(got.losses, "<f8"),
        mask_offsets=_optional(got.mask_offsets, "<u8"),
        mask_slots=np.frombuffer(got.mask_slots, "<u8"),
        mask_weights=np.frombuffer(got.mask_weights, "<f8"),
        version=got.version,
        replayed=got.replayed,
    )


def durability_name(number: int) -> str:
    """The word of an acknowledged durability."""
    return next((word for word, value in wire.DURABILITIES.items() if value == number), "unspecified")
