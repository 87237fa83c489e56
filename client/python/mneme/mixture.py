"""Several memories, or partitions of one, read as one: p = sum of weight * p of each."""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Optional, Sequence, Union

from . import calls, nearest, wire
from ._proto import memory_pb2
from .asking import Asking, Partitions


@dataclasses.dataclass(frozen=True)
class Source:
    """A memory of a mixture, more closely than as (memory, weight). k: neighbours of its own, 0: those of the question.
    version: one that a write to this memory returned, to read that write."""

    memory: Union[Asking, str]
    weight: float
    partitions: Partitions = None
    k: int = 0
    version: bytes = b""

    def to_message(self) -> memory_pb2.MixtureSource:
        return memory_pb2.MixtureSource(
            memory=_name(self.memory),
            partitions=wire.partition_selection(self.partitions),
            weight=self.weight,
            k=self.k,
            at_least_version=self.version,
        )


Sources = Sequence[Union[Source, tuple[Union[Asking, str], float]]]


class Mixture(nearest.Nearest):
    """Thread-safe. A question of several memories at once: each is read out by itself, normalised over its own nearest,
    and the answers are mixed by weight; a source that has nothing for a row gives its weight to the others of that row.
    Weights are normalised. At most 16 sources, of one dimension, metric and kind of value.

    `distribution` and `attention` are those of Memory, over the mixture; `mixture` of an answer says what each source
    found and the weight that it had. `decode_stream` is Memory's, too: what it learns goes to the memory `append`,
    usually the session's that is one of the sources, and the benefit that it tells is that of the mixture.
    """

    def __init__(
        self,
        sources: Sources,
        append: Union[None, Asking, str],
        caller: calls.Caller,
        data: Any,
        fingerprint: Optional[Mapping[str, Any]],
    ) -> None:
        self.name = ""
        self._append = None if append is None else _name(append)
        self._caller, self._data, self._fingerprint = caller, data, fingerprint
        self._sources = [(each if isinstance(each, Source) else Source(*each)).to_message() for each in sources]
        if not self._sources:
            raise ValueError("a mixture needs a source at least")

    def __repr__(self) -> str:
        return "Mixture(" + ", ".join(f"{each.memory!r}: {each.weight:g}" for each in self._sources) + ")"


def _name(memory: Union[Asking, str]) -> str:
    if isinstance(memory, str):
        return memory
    if memory._lease:
        raise ValueError(f"{memory!r} is pinned; a mixture reads memories as they are")
    return memory.name
