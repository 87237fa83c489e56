"""Coocmap (Wang et al. 2023): two vocabularies are matched by how their words co-occur, without any dictionary.

The counts are a state of a session, to which the text is added a piece at a time: `session.count("cooc", rows, columns,
counts)`. Rows of their roots are the keys. Each round is one call, `target.match(source, source_columns=...,
target_columns=...)`: the pairs of the last round say which components to compare, and that is all that is sent.
"""

import re

import numpy as np
import page

WIDTH, CSLS_K, PATIENCE = 5, 10, 5
BATCH = 50_000  # words that are counted in one call


def words_of(text, size):
    """The text as ids of its `size` most frequent words (by count, then word); id 0 is every other word."""
    found = re.findall(r"\w+|[^\w\s]", text.lower())
    names, counts = np.unique(found, return_counts=True)
    kept = names[np.lexsort((names, -counts))][: size - 1]
    number = {name: i + 1 for i, name in enumerate(kept)}
    return np.array([number.get(word, 0) for word in found])


def count(session, ids):
    """Adds up in `session` which words stand within WIDTH of each other, on both sides."""
    shifts = [shift for shift in range(-WIDTH, WIDTH + 1) if shift]
    for first in range(WIDTH, len(ids) - WIDTH, BATCH):
        middle = np.arange(first, min(first + BATCH, len(ids) - WIDTH))
        pairs = np.concatenate([np.stack([ids[middle], ids[middle + shift]]) for shift in shifts], axis=1)
        (rows, columns), counts = np.unique(pairs, axis=1, return_counts=True)
        session.count("cooc", rows, columns, counts)


def rows_of(session, size):
    """sqrt of the counts; rows unit, columns centred, rows unit; and those sorted."""
    cells, counts = session.counts("cooc"), np.zeros((size, size))
    counts[np.repeat(cells.rows, np.diff(cells.offsets).astype(int)), cells.columns] = cells.counts
    return normalised(np.sqrt(counts)), normalised(np.sort(np.sqrt(counts), axis=1))


def normalised(rows):
    rows = page.unit(rows)
    return page.unit(rows - rows.mean(0))


def match(client, name, source_text, target_text, size):
    """Rounds until the objective has not improved for PATIENCE of them. Returns (best targets of sources, rounds)."""
    sides = []
    for side, text in (("source", source_text), ("target", target_text)):
        memory = client.create_memory(f"example-{name}-{side}", size, metric="cosine")
        count(memory.session("counts"), text)
        rows, ordered = rows_of(memory.session("counts"), size)
        for partition, keys in ((0, rows), (1, ordered)):
            ids = np.flatnonzero(np.linalg.norm(keys, axis=1))
            memory.insert(keys[ids].astype(np.float32), np.zeros(len(ids), int), ids=ids, partition=partition)
        sides.append(memory)
    source, target = sides
    found = target.match(source, csls_k=CSLS_K, partitions=1, source_partitions=1)  # before any pair is known
    best, best_value, since, rounds = found, -np.inf, 0, 0
    while since <= PATIENCE and rounds < 100:
        source_ids, target_ids = found.source_ids, found.target_ids
        columns = {
            "source_columns": np.concatenate([source_ids, source_ids[found.best_sources]]),
            "target_columns": np.concatenate([target_ids[found.best_targets], target_ids]),
        }
        found = target.match(source, csls_k=CSLS_K, **columns)
        value = (found.target_scores.mean() + found.source_scores.mean()) / 2
        rounds, since = rounds + 1, since + 1
        if value > best_value + 1e-9:
            best, best_value, since = found, value, 0
    return best.source_ids, best.target_ids[best.best_targets], rounds


def run(client, plot=None, data=None):
    refs = data / "selfmem" / "refs" if data else None
    if refs and refs.exists():
        text, name = refs.read_text(), "legal text"
    else:
        path = page.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt"
        text, name = path.read_text(), "Tiny Shakespeare"
    size = 1000
    ids = words_of(text, size)
    renamed = np.random.default_rng(7).permutation(size)
    sources, targets, rounds = match(client, "coocmap", ids, renamed[ids], size)
    return page.show(
        f"Coocmap: {name} against itself with its {size} words renamed",
        [("words matched", 1.0, float(np.mean(renamed[sources] == targets))), ("rounds", None, rounds)],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, data=options.data)
