"""P10: a bulk load against RocksDB's own."""

from __future__ import annotations

import itertools
import shutil
import time
from statistics import median

from harness import data
from harness.bench import Bench
from harness.inserts import entry_bytes
from harness.report import Case, NotAvailable, Row, alternate, ratios
from harness.server import cli_offers

NAME = "P10"
TITLE = "bulk load / SstFileWriter + ingest of the same bytes"


def run(bench: Bench, row: Row) -> None:
    if not cli_offers("import", "--bulk"):
        raise NotAvailable("mneme import --bulk")
    keys = data.find(bench.main)
    bench.sets[keys.name] = keys.story
    server = bench.server("bulk")
    numbers = itertools.count()

    def ours() -> float:
        memory = f"bulk-{next(numbers)}"
        create = ["create", memory, "--dim", keys.dimension, "--metric", "l2", "--value", "token", "--key-dtype", "f16"]
        server.cli(*create)
        start = time.monotonic()
        server.cli("import", memory, "--bulk", "--keys", keys.keys, "--values", keys.values)
        rate = keys.rows / (time.monotonic() - start)
        server.cli("drop", memory, "--yes")
        return rate

    def raw() -> float:
        directory = bench.scratch / f"ingest-{next(numbers)}"
        result = bench.run_json("raw_store", "ingest", directory, "--rows", keys.rows, "--bytes", entry_bytes(keys))
        shutil.rmtree(directory)
        return float(result["rows_per_second"])

    sides = alternate(bench.rounds, {"ours": ours, "raw": raw})
    details = {"entries_per_second": median(sides["ours"]), "raw_per_second": median(sides["raw"]), "raw": sides}
    row.add(Case("entries per second", ratios(sides["ours"], sides["raw"]), bar=0.6, aim=0.8, details=details))
    bench.stop(server)
