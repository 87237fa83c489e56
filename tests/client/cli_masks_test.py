"""Token masks by hand: facts, vocabularies and what may come next; the published counts."""

import json
import unittest

import numpy as np
from cli_harness import SHARED, CliTest

LEGAL = ["newServerNode", "withIp", "withPort", "build", "toString"]
WRITTEN = [part for written in ("", "with", "withP", "build") for part in ("--written", written)]
# GPT-2's letters: a space is written as Ġ, a line break as Ċ; ÃŁ are the two bytes of one letter, Ã half of one.
TOKENS = ["<pad>", "get", "getN", "Name", "(", "Ġ(", ").Ċ", "ÃŁ", "Ã", "_x", "getName("]
SMALL = {token: number for number, token in enumerate(TOKENS)}


def allowed(texts, breaks, legal, written):
    """The definition."""
    rest = [each[len(written):] for each in legal if each.startswith(written)]
    return [token for token, text in enumerate(texts)
            if text and any(l.startswith(text) or (text.startswith(l) and text[len(l)] in breaks) for l in rest)]


class Masks(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cli("create", "code", "--dim", 1, "--metric", "l2", "--value", "token")

    def put_small(self, *more):
        path = self.folder / "small.json"
        path.write_text(json.dumps(SMALL))
        return self.cli("vocabulary", "put", "code", "small", "--json", path, "--byte-level", "--special", 0, *more)

    def mask(self, *arguments):
        return self.cli("mask", "code", "--vocabulary", *arguments)

    def test_the_published_counts(self):
        path, texts = SHARED / "vocab" / "bpe30k_vocab.json", None
        special = ["--byte-level", "--special", "0-4"]
        if not path.exists():
            # A stand-in that the definition answers: all parts of the names, and pairs of all printable bytes.
            names = [name[at:end] for name in LEGAL for end in range(1, len(name) + 1) for at in range(end)]
            printable = [chr(byte) for byte in range(33, 127)]
            tokens = sorted({*names, *printable, *(a + b for a in printable for b in printable)})
            texts, special = tokens, []
            path = self.folder / "vocab.json"
            path.write_text(json.dumps(tokens))
        put = self.cli("vocabulary", "put", "code", "bpe", "--json", path, *special)
        self.cli("facts", "put", "code", "repo/File.java", "builder.", *LEGAL)
        rows = self.mask("bpe", "--facts", "repo/File.java", "builder.", *WRITTEN, "--texts")["rows"]
        self.assertEqual([row["written"] for row in rows], ["", "with", "withP", "build"])
        if texts is None:
            self.assertEqual(put["with_text"], 29_851)
            self.assertEqual([len(row["tokens"]) for row in rows], [9, 4, 3, 21_785])
            self.assertEqual(set(rows[0]["texts"]), {"b", "bu", "n", "ne", "t", "to", "w", "wi", "with"})
            self.assertEqual(set(rows[1]["texts"]), {"I", "P", "Po", "Por"})
            self.assertEqual(set(rows[2]["texts"]), {"o", "or", "ort"})
        else:
            for row in rows:
                self.assertEqual(row["tokens"], allowed(texts, put["break_characters"], LEGAL, row["written"]))
                self.assertGreater(len(row["tokens"]), 2)

    def test_a_byte_level_vocabulary_reads_as_text(self):
        self.assertEqual(self.put_small(), {"found": False, "version": 1, "tokens": 11, "with_text": 9,
                                            "break_characters": "\n ()."})
        self.assertEqual(self.cli("vocabulary", "get", "code", "small"),
                         {"tokens": 11, "with_text": 9, "break_characters": "\n ()."})
        texts = [None, "get", "getN", "Name", "(", " (", ").\n", "ß", None, "_x", "getName("]
        for written in ("", "get", "getName"):
            legal = ["--string", "getName", "--string", "ß"]
            (row,) = self.mask("small", *legal, "--written", written, "--texts")["rows"]
            self.assertEqual(row["tokens"], allowed(texts, "\n ().", ["getName", "ß"], written))
            self.assertEqual(row["texts"], [texts[token] for token in row["tokens"]])
        self.assertIn('after "getName": 3 tokens: (  ( ).\\n\n',
                      self.text("mask", "code", "--vocabulary", "small", "--string", "getName", "--written", "getName"))

    def test_bits_and_tries_say_the_same_as_the_list(self):
        self.put_small()
        ask = ["small", "--string", "getName", "--written", "", "--written", "getName"]
        rows = self.mask(*ask, "--trie")["rows"]
        again = self.mask(*ask, "--bitset", self.at("bits"))["rows"]
        bits = np.unpackbits(np.load(self.at("bits")), axis=1, count=11, bitorder="little")
        for row in range(2):
            self.assertEqual(again[row]["tokens"], rows[row]["tokens"])
            self.assertEqual(np.flatnonzero(bits[row]).tolist(), rows[row]["tokens"])
        trie = rows[0]["trie"]
        # By "get", then "Name", one stands where the whole name is written.
        node = 0
        for token in (1, 3):
            at = trie["tokens"].index(token, trie["offsets"][node], trie["offsets"][node + 1])
            node = trie["children"][at]
        here = slice(trie["offsets"][node], trie["offsets"][node + 1])
        self.assertEqual(trie["tokens"][here], rows[1]["tokens"])
        self.assertEqual(set(trie["children"][here]), {None})

    def test_texts_a_line_each_and_break_characters_of_ones_own(self):
        (self.folder / "texts.txt").write_text("get\n\nName\n-\n+\n")
        put = ["vocabulary", "put", "code", "lines", "--texts", self.folder / "texts.txt"]
        self.assertEqual(self.cli(*put)["break_characters"], "+-")
        self.assertEqual(self.mask("lines", "--string", "get", "--written", "get")["rows"][0]["tokens"], [3, 4])
        self.cli(*put, "--break-characters", "+")
        self.assertEqual(self.mask("lines", "--string", "get", "--written", "get")["rows"][0]["tokens"], [4])
        self.assertIn("break characters  +", self.text("vocabulary", "get", "code", "lines"))

    def test_facts_are_written_and_read(self):
        (self.folder / "more.txt").write_text("withPort\nbuild\n")
        put = self.cli("facts", "put", "code", "file", "x.", "withIp", "--file", self.folder / "more.txt")
        self.assertEqual(put, {"found": False, "version": 1, "strings": 3})
        self.assertEqual(self.cli("facts", "get", "code", "file", "x."),
                         {"found": True, "version": 1, "strings": ["withIp", "withPort", "build"]})
        self.assertEqual(self.text("facts", "get", "code", "file", "x."), "withIp\nwithPort\nbuild\n")

    def test_dead_ends_and_unknown_facts_are_told(self):
        self.put_small()
        (row,) = self.mask("small", "--facts", "file", "nowhere.")["rows"]
        self.assertEqual((row["tokens"], row["dead_end"], row["unknown"]), ([], True, True))
        (row,) = self.mask("small", "--string", "getName", "--written", "set")["rows"]
        self.assertEqual((row["tokens"], row["dead_end"], row["unknown"]), ([], True, False))

    def test_what_is_wrong_names_flag_value_and_bound(self):
        (self.folder / "bad.json").write_text('{"a": -1}')
        put = ["vocabulary", "put", "code", "bad"]
        self.fails(2, "--json or --texts", *put)
        bad = ["--json", self.folder / "bad.json"]
        self.fails(1, 'bad.json: the id of "a" is -1; must be in [0, 16777216)', *put, *bad)
        (self.folder / "bad.json").write_text("3")
        self.fails(1, "bad.json: is neither a JSON object nor a list", *put, *bad)
        (self.folder / "bad.json").write_text('["a", "b"]')
        self.fails(2, '--special is "1-2"; must be an id below 2', *put, *bad, "--special", "1-2")
        self.fails(2, "--byte-level", *put, "--texts", self.folder / "bad.json", "--byte-level")
        self.fails(2, "facts put needs legal strings", "facts", "put", "code", "s", "n")
        self.fails(1, 'the string "" is empty or holds a line break', "facts", "put", "code", "s", "n", "")
        self.fails(2, "--string and --strings, or --facts", "mask", "code", "--vocabulary", "small")
        self.fails(2, "--string and --strings, or --facts", "mask", "code", "--vocabulary", "small", "--string", "a",
                   "--facts", "s", "n")
        self.fails(64 + 5, "nowhere", "mask", "code", "--vocabulary", "nowhere", "--string", "a")
        self.fails(1, 'memory "code" has no vocabulary "nowhere"', "vocabulary", "get", "code", "nowhere")


if __name__ == "__main__":
    unittest.main(verbosity=1)
