"""Infini-attention (Munkhdalai et al. 2024): all of the past in one matrix, read and written segment by segment.

`session.linear(name, keys, values, queries, rule="linear" or "delta")` reads before it writes; the state stays the same
few bytes, here 32 x 10 numbers and a sum of 32, after a hundred thousand tokens.
"""

import numpy as np
import page

KEY, DIGITS, FAR = 32, 10, -40.0  # sigma(-40) is nothing: what lies there is not mixed with the rest


def passkey(session, name, fillers, random, digits=(7, 1, 3, 3, 9)):
    """Writes five digits, then fillers; returns what is read back."""
    places = np.full((len(digits), KEY), FAR, np.float32)
    places[np.arange(len(digits)), np.arange(len(digits))] = 3
    session.linear(name, places, np.eye(DIGITS, dtype=np.float32)[list(digits)])
    for start in range(0, fillers, 10_000):
        count = min(10_000, fillers - start)
        keys = np.full((count, KEY), FAR, np.float32)
        keys[:, len(digits) :] = random.normal(size=(count, KEY - len(digits)))
        session.linear(name, keys, random.random((count, DIGITS)).astype(np.float32))
    return session.linear(name, queries=places).value.argmax(1).tolist()


def worst_recall(session, rule, count=64, segment=8):
    """How far off the values are that `count` nearly orthogonal keys read back, written segment by segment.

    Under "delta" far: a key that was never written reads the mean of the others, and that is taken off its value.
    """
    keys = np.where(np.eye(count), 3, -20).astype(np.float32)
    values = np.random.default_rng(0).normal(size=(count, 8)).astype(np.float32)
    for start in range(0, count, segment):
        session.linear(f"recall-{rule}", keys[start : start + segment], values[start : start + segment], rule=rule)
    return float(np.abs(session.linear(f"recall-{rule}", queries=keys).value - values).max())


def run(client, plot=None):
    session = client.create_memory("example-infini", 1).session("story", durability="written")
    keys, values = np.array([(1, 0), (0, -1)], np.float32), np.array([(1, 2), (3, 4)], np.float32)
    query, again = np.array([(0.5, -0.5)], np.float32), np.array([(1, 0)], np.float32)
    rows = []
    for rule, after in (("linear", 3.0), ("delta", 2.3358775094)):
        session.linear(rule, keys, values, rule=rule)
        state = session.linear_state(rule)
        read = session.linear(rule, queries=query).value[0]
        session.linear(rule, again, np.array([(5, 6)], np.float32), rule=rule)
        read_again = session.linear(rule, queries=again).value[0]
        rows += [(f"{rule}: M[1][0]", 2.1036383235, state.matrix[1, 0]),
                 (f"{rule}: z[1]", 1.3678794412, state.normaliser[1]),
                 (f"{rule}: read", 1.6466190695, read[0]),
                 (f"{rule}: read (1, 0) after (1, 0) -> (5, 6)", after, read_again[0])]
    session.linear("halves", again, np.array([(5, 6)], np.float32), rule="delta")
    session.linear("halves", again, np.array([(5, 6)], np.float32), rule="delta")
    halved = session.linear("halves", queries=again).value[0]
    rows += [("delta, the same written twice: half is read", 2.5, halved[0])]
    rows += [("64 keys, linear: off by at most", 1.66e-7, worst_recall(session, "linear")),
             ("64 keys, delta: off by at most", 0.535, worst_recall(session, "delta"))]
    random = np.random.default_rng(8)
    for fillers in (1_000, 10_000, 100_000):
        got = passkey(session, f"passkey-{fillers}", fillers, random)
        rows.append((f"passkey after {fillers} fillers", "7,1,3,3,9", ",".join(map(str, got))))
    state = session.linear_state("passkey-100000")
    rows.append(("bytes of the state", 2816, state.matrix.nbytes + state.normaliser.nbytes))
    return page.show("Infini-attention", [(name, want, float(got) if isinstance(got, np.floating) else got)
                                          for name, want, got in rows])


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
