"""Selfmem (Cheng et al. 2023): a model's own candidates are its memory, and a selector picks the next one.

Each source is a pool, a partition of candidates with scores; `memory.select(partitions)` picks of every pool at once.
"""

import itertools

import bleu
import numpy as np
import page

SYSTEMS = ("bm25", "dual_retrieval", "dual_selfmem", "joint_retrieval", "joint_selfmem", "random")  # ties: alphabetical
ALONE = (38.89, 58.07, 59.49, 58.58, 60.11, 1.14)  # published: the corpus BLEU of each
CHOSEN = (100, 1059, 509, 252, 553, 10)  # and how often the reference chooses it
QUARTILES = (27.54, 45.05, 69.31, 91.39)  # of dual_retrieval, by the BLEU of the memory that it was given


def stand_in():
    """Candidates as systems of different quality would give them: lines of a play with words exchanged.

    A line is harder or easier for all systems alike, so that what a memory is worth tells in what is made of it.
    """
    text = (page.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt").read_text()
    lines = [line for line in text.splitlines() if len(line.split()) > 5][:1500]
    vocabulary, random = sorted(set(text.split())), np.random.default_rng(5)
    hard = random.uniform(0, 2, len(lines))
    candidates = {}
    for system, wrong in zip(SYSTEMS, (0.4, 0.2, 0.18, 0.22, 0.16, 1.0)):
        candidates[system] = [
            " ".join(
                vocabulary[random.integers(len(vocabulary))] if random.random() < wrong * much else word
                for word in line.split()
            )
            for line, much in zip(lines, hard if wrong < 1 else np.ones(len(lines)))
        ]
    return lines, candidates


def released(folder):
    """The candidates that the paper's systems gave for its En-De test set."""
    def read(name):
        return (folder / name).read_text(encoding="utf-8").rstrip("\n").split("\n")

    files = {name: f"{name}.memory" if name in ("bm25", "random") else f"{name}.hyps" for name in SYSTEMS}
    return read("refs"), {system: read(file) for system, file in files.items()}


def agreement(grams):
    """What a selector knows that sees no reference: the n-grams that a candidate shares with the others of its pool."""
    sizes = [sum(sum(counts.values()) for counts in one) for one in grams]
    shared = np.zeros((len(grams), len(grams)))
    for a, b in itertools.combinations(range(len(grams)), 2):
        matches = bleu.overlap(grams[a], grams[b])[: bleu.ORDERS].sum()
        shared[a, b] = shared[b, a] = 2 * matches / max(1, sizes[a] + sizes[b])
    return shared.sum(1)


def choose(client, name, scores, candidates):
    """What the server picks of every pool: [pools], numbers of systems."""
    pools = client.create_memory(f"example-selfmem-{name}", 1, value="bytes")
    for row, of_pool in enumerate(scores):
        texts = [candidates[system][row] for system in SYSTEMS]
        pools.insert(np.zeros((len(SYSTEMS), 1), np.float32), texts, ids=np.arange(len(SYSTEMS)), scores=of_pool,
                     partition=row + 1, durability="written")
    numbers = np.arange(1, len(scores) + 1)
    return np.concatenate([pools.select(numbers[i : i + 1000]).ids for i in range(0, len(numbers), 1000)]).astype(int)


def run(client, plot=None, data=None):
    folder = data / "selfmem" if data else None
    told = folder is not None and folder.exists()
    references, candidates = released(folder) if told else stand_in()
    wanted = [bleu.ngrams(bleu.tokens(line)) for line in references]
    grams = [[bleu.ngrams(bleu.tokens(candidates[system][row])) for system in SYSTEMS] for row in range(len(wanted))]
    overlaps = np.array([[bleu.overlap(one, theirs) for one in pool] for pool, theirs in zip(grams, wanted)])
    oracle = np.array([[bleu.sentence(one) for one in pool] for pool in overlaps])
    rows = np.arange(len(references))
    by_oracle = choose(client, "oracle", oracle, candidates)
    by_agreement = choose(client, "agreement", [agreement(pool) for pool in grams], candidates)

    def published(values, number=slice(None)):
        return values[number] if told else None

    quarters = np.argsort(oracle[:, SYSTEMS.index("bm25")], kind="stable")[: len(rows) // 4 * 4].reshape(4, -1)
    dual = overlaps[:, SYSTEMS.index("dual_retrieval")]
    return page.show(
        f"Selfmem: {len(references)} pools of {len(SYSTEMS)} candidates, BLEU; "
        + ("the released outputs, En-De" if told else "generated lines, the released outputs not being there"),
        [
            *[(f"{system} alone", published(ALONE, i), bleu.corpus(overlaps[:, i]))
              for i, system in enumerate(SYSTEMS)],
            ("the server's choice by the oracle's scores (it sees the reference)", published((63.77,), 0),
             bleu.corpus(overlaps[rows, by_oracle])),
            ("same as argmax of the scores", 1.0, float(np.mean(by_oracle == oracle.argmax(1)))),
            *[(f"chosen of {system}", published(CHOSEN, i), int((by_oracle == i).sum()))
              for i, system in enumerate(SYSTEMS)],
            ("the server's choice by agreement (no reference)", None, bleu.corpus(overlaps[rows, by_agreement])),
            *[(f"dual_retrieval, memories of quarter {i + 1}", published(QUARTILES, i), bleu.corpus(dual[quarter]))
              for i, quarter in enumerate(quarters)],
        ],
    )


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, data=options.data)
