"""Whether what clients saw of registers is what one register each, touched by one client at a time, would have shown.

The search is Wing's and Gong's with Lowe's memory of what was tried: take any operation that nothing ended before, do
it, go on with the others; when nothing fits, take back the last. Registers do not touch each other, so each history is
judged by itself (Herlihy and Wing: linearizability is local).

An operation whose outcome nobody knows may have been done at any moment after it was asked for, or never. Of those of
one kind whose value nobody read the one that was asked for first stands for all: it may be done whenever a later one
may, and no answer tells them apart.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence

# Steps until a history counts as one that cannot be judged; a good one of some thousand operations takes thousands.
MOST_STEPS = 3_000_000
ABSENT: tuple[int, bytes] = (0, b"")  # a register that was never written


@dataclasses.dataclass(frozen=True)
class Operation:
    """What one client asked of one register and was told, between two moments.

    `get`: was told `version` and `value`. `put`: wrote `value`, was told `version`. `cas`: was to write `value` over
    version `expected`; was told `version`, or `refused`. unknown: it may have been done, any time after `begin`.
    """

    kind: str
    begin: float
    end: float
    value: bytes = b""
    version: int = 0
    expected: int = 0
    refused: bool = False
    unknown: bool = False
    client: int = 0

    def after(self, state: tuple[int, bytes]) -> Optional[tuple[int, bytes]]:
        """The register after it, or None when it cannot have been told this there."""
        version, value = state
        if self.kind == "get":
            return state if (self.version, self.value) == (version, value) else None
        if self.kind == "cas" and (self.expected != version) != self.refused:
            return None
        if self.refused:
            return state
        if not self.unknown and self.version != version + 1:
            return None
        return (version + 1, self.value)


def violation(history: Sequence[Operation]) -> str:
    """Empty when the history of one register is linearizable; else the place where no order fits.

    RuntimeError when it could not be judged in MOST_STEPS.
    """
    operations = _thinned(history)
    events = _Events(operations)
    before = _stand_ins(operations)
    done, state = 0, ABSENT
    tried: set[tuple[int, tuple[int, bytes]]] = set()
    taken: list[tuple[int, tuple[int, bytes]]] = []
    most, stuck = -1, ""
    at, steps = events.first, 0
    while True:
        steps += 1
        if steps > MOST_STEPS:
            raise RuntimeError(f"{len(operations)} operations cannot be judged in {MOST_STEPS} steps")
        number = events.operation(at)
        # Whatever is left has no end: all that is known has found its place.
        if number is None or (events.is_end(at) and operations[number].unknown):
            return ""
        if events.is_end(at):
            if len(taken) > most:
                most, stuck = len(taken), f"{operations[number]} does not fit {state} after {_last(operations, taken)}"
            if not taken:
                return stuck
            number, state = taken.pop()
            done &= ~(1 << number)
            events.put_back(number)
            at = events.after(number)
            continue
        stand_in = before[number]
        allowed = stand_in is None or done >> stand_in & 1
        then = operations[number].after(state) if allowed else None
        if then is not None and (mark := (done | 1 << number, then)) not in tried:
            tried.add(mark)
            taken.append((number, state))
            done, state = mark
            events.take(number)
            at = events.first
        else:
            at = events.next[at]


def _last(operations: Sequence[Operation], taken: Sequence[tuple[int, Any]]) -> str:
    return "; ".join(str(operations[number]) for number, _ in taken[-3:]) or "nothing"


def _thinned(history: Sequence[Operation]) -> list[Operation]:
    """Without reads that were told nothing, in the order of their beginnings."""
    asked = [each for each in history if not (each.kind == "get" and each.unknown)]
    return sorted(asked, key=lambda each: each.begin)


def _stand_ins(operations: Sequence[Operation]) -> list[Optional[int]]:
    """Of each operation the one that is to be done before it, if it is ever done."""
    read = {each.value for each in operations if each.kind == "get"}
    last: dict[tuple[str, int], int] = {}
    out: list[Optional[int]] = []
    for number, each in enumerate(operations):
        if not each.unknown or each.value in read:
            out.append(None)
            continue
        out.append(last.get((each.kind, each.expected)))
        last[(each.kind, each.expected)] = number
    return out


class _Events:
    """Beginnings and ends as a list in the order of time from which an operation is taken and put back, both in O(1);
    ends that never came are last. Number 0 is the head; operation i begins at 2i + 1 and ends at 2i + 2."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        def moments() -> Iterator[tuple[float, int, int]]:
            for number, each in enumerate(operations):
                yield each.begin, 0, 2 * number + 1
                # Of the same moment a beginning comes first: the two may have been at once.
                yield float("inf") if each.unknown else each.end, 1, 2 * number + 2

        order = [0, *(event for _, _, event in sorted(moments()))]
        self.next, self.previous = [0] * len(order), [0] * len(order)
        for one, other in zip(order, [*order[1:], 0]):
            self.next[one], self.previous[other] = other, one

    @property
    def first(self) -> int:
        return self.next[0]

    def after(self, number: int) -> int:
        """What comes after the beginning of an operation."""
        return self.next[2 * number + 1]

    def operation(self, event: int) -> Optional[int]:
        return None if event == 0 else (event - 1) // 2

    def is_end(self, event: int) -> bool:
        return event % 2 == 0

    def take(self, number: int) -> None:
        for event in (2 * number + 1, 2 * number + 2):
            self.next[self.previous[event]] = self.next[event]
            self.previous[self.next[event]] = self.previous[event]

    def put_back(self, number: int) -> None:
        for event in (2 * number + 2, 2 * number + 1):
            self.next[self.previous[event]] = event
            self.previous[self.next[event]] = event
