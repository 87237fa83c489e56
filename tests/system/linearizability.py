"""Whether what clients saw of registers is what one register each, touched by one client at a time, would have shown.

The search is Wing's and Gong's with Lowe's memory of what was tried: take any operation that nothing ended before, do
it, go on with the others; when nothing fits, take back the last. Registers do not touch each other, so each history is
judged by itself (Herlihy and Wing: linearizability is local). Five things keep it short, none of which loses an order:

1. What changes nothing and fits is done at once: whatever else is to come can come after it.
2. A version is of one write. One that is known to be of another is not taken.
3. An operation whose outcome nobody knows may have been done at any moment after it was asked for, or never; but when
   its value, which nobody else wrote, was read, its version is what the reader was told.
4. Of those of one kind whose value nobody read the one that was asked for first stands for all: it may be done whenever
   a later one may, and no answer tells them apart.
5. Of these a compare-and-set that fits comes before a put: it fits this version alone, the put any.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterator, Optional, Sequence

# Steps until a history counts as one that cannot be judged; a good one takes fewer than it has operations.
MOST_STEPS = 200_000
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
    return _Search(history).run()


@dataclasses.dataclass
class _Search:
    history: Sequence[Operation]

    def __post_init__(self) -> None:
        # Without reads that were told nothing, in the order of their beginnings.
        asked = [each for each in self.history if not (each.kind == "get" and each.unknown)]
        self.operations = sorted(asked, key=lambda each: each.begin)
        self.events = _Events(self.operations)
        self.versions = _versions(self.operations)
        self.owners = {version: number for number, version in self.versions.items()}
        self.unread = _unread(self.operations)
        self.before = _stand_ins(self.operations, self.unread)
        self.done, self.state = 0, ABSENT
        # What was done, in order: its number, the state before it, and whether there was a choice.
        self.taken: list[tuple[int, tuple[int, bytes], bool]] = []

    def run(self) -> str:
        tried: set[tuple[int, tuple[int, bytes]]] = set()
        left: list[list[tuple[int, tuple[int, bytes]]]] = []  # at each choice, what was not tried
        most, stuck = -1, ""
        for _ in range(MOST_STEPS):
            self.settle()
            choices, ends = self.choices()
            # Whatever is left has no end: all that is known has found its place.
            if ends is None or self.operations[ends].unknown:
                return ""
            if len(self.taken) > most:
                most, stuck = len(self.taken), self.told(ends)
            left.append([(number, then) for number, then in choices if (self.done | 1 << number, then) not in tried])
            while not left[-1]:
                left.pop()
                if not left:
                    return stuck
                self.take_back()
            number, then = left[-1].pop()
            self.do(number, then, True)
            tried.add((self.done, then))
        raise RuntimeError(f"{len(self.operations)} operations cannot be judged in {MOST_STEPS} steps")

    def choices(self) -> tuple[list[tuple[int, tuple[int, bytes]]], Optional[int]]:
        """The writes that may be next, with the register after each, and what ends first of all that is left."""
        found, at = [], self.events.first
        while (number := self.events.operation(at)) is not None and not self.events.is_end(at):
            then = self.changed_by(number)
            if then is not None:
                found.append((number, then))
            at = self.events.next[at]
        unread = [self.operations[each].kind if each in self.unread else "" for each, _ in found]
        if "cas" in unread:
            found = [each for each, kind in zip(found, unread) if kind != "put"]
        return found, number

    def changed_by(self, number: int) -> Optional[tuple[int, bytes]]:
        """The register after a write, when it may be next."""
        stand_in = self.before[number]
        if stand_in is not None and not self.done >> stand_in & 1:
            return None
        then = self.operations[number].after(self.state)
        if then is None or then == self.state:
            return None
        fits = self.owners.get(then[0], number) == number and self.versions.get(number, then[0]) == then[0]
        return then if fits else None

    def settle(self) -> None:
        """Does all that changes nothing and fits."""
        more = True
        while more:
            more, at = False, self.events.first
            while (number := self.events.operation(at)) is not None and not self.events.is_end(at):
                following = self.events.next[at]
                if self.operations[number].after(self.state) == self.state:
                    self.do(number, self.state, False)
                    more = True
                at = following

    def do(self, number: int, then: tuple[int, bytes], choice: bool) -> None:
        self.taken.append((number, self.state, choice))
        self.done, self.state = self.done | 1 << number, then
        self.events.take(number)

    def take_back(self) -> None:
        """The last choice, and what came after it."""
        choice = False
        while not choice:
            number, self.state, choice = self.taken.pop()
            self.done &= ~(1 << number)
            self.events.put_back(number)

    def told(self, number: int) -> str:
        last = "; ".join(str(self.operations[each]) for each, _, _ in self.taken[-3:]) or "nothing"
        return f"{self.operations[number]} does not fit {self.state} after {last}"


def _versions(operations: Sequence[Operation]) -> dict[int, int]:
    """Of each write that one is known of."""
    read = {each.value: each.version for each in operations if each.kind == "get" and each.version > 0}
    writes = [number for number, each in enumerate(operations) if each.kind != "get" and not each.refused]
    of_value: dict[bytes, list[int]] = {}
    for number in writes:
        of_value.setdefault(operations[number].value, []).append(number)
    out = {number: operations[number].version for number in writes if not operations[number].unknown}
    for value, numbers in of_value.items():
        if len(numbers) == 1 and value in read:
            out.setdefault(numbers[0], read[value])
    return out


def _unread(operations: Sequence[Operation]) -> set[int]:
    """Writes of unknown outcome whose value nobody read."""
    read = {each.value for each in operations if each.kind == "get"}
    return {number for number, each in enumerate(operations) if each.unknown and each.value not in read}


def _stand_ins(operations: Sequence[Operation], unread: set[int]) -> list[Optional[int]]:
    """Of each operation the one that is to be done before it, if it is ever done."""
    last: dict[tuple[str, int], int] = {}
    out: list[Optional[int]] = []
    for number, each in enumerate(operations):
        kind = (each.kind, each.expected)
        out.append(last.get(kind) if number in unread else None)
        if number in unread:
            last[kind] = number
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
