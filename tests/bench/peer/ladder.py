"""Settings from the cheapest to the dearest, and the first of them that is good enough."""

from __future__ import annotations

from typing import Callable, Optional

# (probes or ef, factor of candidates for re-ranking); what an index has no use for stays 1.
Setting = tuple[int, int]


def growing(first: int, last: int) -> list[int]:
    """first, then a fifth more each time."""
    steps, value = [], float(first)
    while value <= last:
        steps.append(round(value))
        value = max(value * 1.2, value + 1)
    return steps


def fewest(settings: list[Setting], reaches: Callable[[Setting], bool]) -> Optional[Setting]:
    """The first of ascending settings that reaches; None when even the last does not.

    Gallops up, then bisects: the dear settings at the end are hardly ever tried.
    """
    low, step = -1, 1
    while True:
        high = min(low + step, len(settings) - 1)
        if reaches(settings[high]):
            break
        if high == len(settings) - 1:
            return None
        low, step = high, step * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reaches(settings[middle]) else (middle, high)
    return settings[high]
