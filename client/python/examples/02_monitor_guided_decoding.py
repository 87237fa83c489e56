"""Monitor-guided decoding (Agrawal et al. 2023): a static analysis says what may follow a dot, the mask enforces it.

Facts and the tokenizer's vocabulary live in the server; one call where the dot was written returns a trie of tokens,
and the model masks with it until the identifier ends:
`memory.mask_tokens(vocabulary, [Facts(file, cursor)], trie=True)`.
"""

import json
import re

import numpy as np
import page

from mneme import Facts, masks

LEGAL = ["newServerNode", "withIp", "withPort", "build", "toString"]


def stand_in():
    """Single characters and the pieces of words, for where no real vocabulary is at hand."""
    pieces = {name[i:j] for name in [*LEGAL, "other", "Client"] for i in range(len(name)) for j in range(i + 1, i + 5)}
    return [None, *sorted(pieces | set("().,;=+- \n") | {"();", ").", " = "})]


def run(client, plot=None, data=None):
    path = data / "vocab" / "bpe30k_vocab.json" if data else None
    real = path is not None and path.exists()
    texts = masks.byte_level_texts(json.loads(path.read_text()), range(5)) if real else stand_in()
    breaks = masks.break_characters(texts)
    memory = client.create_memory("example-monitor", 1)
    memory.put_vocabulary("tokenizer", texts, breaks)
    memory.put_facts("repo/Server.java", "builder.", LEGAL)
    states = ["", "with", "withP", "build"]
    asked = [Facts("repo/Server.java", "builder.", written) for written in states]
    got = memory.mask_tokens("tokenizer", asked, trie=True)
    rows = [
        (f'allowed after "{state}"', count if real else None, len(got.allowed(row)))
        for row, (state, count) in enumerate(zip(states, (9, 4, 3, 21785)))
    ]
    random, trie, legal, compatible = np.random.default_rng(2), got.tries[0], 0, 0
    for _ in range(61):
        node, text, first = 0, "", True
        while node != masks.UNCONSTRAINED:
            logits, allowed = random.normal(size=len(texts)), trie.allowed(node)
            compatible += int(first and int(np.argmax(logits)) in allowed)
            first = False
            token = int(allowed[np.argmax(logits[allowed])])
            text, node = text + texts[token], trie.step(node, token)
        legal += any(re.fullmatch(re.escape(name) + r"\W.*", text, re.S) is not None for name in LEGAL)
    rows += [("of 61 random decodings, legal with the mask", 61, legal),
             ("of 61, first token compatible without it", 0 if real else None, compatible)]
    return page.show("Monitor-guided decoding", rows)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served, data=options.data)
