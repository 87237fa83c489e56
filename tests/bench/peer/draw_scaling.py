"""Draws the model of tests/bench/scaling: draw_scaling.py POINTS.json IMAGE.svg"""

from __future__ import annotations

import json
import math
import pathlib
import sys

import matplotlib

matplotlib.use("Agg")
# The same points make the same bytes.
matplotlib.rcParams["svg.hashsalt"] = "mneme"
matplotlib.rcParams["svg.fonttype"] = "none"
from matplotlib import pyplot  # noqa: E402


def main(source: pathlib.Path, image: pathlib.Path) -> None:
    document = json.loads(source.read_text())
    figure, (nodes, tail) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")

    entries = [10 ** (8 + step / 8) for step in range(33)]
    for name, held in document["entries_per_node"].items():
        nodes.plot(entries, [math.ceil(count / held) for count in entries], label=name)
    nodes.axhline(document["most_shards"], color="black", linestyle=":", label="most shards of a deployment")
    nodes.set(xscale="log", yscale="log", title="nodes, d = 128, unreplicated", xlabel="entries", ylabel="nodes")
    nodes.legend(fontsize="small")

    for (name, style), colour in zip((("p99", "-"), ("p99, hedged", "--")), ("C0", "C1")):
        tail.plot(document["tail"]["shards"], document["tail"][name], style, color=colour, label=f"{name}: formula")
    for hedging, colour in ((False, "C0"), (True, "C1")):
        for busy, marker in ((0.05, "o"), (0.5, "s")):
            points = [each for each in document["points"] if (each["busy"], each["hedging"]) == (busy, hedging)]
            label = f"{busy:.0%} busy{', hedged' * hedging}: simulated"
            x, y = [each["shards"] for each in points], [each["p99"] for each in points]
            tail.plot(x, y, marker, color=colour, markerfacecolor=colour if busy < 0.1 else "none", label=label)
    tail.set(xscale="log", title="p99 of a call that asks all shards", xlabel="shards", ylabel="milliseconds")
    tail.set_xscale("log", base=2)
    tail.set_ylim(bottom=0)
    tail.legend(fontsize="small")
    for axes in (nodes, tail):
        axes.grid(True, alpha=0.3)
    image.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(image, metadata={"Date": None} if image.suffix == ".svg" else None)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
