"""Draws the points of tests/bench/curves: draw_curves.py POINTS.json IMAGE.svg"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
# The same points make the same bytes.
matplotlib.rcParams["svg.hashsalt"] = "mneme"
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot  # noqa: E402


def panel(axes: Any, title: str, unit: str, entries: list[int], lines: dict[str, list[float]]) -> None:
    for name, values in lines.items():
        axes.plot(entries, values, marker="o", label=name)
    axes.set(xscale="log", yscale="log", title=title, xlabel="entries", ylabel=unit)
    # A decade at least: what hardly grows looks like it.
    every = [value for values in lines.values() for value in values]
    axes.set_ylim(min(every) / 2, max(*every, 5 * min(every)) * 2)
    axes.grid(True, which="both", alpha=0.3)
    if len(lines) > 1:
        axes.legend()


def main(source: pathlib.Path, image: pathlib.Path) -> None:
    document = json.loads(source.read_text())
    points = sorted(document["points"].values(), key=lambda point: point["entries"])
    entries = [point["entries"] for point in points]

    def column(name: str, scale: float = 1.0) -> list[float]:
        return [point[name] * scale for point in points]

    figure, grid = pyplot.subplots(2, 2, figsize=(11, 8), layout="constrained")
    queries = {f"k = {k}": [point["queries"][k]["us"] for point in points] for k in points[0]["queries"]}
    panel(grid[0][0], "a query of a batch of 64, recall .95", "microseconds", entries, queries)
    panel(grid[0][1], "build of the whole index", "seconds", entries, {"": column("build_seconds")})
    sizes = {"anonymous ram": "anonymous_bytes", "mapped and resident": "mapped_bytes", "disk": "disk_bytes"}
    sizes_mb = {name: column(field, 1e-6) for name, field in sizes.items()}
    panel(grid[1][0], "ram and disk", "MB", entries, sizes_mb)
    panel(grid[1][1], "restart to the first answer", "seconds", entries, {"": column("restart_seconds")})
    first = points[0]
    keys = first["keys"].partition(" ")[2]  # without how many
    figure.suptitle(f"{keys}; {first['machine']['cores']} cores")
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, metadata={"Date": None} if image.suffix == ".svg" else None)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
