"""kNN-LM (Khandelwal et al. 2020), and what others made of it: RetoMaton's pointers and the greedy merge.

A bigram model of Tiny Shakespeare's characters looks up the 100,000 characters it was told: `memory.distribution`.
"""

import numpy as np
import page

STORE, FIRST, QUERIES, CONTEXT, TEMPERATURE = 100_000, 1_003_854, 2_000, 8, 0.3


def splitmix64(x):
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def corpus():
    """(keys, next symbols) of the store and of the test slice, and ln p of the bigram model for the latter."""
    text = np.frombuffer((page.ROOT / "tests/data/shakespeare/tinyshakespeare.txt").read_bytes(), np.uint8)
    symbols = np.searchsorted(np.unique(text), text)
    numbers = np.arange(65 * 16, dtype=np.uint64).reshape(65, 16)
    embedding = (2 * (splitmix64(numbers) >> np.uint64(11)) * 2.0**-53 - 1) * np.sqrt(3 / 16)

    def pairs(part):
        ends = np.arange(CONTEXT - 1, len(part) - 1)
        keys = np.concatenate([0.8**i * embedding[part[ends - i]] for i in range(CONTEXT)], axis=1)
        return keys.astype(np.float32), part[ends + 1], part[ends]

    keys, values, _ = pairs(symbols[:STORE])
    queries, targets, last = pairs(symbols[FIRST : FIRST + CONTEXT + QUERIES])
    counts = np.full((65, 65), 0.1)
    np.add.at(counts, (symbols[: STORE - 1], symbols[1:STORE]), 1)
    return keys, values, queries, targets, np.log(counts / counts.sum(1, keepdims=True))[last, targets]


def mixed(log_knn, log_lm, weight):
    return np.logaddexp(np.log(weight) + log_knn, np.log(1 - weight) + log_lm)


def retomaton(memory, queries, targets, log_lm, weight, least=1, k=1024):
    """Decodes the test slice, and searches only where fewer than `least` neighbours of the last step had the token that
    came. As published, a neighbour that a pointer and the search both find counts twice. Entry i has the id N - 1 - i.
    """
    logs, searches, pointers = [], 0, np.zeros(0, np.uint64)
    for query, target, lm in zip(queries, targets, log_lm):
        searching = len(pointers) < least
        searches += searching
        extra, times = np.unique(pointers, return_counts=True)
        asked = {"extra": ([0, len(extra)], extra)} if len(extra) else {}
        got = memory.query(query, k if searching else 0, exact=True, **asked)
        counted = np.zeros(len(got.ids), int)
        counted[np.isin(got.ids, extra)] = times[np.searchsorted(extra, got.ids[np.isin(got.ids, extra)])]
        counted[:k] += searching
        odds = counted * np.exp((got.distances[0] - got.distances) / TEMPERATURE)
        right = got.values == target
        logs.append(np.log(weight * odds[right].sum() / odds.sum() + (1 - weight) * np.exp(lm)))
        followed = right & (got.ids > 0)  # the last entry has no successor
        pointers = np.repeat(got.ids[followed] - np.uint64(1), counted[followed])[:1024]
    return float(np.exp(-np.mean(logs))), 1 - searches / len(queries)


def run(client, plot=None):
    keys, values, queries, targets, log_lm = corpus()
    ids = np.arange(len(keys))
    later = client.create_memory("example-knnlm-later", keys.shape[1], metric="l2", vocab_size=65)
    later.import_rows(keys, values, ids=ids[::-1].copy(), durability="written")  # ties go to the later entry
    memory = client.create_memory("example-knnlm", keys.shape[1], metric="l2", vocab_size=65)
    memory.import_rows(keys, values, ids=ids, durability="written")
    rows = [("base model", 16.2551, float(np.exp(-log_lm.mean())))]
    ks = [1, 8, 64, 1024]
    asked = {"k": 1024, "temperature": TEMPERATURE, "ks": ks, "targets": targets, "exact": True}
    earlier_first, later_first = memory.distribution(queries, **asked), later.distribution(queries, **asked)
    for k, published in ((1024, (11.574, 9.988, 9.267)), (64, (11.509, 10.102, 9.826)), (8, (11.294, 10.396, 11.198)),
                         (1, (12.535, 13.340, 17.846))):
        got = later_first if k == 1024 else earlier_first  # as those who published them kept ties
        log_knn = got.target_log_probs[:, 0, ks.index(k)]
        for weight, value in zip((0.25, 0.5, 0.75), published):
            rows.append((f"k {k}, lambda {weight}", value, float(np.exp(-mixed(log_knn, log_lm, weight).mean()))))
    for least, perplexity, saved in ((1, 10.228, 0.7775), (32, 9.652, 0.5585)):
        got, name = retomaton(later, queries, targets, log_lm, 0.5, least), f"RetoMaton, {least} or more"
        rows += [(f"{name}: perplexity", perplexity, got[0]), (f"{name}: searches saved", saved, got[1])]
    # On one shard: each shard merges its own.
    merged = client.create_memory("example-merged", keys.shape[1], metric="l2", vocab_size=65, spread="one")
    merged.import_rows(keys[:20_000], values[:20_000], ids=ids[:20_000], durability="written")
    for name, published in (("20,000 entries", 11.202), ("the same, merged", 11.457)):
        log_knn = merged.distribution(queries, 64, TEMPERATURE, targets=targets, exact=True).target_log_probs
        rows.append((name, published, float(np.exp(-mixed(log_knn, log_lm, 0.5).mean()))))
        if "merged" not in name:
            merged.prune(9)
    # The published run drops the first of ten neighbours for the entry itself; of equal contexts that may be another.
    rows.append(("entries left by merging", 9756, merged.count()))
    return page.show("kNN-LM on Tiny Shakespeare, T = 0.3", rows)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
