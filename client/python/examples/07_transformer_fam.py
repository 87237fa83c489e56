"""TransformerFAM (Hwang et al. 2024): a few feedback activations carry what left the window, block after block.

The server keeps the ring of past blocks and the activations of a session: `session.attend(name, block_index, ...)`.
"""

import numpy as np
import page

WIDTH, TOKENS, RING, SHARP = 64, 16, 3, 24.0


def carry(session, name, blocks, random):
    """Writes a value under a marker in block 0; each later block brings fillers. Returns the cosine of what the FAM
    still says of it, and what tokens of the last block find of it in the ring."""
    marker, value = page.unit(random.normal(size=(2, WIDTH)))
    state = None
    for block in range(blocks + 1):
        keys, values = page.unit(random.normal(size=(TOKENS, WIDTH))), page.unit(random.normal(size=(TOKENS, WIDTH)))
        keys = page.unit(keys - np.outer(keys @ marker, marker))  # fillers say nothing of the marker
        if block == 0:
            keys[0], values[0] = marker, value
        fam = {} if state is None else {"fam_keys": marker[None].astype(np.float32), "fam_values": state}
        _, state = session.attend(
            name, block, marker[None].repeat(TOKENS, 0).astype(np.float32), keys.astype(np.float32),
            values.astype(np.float32), fam_queries=marker[None].astype(np.float32), scale=SHARP, ring_blocks=RING,
            **fam,
        ).value
        state = state.astype(np.float32)
    return float(page.unit(state)[0] @ value)


def run(client, plot=None):
    session = client.create_memory("example-fam", 1).session("story", durability="written")
    golden = {
        "queries": [(1, 1), (2, 0)], "keys": [(1, 0), (0, 1)], "values": [(1, 0), (0, 1)], "fam_queries": [(1, -1)],
        "scale": 1 / np.sqrt(2), "ring_blocks": 1,
    }
    arrays = {name: np.array(each, np.float32) if isinstance(each, list) else each for name, each in golden.items()}
    first, first_fam = session.attend("golden", 0, **arrays).value
    # One entry in the ring and a FAM, as the published example has them.
    one = {**arrays, **{name: np.array([row], np.float32) for name, row in
                        (("queries", (1, 1)), ("keys", (-1, 0)), ("values", (3, 3)), ("fam_queries", (1, -1)))}}
    session.attend("published", 0, **one)
    fam = {"fam_keys": np.array([(0.5, 0.5)], np.float32), "fam_values": np.array([(0.25, 0.75)], np.float32)}
    tokens, activations = session.attend("published", 1, **arrays, **fam).value
    rows = [
        ("A[0][0]", 0.882410697989, tokens[0][0]), ("A[0][1]", 0.659506560935, tokens[0][1]),
        ("A[1][0]", 0.724442047360, tokens[1][0]), ("A[1][1]", 0.440171212792, tokens[1][1]),
        ("A^F[0]", 0.646974197651, activations[0][0]), ("A^F[1]", 0.353025802349, activations[0][1]),
        ("first block: A[1][0]", 0.804429682507, first[1][0]), ("first block: A^F[0]", 0.804429682507, first_fam[0][0]),
    ]
    random = np.random.default_rng(7)
    for blocks, published in ((2, 1.0), (8, 1.0), (64, 0.999999), (260, 0.999995)):
        rows.append((f"cosine after {blocks} blocks", published, carry(session, f"carry-{blocks}", blocks, random)))
    return page.show("TransformerFAM", [(name, float(wanted), float(got)) for name, wanted, got in rows])


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
