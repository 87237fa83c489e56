"""Selfmem (Cheng et al. 2023): a model's own candidates are its memory, and a selector picks the next one.

Each source is a pool, a partition of candidates with scores; `memory.select(partitions)` picks of every pool at once.
"""

import collections
import math

import numpy as np
import page

SYSTEMS = ("bm25", "dual_retrieval", "dual_selfmem", "joint_retrieval", "joint_selfmem", "random")  # ties: alphabetical


def counts_of(words):
    """Its n-grams for n = 1 .. 4, counted."""
    return [collections.Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in (1, 2, 3, 4)]


def overlap(hypothesis, reference):
    """(matches, totals) by n, and both lengths: what BLEU is made of."""
    ours, theirs = counts_of(hypothesis), counts_of(reference)
    matches = [sum((a & b).values()) for a, b in zip(ours, theirs)]
    return np.array(matches + [sum(a.values()) for a in ours] + [len(hypothesis), len(reference)], float)


def bleu(parts, smooth=0.0):
    """BLEU in percent, of summed parts."""
    matches, totals, length, wanted = parts[:4] + smooth, parts[4:8] + smooth, parts[8], parts[9]
    if length == 0 or not matches.all():
        return 0.0
    return 100 * math.exp(np.log(matches / totals).mean() + min(0.0, 1 - wanted / length))


def stand_in():
    """Candidates as systems of different quality would give them: lines of a play with words exchanged."""
    text = (page.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt").read_text()
    lines = [line for line in text.splitlines() if len(line.split()) > 5][:1500]
    vocabulary, random = sorted(set(text.split())), np.random.default_rng(5)
    candidates = {}
    for system, wrong in zip(SYSTEMS, (0.5, 0.22, 0.2, 0.24, 0.18, 0.97)):
        candidates[system] = [
            " ".join(str(random.choice(vocabulary)) if random.random() < wrong else word for word in line.split())
            for line in lines
        ]
    return lines, candidates, None


def released(folder):
    """The candidates that the paper's systems gave for its En-De test set."""
    def read(name):
        return (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")

    files = {name: f"{name}.memory" if name in ("bm25", "random") else f"{name}.hyps" for name in SYSTEMS}
    return read("refs"), {system: read(file) for system, file in files.items()}, 63.77


def run(client, plot=None, data=None):
    folder = data / "selfmem" if data else None
    references, candidates, published = released(folder) if folder and folder.exists() else stand_in()
    parts = {
        system: np.array([overlap(text.split(), wanted.split()) for text, wanted in zip(texts, references)])
        for system, texts in candidates.items()
    }
    oracle = np.array([[bleu(each, 1.0) for each in parts[system]] for system in SYSTEMS]).T
    consensus = np.zeros_like(oracle)  # sees no reference: how much a candidate shares with the others of its pool
    for row in range(len(references)):
        words = [candidates[system][row].split() for system in SYSTEMS]
        grams = [counts_of(each) for each in words]
        for a in range(len(SYSTEMS)):
            consensus[row, a] = sum(
                sum((x & y).values()) / max(1, sum(y.values()))
                for b in range(len(SYSTEMS)) if b != a for x, y in zip(grams[a], grams[b])
            )
    picked = {}
    for name, scores in (("oracle", oracle), ("consensus", consensus)):
        pools = client.create_memory(f"example-selfmem-{name}", 1, value="bytes")
        batches = (
            {"keys": np.zeros((len(SYSTEMS), 1), np.float32), "values": [candidates[each][row] for each in SYSTEMS],
             "ids": np.arange(len(SYSTEMS)), "scores": scores[row]}
            for row in range(len(references))
        )
        for row, batch in enumerate(batches):
            pools.insert(partition=row + 1, durability="written", **batch)
        numbers = np.arange(1, len(references) + 1)
        chosen = [pools.select(numbers[i : i + 1000]).ids for i in range(0, len(numbers), 1000)]
        picked[name] = np.concatenate(chosen).astype(int)

    def corpus(ids):
        return bleu(sum(parts[SYSTEMS[system]][row] for row, system in enumerate(ids)))

    single = {system: corpus([number] * len(references)) for number, system in enumerate(SYSTEMS)}
    best = max(single.values())
    told = published is not None
    return page.show(
        f"Selfmem: {len(references)} pools of {len(SYSTEMS)} candidates, corpus BLEU",
        [
            ("best single system", 60.11 if told else None, best),
            ("the server's choice by the oracle's scores (it sees the reference)", published, corpus(picked["oracle"])),
            ("the server's choice by consensus (no reference)", None, corpus(picked["consensus"])),
            ("same as argmax of the scores", 1.0, float(np.mean(picked["oracle"] == oracle.argmax(1)))),
            *[(f"chosen of {system}", None, int((picked["oracle"] == i).sum())) for i, system in enumerate(SYSTEMS)],
        ],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, data=options.data)
