"""Token masks over the wire: the published counts, tries that agree with masks, facts in registers, dead ends."""

import json
import re
import unittest

import harness
import mneme
import numpy as np

LEGAL = ["newServerNode", "withIp", "withPort", "build", "toString"]


def by_definition(texts, breaks, legal):
    allowed = []
    for token, text in enumerate(texts):
        if text and any(l.startswith(text) or (text.startswith(l) and text[len(l)] in breaks) for l in legal):
            allowed.append(token)
    return allowed


class TokenMask(harness.SystemTest):
    def small(self):
        texts = [None, *"abcN.( =", "get", "getN", "ame", "Name", "ge", "t(", ").", "é", "set", "getName", "getName("]
        return texts, mneme.masks.break_characters(texts)

    def test_the_published_counts(self):
        path = harness.SHARED / "vocab" / "bpe30k_vocab.json"
        if not path.exists():
            raise unittest.SkipTest("the vocabulary of 30,000 tokens is not there")
        texts = mneme.masks.byte_level_texts(json.loads(path.read_text()), special=range(5))
        self.assertEqual(sum(text is not None for text in texts), 29_851)
        for shards in (1, 4):
            client = self.serve(f"data-{shards}", "--shards", str(shards)).client
            memory = client.create_memory("monitor", 1)
            memory.put_vocabulary("bpe30k", texts, mneme.masks.break_characters(texts))
            memory.put_facts("repo/File.java", "builder.", LEGAL)
            rows = [mneme.Facts("repo/File.java", "builder.", written) for written in ("", "with", "withP", "build")]
            masks = memory.mask_tokens("bpe30k", rows, trie=True)
            self.assertEqual([len(masks.allowed(row)) for row in range(4)], [9, 4, 3, 21_785])
            names = [{texts[token] for token in masks.allowed(row)} for row in range(3)]
            self.assertEqual(names[0], {"b", "bu", "n", "ne", "t", "to", "w", "wi", "with"})
            self.assertEqual((names[1], names[2]), ({"I", "P", "Po", "Por"}, {"o", "or", "ort"}))
            bits = memory.mask_tokens("bpe30k", rows, bitset=True)
            for row in range(4):
                np.testing.assert_array_equal(bits.allowed(row), masks.allowed(row))
            self._decode(memory, masks.tries[0], texts)

    def _decode(self, memory, trie, texts):
        """Greedy decoding of random logits with the trie: 61 of 61 texts are legal identifiers."""
        legal = 0
        for _ in range(61):
            node, text = 0, ""
            while node != mneme.masks.UNCONSTRAINED:
                logits = self.random.normal(size=len(texts))
                allowed = trie.allowed(node)
                token = int(allowed[np.argmax(logits[allowed])])
                text, node = text + texts[token], trie.step(node, token)
            legal += any(re.fullmatch(re.escape(name) + r"\W.*", text, re.S) is not None for name in LEGAL)
        self.assertEqual(legal, 61)

    def test_masks_and_tries_agree_with_the_definition(self):
        texts, breaks = self.small()
        memory = self.serve().client.create_memory("monitor", 1)
        memory.put_vocabulary("small", texts, breaks)
        cases = 10_000 if harness.FULL else 2_000
        rows = []
        for _ in range(cases):
            words = ["".join(self.random.choice(["get", "Name", "a", "b", "é", "set"], 1 + self.random.integers(3)))
                     for _ in range(self.random.integers(4))]
            rows.append((words, words[0][: self.random.integers(len(words[0]) + 1)] if words else ""))
        for start in range(0, cases, 500):
            some = rows[start : start + 500]
            asked = [mneme.Legal(words, written) for words, written in some]
            masks = memory.mask_tokens("small", asked, trie=True)
            for row, (words, written) in enumerate(some):
                rest = [word[len(written) :] for word in words if word.startswith(written)]
                wanted = by_definition(texts, breaks, rest)
                self.assertEqual(masks.allowed(row).tolist(), wanted, (words, written))
                self.assertEqual(bool(masks.dead_ends[row]), not wanted)
                trie = masks.tries[row]
                self.assertEqual(trie.allowed(0).tolist(), wanted)
                node, text = 0, written
                while node != mneme.masks.UNCONSTRAINED and len(trie.allowed(node)):
                    rest = [word[len(text) :] for word in words if word.startswith(text)]
                    self.assertEqual(trie.allowed(node).tolist(), by_definition(texts, breaks, rest), (words, text))
                    token = int(self.random.choice(trie.allowed(node)))
                    text, node = text + texts[token], trie.step(node, token)

    def test_facts_change_and_are_missed(self):
        texts, breaks = self.small()
        server = self.serve()
        memory = server.client.create_memory("monitor", 1)
        with self.assertRaisesRegex(mneme.NotFound, "vocabulary"):
            memory.mask_tokens("small", [mneme.Legal(["a"])])
        memory.put_vocabulary("small", texts, breaks)
        memory.put_facts("repo", "x.", ["set"])
        server.kill()
        server.start()
        memory = server.client.memory("monitor")
        masks = memory.mask_tokens("small", [mneme.Facts("repo", "x."), mneme.Facts("repo", "y.")])
        self.assertEqual((masks.unknown.tolist(), masks.dead_ends.tolist()), ([False, True], [False, True]))
        self.assertEqual([texts[token] for token in masks.allowed(0)], ["set"])
        memory.put_facts("repo", "x.", ["get"])
        self.assertEqual([texts[t] for t in memory.mask_tokens("small", [mneme.Facts("repo", "x.")]).allowed(0)],
                         ["get", "ge"])
        memory.put_vocabulary("small", texts[:10], breaks)
        self.assertEqual(memory.mask_tokens("small", [mneme.Facts("repo", "x.")]).vocabulary_size, 10)
        memory.session("vocabularies").put("bad", b"\xff\xff\xff\xff")
        with self.assertRaisesRegex(mneme.FailedPrecondition, "no vocabulary"):
            memory.mask_tokens("bad", [mneme.Legal(["a"])])
        with self.assertRaisesRegex(mneme.InvalidArgument, "rows"):
            memory.mask_tokens("small", [])


if __name__ == "__main__":
    harness.main()
