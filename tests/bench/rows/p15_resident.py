"""P15: ram that searching takes: what is anonymous, and the pages of the index files that hold codes and ids."""

from __future__ import annotations

from harness import resident
from harness.bench import Bench
from harness.report import Case, Row

NAME = "P15"
TITLE = "anonymous + resident pages of code and id files after 10,000 queries / (n x (code bytes + 16))"
QUERIES = 10_000
K = 100
IDENTITY_BYTES = 16


def run(bench: Bench, row: Row) -> None:
    index = bench.index or "int8"
    store = bench.store(bench.main if bench.quick else "synthetic-1mx128-i16", index)
    search, reached = store.search_for(K, 0.95)
    # What building left behind is not what searching takes.
    store.server.stop()
    bench.drop_caches()
    store.server.start()
    asked = 0
    while asked < QUERIES:
        asked += int(store.load(k=K, batch=64, once=True, **search)["rows"])
    pages = resident.of_server(store.server.pid, store.server.data_dir)
    code_bytes = resident.code_bytes(index, store.data.dimension)
    # Stored keys that only re-ranking reads are told apart; where they are the codes, they count.
    keys = pages.sections.get(resident.KEYS, 0) if resident.has_codes_of_its_own(index) else 0
    counted = pages.anonymous + sum(pages.sections.values()) - keys
    floor = store.data.rows * (code_bytes + IDENTITY_BYTES)
    details = {"index": index, "anonymous_mb": pages.anonymous / 1e6, "keys_mb": keys / 1e6, "recall": reached}
    details["sections"] = {str(section): size for section, size in sorted(pages.sections.items())}
    name = f"{store.data.name}, {asked:,} queries"
    row.add(Case(name, [counted / floor], bar=1.3, aim=1.15, at_most=True, details=details))
