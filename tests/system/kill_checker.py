"""The checker of the kill test, a process of its own: compares every stored entry with the writer's log.

kill_checker.py ADDRESS LOG SEED: prints "entries N lost N altered N duplicated N unfindable N next ID" and exits 0 when
the four are 0.
"""

import sys

import harness  # noqa: F401  (puts the client on the path)
import kill_entries
import mneme
import numpy as np


def main():
    address, path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
    promised = {}
    with open(path) as log:
        for line in log:
            entry_id, content = line.split()
            promised[int(entry_id)] = int(content)
    memory = mneme.connect(address).memory("kill")
    stored, duplicated, altered = set(), 0, 0
    for page in memory.scan(with_keys=True):
        rows = zip(page.ids.tolist(), page.keys, page.values, page.sources)
        for entry_id, *content in rows:
            duplicated += entry_id in stored
            stored.add(entry_id)
            found = kill_entries.hash_of(*content)
            if entry_id in promised:
                altered += found != promised[entry_id]
        # Also what was sent and not acknowledged is whole or not there.
        altered += int((page.keys != kill_entries.keys_of(page.ids, seed)).any(1).sum())
    lost = len(promised.keys() - stored)
    duplicated += memory.count() != len(stored)

    # The index agrees: an acknowledged entry is its own nearest neighbour at distance 0.
    sample = (
        np.random.default_rng(seed).choice(sorted(promised), min(64, len(promised)), replace=False) if promised else []
    )
    unfindable = 0
    if len(sample):
        found = memory.query(kill_entries.keys_of(sample, seed), 1, exact=True)
        unfindable = int((found.ids != np.asarray(sample, np.uint64)).sum() + (found.distances != 0).sum())
    first_free = max(promised, default=-1) + 1
    print(
        f"entries {len(stored)} lost {lost} altered {altered} duplicated {duplicated} "
        f"unfindable {unfindable} next {first_free}"
    )
    sys.exit(0 if lost + altered + duplicated + unfindable == 0 else 1)


if __name__ == "__main__":
    main()
