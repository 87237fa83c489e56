"""Rows, cases and samples: medians with their spread, a table for people, JSON with every sample."""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass, field
from typing import Any, Callable, Optional, Sequence


class NotAvailable(Exception):
    """A row or case that needs something which is not here; the message says what."""


@dataclass
class Case:
    """One ratio: its value in every round, and what it must be. `at_most` turns the bar round; without a bar it is only
    reported."""

    name: str
    samples: Sequence[float]
    bar: Optional[float] = None
    aim: Optional[float] = None
    at_most: bool = False
    unit: str = ""  # empty: a ratio
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def outcome(self) -> str:
        if self.bar is None:
            return "reported"
        return "met" if (self.median <= self.bar if self.at_most else self.median >= self.bar) else "MISSED"

    def json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "median": self.median,
            "min": min(self.samples),
            "max": max(self.samples),
            "samples": list(self.samples),
            "unit": self.unit or "ratio",
            "bar": self.bar,
            "aim": self.aim,
            "at_most": self.at_most,
            "outcome": self.outcome,
            "details": self.details,
        }


@dataclass
class Row:
    """A line of the issue's table."""

    name: str
    title: str
    cases: list[Case] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, case: Case) -> None:
        self.cases.append(case)
        print("   " + line_of(case), file=sys.stderr, flush=True)

    def absent(self, what: str) -> None:
        self.missing.append(what)
        print(f"   not available: {what}", file=sys.stderr, flush=True)

    def json(self) -> dict[str, Any]:
        return {"title": self.title, "cases": [case.json() for case in self.cases], "not_available": self.missing}


def number(value: float) -> str:
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2g}"


def line_of(case: Case) -> str:
    bar = "" if case.bar is None else f"{'<=' if case.at_most else '>='} {number(case.bar)}"
    spread = f"({number(min(case.samples))} .. {number(max(case.samples))})"
    shown = {key: value for key, value in case.details.items() if not isinstance(value, (dict, list))}
    notes = "  ".join(f"{key} {text(value)}" for key, value in shown.items())
    measured = f"{case.name:<44} {number(case.median):>9} {case.unit:<5} {spread:<20}"
    return f"{measured} {bar:<9} {case.outcome:<9} {notes}".rstrip()


def text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)


def table(rows: Sequence[Row]) -> str:
    lines = [f"{'case':<44} {'median':>9}       {'min .. max':<20} {'bar':<9} outcome"]
    for row in rows:
        lines.append(f"\n{row.name}  {row.title}")
        lines += ["  " + line_of(case) for case in row.cases]
        lines += [f"  not available: {what}" for what in row.missing]
    return "\n".join(lines)


def alternate(rounds: int, sides: dict[str, Callable[[], Any]]) -> dict[str, list[Any]]:
    """Calls every side once a round, starting with another one each time; their results in the order of rounds."""
    names = list(sides)
    results: dict[str, list[Any]] = {name: [] for name in names}
    for turn in range(rounds):
        for i in range(len(names)):
            name = names[(turn + i) % len(names)]
            results[name].append(sides[name]())
    return results


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(over, under)]


def column(results: Sequence[dict[str, Any]], name: str) -> list[float]:
    return [float(result[name]) for result in results]


def cpu_us(result: dict[str, Any]) -> float:
    """CPU of one row in microseconds, client and server together."""
    return 1e6 * (result["cpu_seconds"] + result.get("server_cpu_seconds", 0.0)) / max(1, result["rows"])


def throughput(
    name: str,
    sides: dict[str, list[Any]],
    ours: str,
    theirs: str,
    bar: Optional[float],
    aim: Optional[float],
    **details: Any,
) -> Case:
    """Rows a second of one side over those of the other. Beside it the same by CPU, which a busy machine blurs less."""
    fast, slow = column(sides[ours], "rows_per_second"), column(sides[theirs], "rows_per_second")
    shown = {f"{ours}_qps": statistics.median(fast), f"{theirs}_qps": statistics.median(slow)}
    if all("cpu_seconds" in result for side in (ours, theirs) for result in sides[side]):
        cpu = {side: statistics.median(cpu_us(result) for result in sides[side]) for side in (ours, theirs)}
        shown |= {"by_cpu": cpu[theirs] / cpu[ours], f"{ours}_cpu_us": cpu[ours], f"{theirs}_cpu_us": cpu[theirs]}
    return Case(name, ratios(fast, slow), bar, aim, details=shown | details | {"raw": sides})
