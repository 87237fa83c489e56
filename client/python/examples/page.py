"""What every example shares: a server (its own, or --server HOST:PORT), the data, a table of published against got."""

from __future__ import annotations

import argparse
import contextlib
import gzip
import pathlib
import sys
from typing import Any, Iterator, Optional, Sequence

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))

import numpy as np  # noqa: E402

import mneme  # noqa: E402

_parser = argparse.ArgumentParser(add_help=False)
_parser.add_argument("--server", help="HOST:PORT of a running server; without it one is started and stopped")
_parser.add_argument("--shards", default="1", help="of the server that is started")
_parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared" / "data", help="of larger data sets")
_parser.add_argument("--plot", type=pathlib.Path, help="write the picture to this PNG")


def arguments(description: Optional[str]) -> argparse.Namespace:
    return argparse.ArgumentParser(description=description, parents=[_parser]).parse_args()


@contextlib.contextmanager
def client(options: argparse.Namespace) -> Iterator[mneme.Client]:
    """Drops what a former run of an example left at a given server: names begin with "example-"."""
    if options.server is None:
        with mneme.EmbeddedServer(None, "--shards", options.shards) as server:
            yield server.client
        return
    found = mneme.connect(options.server)
    for memory in found.memories():
        if memory.name.startswith("example-"):
            found.drop_memory(memory.name)
    yield found


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,797 images [64] with pixels 0 to 16, and their labels."""
    with gzip.open(ROOT / "tests" / "data" / "digits" / "digits.csv.gz", "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :64], table[:, 64].astype(int)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1; zero rows stay."""
    norms = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.divide(rows, norms, out=np.zeros_like(rows, dtype=np.float64), where=norms > 0)


def show(title: str, rows: Sequence[tuple[str, Any, Any]]) -> dict[str, float]:
    """Prints name, published, got; returns what was got, by name."""
    print(title)
    width = max(len(name) for name, _, _ in rows)
    for name, published, got in rows:
        print(f"  {name:{width}}  published {_text(published):>10}  got {_text(got):>10}")
    return {name: got for name, _, got in rows}


def _text(value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.4f}" if value == 0 or abs(value) >= 5e-4 else f"{value:.1e}"


def pyplot() -> Any:
    """matplotlib's, without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as found

    return found
