"""The real `mneme` against the real server: every verb's form, its JSON, its errors and its exit codes."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import unittest

import numpy as np
from cli_harness import BIN, SEED, CliTest, run, start_server

DIM, ROWS, VOCABULARY = 16, 3000, 50


class WikiTest(CliTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        random = np.random.default_rng(SEED)
        cls.keys = random.standard_normal((ROWS, DIM)).astype(np.float16)
        cls.tokens = random.integers(0, VOCABULARY, ROWS).astype(np.int32)
        cls.sources = (np.arange(ROWS) // 100).astype(np.uint8)
        cls.queries = random.standard_normal((300, DIM)).astype(np.float32)
        # Half of them are what the nearest neighbour says, so that the memory is of use.
        cls.targets = random.integers(0, VOCABULARY, 300).astype(np.int64)
        for row in range(0, 300, 2):
            cls.targets[row] = cls.tokens[cls.nearest(cls, cls.queries[row], 1)[0][0]]
        cls.lm = np.log(random.uniform(0.01, 0.1, 300)).astype(np.float32)
        for name in ("keys", "tokens", "sources", "queries", "targets", "lm"):
            np.save(cls.folder / f"{name}.npy", getattr(cls, name))
        cls.create("wiki")
        cls.cli("import", "wiki", "--keys", cls.at("keys"), "--values", cls.at("tokens"),
                "--sources", cls.at("sources"))

    @classmethod
    def create(cls, name, *more):
        return cls.cli("create", name, "--dim", DIM, "--metric", "l2", "--value", "token", "--vocab-size", VOCABULARY,
                       "--key-dtype", "f16", *more)

    def nearest(self, query, k, rows=None):
        """The oracle: (id, squared distance) by brute force."""
        rows = np.arange(ROWS) if rows is None else rows
        distance = ((self.keys[rows].astype(np.float64) - query.astype(np.float64)) ** 2).sum(axis=1)
        order = np.lexsort((rows, distance))[:k]
        return rows[order], distance[order]


class Questions(WikiTest):
    def test_query_finds_what_brute_force_finds(self):
        answer = self.cli("query", "wiki", "--keys", self.at("queries"), "-k", 7, "--exact")
        self.assertEqual(list(answer), ["queries"])
        self.assertEqual(len(answer["queries"]), 300)
        for query, got in zip(self.queries, answer["queries"]):
            ids, distances = self.nearest(query, 7)
            self.assertEqual(list(got), ["ids", "distances", "values"])
            self.assertEqual(got["ids"], ids.tolist())
            np.testing.assert_allclose(got["distances"], distances, rtol=1e-12)
            self.assertEqual(got["values"], self.tokens[ids].tolist())

    def test_filters_apply_before_the_nearest_are_chosen(self):
        answer = self.cli("query", "wiki", "--keys", self.at("queries"), "-k", 5,
                          "--exact", "--source", 3, "--source", 4)
        for query, got in zip(self.queries, answer["queries"]):
            self.assertEqual(got["ids"], self.nearest(query, 5, np.arange(300, 500))[0].tolist())
        answer = self.cli("query", "wiki", "--keys", self.at("queries"), "-k", 5, "--exact", "--exclude-source", 0)
        for query, got in zip(self.queries, answer["queries"]):
            self.assertEqual(got["ids"], self.nearest(query, 5, np.arange(100, ROWS))[0].tolist())

    def test_a_fingerprint_is_compared_by_every_verb_that_presents_one(self):
        self.create("printed", "--fingerprint", "model=gpt2,layer=h.11")
        entries = ["--keys", self.at("keys"), "--values", self.at("tokens")]
        grid = ["--keys", self.at("queries"), "--targets", self.at("targets"), "--lm-logprobs", self.at("lm"),
                "-k", 4, "--temperature", 1, "--lambda", 0.5]
        verbs = [["import", "printed", *entries], ["query", "printed", "--keys", self.at("queries"), "-k", 4],
                 ["distribution", "printed", "--keys", self.at("queries")], ["evaluate", "printed", *grid],
                 ["evaluate", "printed", *grid, "--online"]]
        for verb in verbs:
            self.fails(64 + 9, "gpt3", *verb, "--fingerprint", "model=gpt3")
            self.fails(2, "NAME=VALUE of model, revision", *verb, "--fingerprint", "modle=gpt2")
        self.assertEqual(self.cli("info", "printed")["entries"], 0)
        for verb in verbs:
            self.cli(*verb, "--fingerprint", "model=gpt2")

    def test_nothing_found_is_one_note_and_no_lines(self):
        self.create("nothing")
        for verb in ("query", "distribution"):
            ask = ["--server", self.address, verb, "wiki", "--keys", self.at("queries"), "-k", 3]
            done = run(*ask, "--source", 99)
            self.assertEqual((done.stdout, done.stderr), ("", "no entry matches the filter\n"))
            done = run(*ask, "--source", 99, "-o", "json")
            self.assertEqual(done.stderr, "no entry matches the filter\n")
            self.assertEqual(len(json.loads(done.stdout)["queries"]), 300)
            self.assertIn("there is none", run(*ask[:3], "nothing", *ask[4:]).stderr)
            # Some find something: then every query has its line.
            np.save(self.folder / "mostly.npy", np.where(np.arange(300) == 299, 0, 7))
            some = run(*ask, "--source", 7, "--exclude-sources", self.folder / "mostly.npy")
            self.assertIn("query 0: 0 ", some.stdout)
            self.assertIn("query 299: 3 ", some.stdout)

    def test_query_shows_text_for_people(self):
        (self.folder / "vocab.txt").write_text("\n".join(f"word{i}" for i in range(VOCABULARY)))
        text = self.text("query", "wiki", "--keys", self.at("queries"), "-k", 2, "--vocab", self.folder / "vocab.txt")
        self.assertIn("DISTANCE", text)
        self.assertIn("word", text)
        for metric in ("ip", "cosine"):
            self.cli("create", f"by-{metric}", "--dim", DIM, "--metric", metric, "--value", "token")
            self.cli("import", f"by-{metric}", "--keys", self.at("keys"), "--values", self.at("tokens"))
            asked = ["query", f"by-{metric}", "--keys", self.at("queries"), "-k", 2]
            self.assertIn("SIMILARITY", self.text(*asked))
            self.assertNotIn("DISTANCE", self.text(*asked))
            self.assertIn("distances", self.cli(*asked)["queries"][0])

    def test_statistics_say_what_was_searched(self):
        answer = self.cli("query", "wiki", "--keys", self.at("queries"), "-k", 2, "--exact", "--statistics")
        self.assertTrue(answer["statistics"]["exact"])
        self.assertEqual(answer["statistics"]["rows_total"], ROWS)
        self.assertEqual(answer["statistics"]["shards_answered"], 2)

    def test_an_answer_that_may_lack_shards_is_whole_where_none_is_away(self):
        asked = ["--keys", self.at("queries"), "-k", 2, "--exact"]
        may_lack = run("--server", self.address, "query", "wiki", *asked, "--allow-partial", "-o", "json")
        self.assertEqual(json.loads(may_lack.stdout), self.cli("query", "wiki", *asked))
        self.assertEqual(may_lack.stderr, "")

    def test_distribution_is_the_softmax_of_the_neighbours(self):
        answer = self.cli("distribution", "wiki", "--keys", self.at("queries"), "-k", 20, "--temperature", 3, "--exact")
        for query, got in zip(self.queries, answer["queries"]):
            self.assertEqual(list(got), ["tokens", "probs", "found"])
            ids, distances = self.nearest(query, 20)
            weights = np.exp(-(distances - distances.min()) / 3)
            expected = np.zeros(VOCABULARY)
            np.add.at(expected, self.tokens[ids], weights / weights.sum())
            self.assertEqual(got["found"], 20)
            np.testing.assert_allclose(got["probs"], expected[got["tokens"]], rtol=1e-9)
            self.assertAlmostEqual(sum(got["probs"]), 1, places=9)
            self.assertEqual(got["probs"], sorted(got["probs"], reverse=True))
        top = self.cli("distribution", "wiki", "--keys", self.at("queries"), "-k", 20, "--exact", "--top", 3)
        self.assertTrue(all(len(got["tokens"]) <= 3 for got in top["queries"]))
        np.save(self.folder / "allowed.npy", np.arange(0, VOCABULARY, 2))
        even = self.cli("distribution", "wiki", "--keys", self.at("queries"), "-k", 20, "--temperature", 3, "--exact",
                        "--allowed", self.folder / "allowed.npy")
        np.save(self.folder / "none.npy", np.zeros(0, np.int64))
        self.fails(1, "has no tokens", "distribution", "wiki", "--keys", self.at("queries"), "--allowed",
                   self.folder / "none.npy")
        for got, all_tokens in zip(even["queries"], answer["queries"]):
            want = {t: p for t, p in zip(all_tokens["tokens"], all_tokens["probs"]) if t % 2 == 0}
            self.assertEqual(set(got["tokens"]), set(want))
            for token, p in zip(got["tokens"], got["probs"]):
                self.assertAlmostEqual(p, want[token] / sum(want.values()), places=9)

    def test_distribution_mixes_the_model_in(self):
        ask = ("distribution", "wiki", "--keys", self.at("queries"), "-k", 20, "--temperature", 3, "--exact")
        alone = np.zeros((len(self.queries), VOCABULARY))
        for row, got in enumerate(self.cli(*ask)["queries"]):
            alone[row, got["tokens"]] = got["probs"]
        model = np.random.default_rng(3).dirichlet(np.ones(VOCABULARY), len(self.queries))
        log_probs, targets = np.log(model).astype(np.float32), np.arange(len(self.queries)) * 7 % VOCABULARY
        np.save(self.folder / "model.npy", log_probs)
        np.save(self.folder / "asked.npy", targets)
        np.save(self.folder / "lm_asked.npy", log_probs[np.arange(len(targets)), targets])
        want = 0.3 * alone + 0.7 * np.exp(log_probs.astype(np.float64))
        mixed = self.cli(*ask, "--lm-logprobs", self.folder / "model.npy", "--knn-weight", 0.3)["queries"]
        for row, got in enumerate(mixed):
            np.testing.assert_allclose(got["probs"], want[row, got["tokens"]], rtol=1e-9)
        one = self.cli(*ask, "--targets", self.folder / "asked.npy")["queries"]
        both = self.cli(*ask, "--targets", self.folder / "asked.npy", "--lm-logprobs", self.folder / "lm_asked.npy",
                        "--knn-weight", 0.3)["queries"]
        for row, (got, got_mixed) in enumerate(zip(one, both)):
            self.assertEqual((got["target"], got["found"]), (targets[row], 20))
            p = alone[row, targets[row]]
            self.assertEqual(got["log_prob"] is None, p == 0)
            if p > 0:
                self.assertAlmostEqual(got["log_prob"], np.log(p), places=9)
            self.assertAlmostEqual(got_mixed["log_prob"], np.log(want[row, targets[row]]), places=9)
        self.fails(2, "give both, or none", *ask, "--knn-weight", 0.3)
        self.fails(1, "queries x vocabulary", *ask, "--lm-logprobs", self.folder / "lm_asked.npy", "--knn-weight", 0.3)
        np.save(self.folder / "lm_asked.npy", -log_probs[:, 0])
        self.fails(1, "at most 0", *ask, "--targets", self.folder / "asked.npy", "--lm-logprobs",
                   self.folder / "lm_asked.npy", "--knn-weight", 0.3)

    def knn(self, row, k, temperature, rows=None):
        """ln p_kNN of the target, or None without entries."""
        ids, distances = self.nearest(self.queries[row], k, rows)
        if len(ids) == 0:
            return None
        weights = np.exp(-(distances - distances.min()) / temperature)
        return weights[self.tokens[ids] == self.targets[row]].sum() / weights.sum()

    def grid(self, name, *more):
        return self.cli("evaluate", name, "--keys", self.at("queries"), "--targets", self.at("targets"),
                        "--lm-logprobs", self.at("lm"), "-k", "64,8", "--temperature", "0.5,5",
                        "--lambda", "0,0.25,0.5", "--exact", *more)

    def check_mixed(self, got, knn):
        """A perplexity against the definition, p = lambda p_kNN + (1 - lambda) p_LM."""
        lm = np.exp(self.lm.astype(np.float64))
        mixed = [l if p is None else got["lambda"] * p + (1 - got["lambda"]) * l for l, p in zip(lm, knn)]
        self.assertAlmostEqual(got["perplexity"] / np.exp(-np.log(mixed).mean()), 1, delta=1e-9)
        return np.log(mixed)

    def test_evaluate_serves_the_whole_grid(self):
        report = self.grid("wiki", "--out", self.folder / "nats.npy")
        self.assertEqual(list(report),
                         ["tokens", "perplexity_lm", "perplexity", "best_on_first_half", "tokens_per_second"])
        self.assertEqual(report["tokens"], 300)
        self.assertAlmostEqual(report["perplexity_lm"] / np.exp(-self.lm.astype(np.float64).mean()), 1, delta=1e-12)
        self.assertEqual(len(report["perplexity"]), 2 * 2 * 3)
        nats = []
        for got in report["perplexity"]:
            self.assertEqual(list(got), ["k", "temperature", "lambda", "perplexity"])
            knn = [self.knn(row, got["k"], got["temperature"]) for row in range(300)]
            nats.append((got, self.check_mixed(got, knn)))
        best = min(nats, key=lambda pair: pair[0]["perplexity"])
        self.assertGreater(best[0]["lambda"], 0)
        np.testing.assert_allclose(np.load(self.folder / "nats.npy"), best[1], rtol=1e-9)
        chosen = min(nats, key=lambda pair: np.exp(-pair[1][:150].mean()))
        best = report["best_on_first_half"]
        self.assertEqual([best[f] for f in ("k", "temperature", "lambda")],
                         [chosen[0][f] for f in ("k", "temperature", "lambda")])
        self.assertAlmostEqual(best["perplexity"] / np.exp(-chosen[1][150:].mean()), 1, delta=1e-9)

    def test_evaluate_online_predicts_then_learns(self):
        self.create("online")
        np.save(self.folder / "docs.npy", np.arange(300) // 10)
        report = self.grid("online", "--online", "--sources", self.folder / "docs.npy")
        seen_keys = self.queries.astype(np.float16).astype(np.float64)
        for got in report["perplexity"]:
            knn = [None]
            for row in range(1, 300):
                distance = ((seen_keys[:row] - self.queries[row].astype(np.float64)) ** 2).sum(axis=1)
                order = np.lexsort((np.arange(row), distance))[: got["k"]]
                weights = np.exp(-(distance[order] - distance[order].min()) / got["temperature"])
                knn.append(weights[self.targets[order] == self.targets[row]].sum() / weights.sum())
            self.check_mixed(got, knn)
        entries = self.cli("get", "online", "--id", 0, "--id", 299, "--with-keys")["entries"]
        self.assertEqual([entry["value"] for entry in entries], self.targets[[0, 299]].tolist())
        self.assertEqual([entry["source"] for entry in entries], [0, 29])
        np.testing.assert_array_equal(np.float16(entries[1]["key"]), self.queries[299].astype(np.float16))
        # Once more on top: ids go on after the largest, however few entries there are.
        self.cli("delete", "online", "--source", 0, "--source", 1)
        done = run("--server", self.address, "evaluate", "online", "--keys", self.at("queries"), "--targets",
                   self.at("targets"), "--lm-logprobs", self.at("lm"), "-k", 8, "--temperature", 1, "--lambda", 0.5,
                   "--online")
        self.assertIn("the memory is not empty: it may hold this very text", done.stderr)
        self.assertNotIn("warning", done.stderr)
        self.assertEqual(self.cli("info", "online")["entries"], 580)
        self.assertEqual(len(self.cli("get", "online", "--id", 300, "--id", 599)["entries"]), 2)
        done = run("--server", self.address, "evaluate", "online", "--keys", self.at("queries"), "--targets",
                   self.at("targets"), "--lm-logprobs", self.at("lm"), "-k", 8, "--temperature", 1, "--lambda", 0.5,
                   "--online", "--first-id", 300)
        self.assertIn("warning: ids from 300 on replace stored entries of the same ids; from 600 on", done.stderr)
        self.grid("online", "--online")
        self.assertEqual(self.cli("info", "online")["entries"], 880)
        self.assertGreater(self.cli("stats", "online")["benefit"]["tokens"], 0)


class Entries(WikiTest):
    def test_import_again_is_idempotent_by_id(self):
        self.create("twice")
        files = ["--keys", self.at("keys"), "--values", self.at("tokens")]
        first = self.cli("import", "twice", *files)
        self.assertEqual((first["inserted"], first["replaced"]), (ROWS, 0))
        self.assertEqual(self.cli("import", "twice", *files)["replaced"], ROWS)
        self.assertEqual(self.cli("info", "twice")["entries"], ROWS)

    def test_import_appends_after_the_largest_id_and_warns_of_what_it_replaced(self):
        self.create("appended")
        files = ["--keys", self.at("keys"), "--values", self.at("tokens")]
        np.save(self.folder / "far.npy", np.arange(ROWS) * 5)
        self.cli("import", "appended", *files, "--ids", self.folder / "far.npy")
        appended = run("--server", self.address, "import", "appended", *files, "--first-id", "append")
        self.assertNotIn("warning", appended.stderr)
        self.assertEqual(self.cli("info", "appended")["entries"], 2 * ROWS)
        first = (ROWS - 1) * 5 + 1
        entries = self.cli("get", "appended", "--id", first, "--id", first + ROWS - 1)["entries"]
        self.assertEqual([entry["value"] for entry in entries], self.tokens[[0, -1]].tolist())
        replaced = run("--server", self.address, "import", "appended", *files, "--first-id", first, "-o", "json")
        self.assertEqual(json.loads(replaced.stdout)["replaced"], ROWS)
        self.assertIn("warning: 3,000 rows replaced an entry of the same id; --first-id append", replaced.stderr)
        self.fails(2, "append", "import", "appended", *files, "--first-id", "last")
        self.fails(2, "2^62", "import", "appended", *files, "--first-id", 2**62 - 5)
        self.fails(2, "--first-id", "import", "appended", *files, "--first-id", 1, "--ids", self.folder / "far.npy")

    def test_an_error_of_a_batch_names_file_and_row(self):
        self.create("torn")
        rows = 4 * 4096 + 77
        keys = np.tile(self.keys, (rows // ROWS + 1, 1))[:rows]
        weights = np.ones(rows, np.float32)
        weights[9_000] = -1
        keys[rows - 9, 2] = np.nan
        np.save(self.folder / "torn.npy", keys)
        np.save(self.folder / "torn_tokens.npy", np.tile(self.tokens, rows // ROWS + 1)[:rows])
        np.save(self.folder / "torn_weights.npy", weights)
        command = ["--server", self.address, "import", "torn", "--keys", self.folder / "torn.npy", "--values",
                   self.folder / "torn_tokens.npy"]
        for more, what in (([], f"torn.npy row {rows - 9} has a NaN at component 2"),
                           (["--weights", self.folder / "torn_weights.npy"], "torn_weights.npy row 9000 must be")):
            done = run(*command, *more, check=False)
            self.assertEqual(done.returncode, 64 + 3)
            self.assertIn(f"error: {self.folder}/{what}", done.stderr)
            self.assertIn("stopped after ", done.stderr)
            self.assertNotIn("--resume", done.stderr)

    def test_import_takes_every_integer_dtype(self):
        for dtype in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"):
            self.create(f"dtype-{dtype}")
            np.save(self.folder / "typed.npy", self.tokens.astype(dtype))
            self.cli("import", f"dtype-{dtype}", "--keys", self.at("keys"), "--values", self.folder / "typed.npy")
            entries = self.cli("get", f"dtype-{dtype}", "--id", 17, "--id", ROWS - 1)["entries"]
            self.assertEqual([e["value"] for e in entries], self.tokens[[17, ROWS - 1]].tolist())

    def test_import_takes_headerless_memmaps_and_a_missing_magic_names_that_form(self):
        self.create("raw")
        self.keys.tofile(self.folder / "raw_keys")
        self.tokens.tofile(self.folder / "raw_values")
        raw = ["--keys", self.folder / "raw_keys", "--values", self.folder / "raw_values"]
        self.fails(1, "--raw --dtype f16", "import", "raw", *raw)
        self.fails(2, "--values-dtype", "import", "raw", "--raw", *raw)
        self.cli("import", "raw", "--raw", "--dtype", "f16", "--dim", DIM, *raw, "--values-dtype", "i32")
        want = self.cli("query", "wiki", "--keys", self.at("queries"), "-k", 5, "--exact")
        self.assertEqual(self.cli("query", "raw", "--keys", self.at("queries"), "-k", 5, "--exact"), want)

    def test_a_bad_token_is_told_by_its_row_and_nothing_is_imported(self):
        self.create("checked")
        for row, value in ((2999, -3), (5, VOCABULARY)):
            bad = self.tokens.copy()
            bad[row] = value
            np.save(self.folder / "bad.npy", bad)
            self.fails(1, f"token of row {row} is {value}; must be in [0, {VOCABULARY})", "import", "checked", "--keys",
                       self.at("keys"), "--values", self.folder / "bad.npy")
        self.assertEqual(self.cli("info", "checked")["entries"], 0)

    def test_files_that_do_not_fit_are_told_by_both_numbers(self):
        np.save(self.folder / "wide.npy", np.zeros((4, 384), np.float32))
        np.save(self.folder / "short.npy", self.tokens[:-1])
        self.fails(1, f'memory "wiki" has dimension {DIM}, but {self.folder}/wide.npy has 384 columns', "query", "wiki",
                   "--keys", self.folder / "wide.npy", "-k", 1)
        self.fails(1, "short.npy", "import", "wiki", "--keys", self.at("keys"), "--values", self.folder / "short.npy")
        self.fails(1, "missing.npy", "query", "wiki", "--keys", self.folder / "missing.npy", "-k", 1)

    def round_trip(self, name, created, values, more=()):
        self.cli("create", name, "--dim", DIM, "--metric", "l2", *created)
        self.cli("create", name + "-copy", "--dim", DIM, "--metric", "l2", *created)
        columns = {
            "ids": np.arange(ROWS, dtype=np.uint64) * 7 + 3, "sources": self.sources, "labels": self.tokens - 9,
            "positions": np.arange(ROWS), "weights": np.linspace(0.5, 2, ROWS, dtype=np.float32),
            "scores": np.linspace(-1, 1, ROWS),
        }
        files = []
        for column, items in columns.items():
            np.save(self.folder / f"c_{column}.npy", items)
            files += [f"--{column}", self.folder / f"c_{column}.npy"]
        self.cli("import", name, "--keys", self.at("keys"), "--values", values, *files, *more)
        out = self.folder / f"out-{name}"
        self.assertEqual(self.cli("export", name, "--out", out)["rows"], ROWS)
        order = np.argsort(np.load(out / "ids.npy"))
        for column, items in columns.items():
            np.testing.assert_array_equal(np.load(out / f"{column}.npy")[order], items, column)
        np.testing.assert_array_equal(np.load(out / "keys.npy")[order], self.keys)
        offsets = ["--values-offsets", out / "values_offsets.npy"] if (out / "values_offsets.npy").exists() else []
        back = [part for column in columns for part in (f"--{column}", out / f"{column}.npy")]
        self.cli("import", name + "-copy", "--keys", out / "keys.npy", "--values", out / "values.npy", *offsets, *back)
        fields = ("id", "value", "weight", "score", "label", "source", "position", "key")
        entries = [
            sorted([[e[f] for f in fields] for e in self.cli("scan", copy, "--with-keys")["entries"]])
            for copy in (name, name + "-copy")
        ]
        self.assertEqual(len(entries[0]), ROWS)
        self.assertEqual(*entries)

    def test_export_and_import_are_a_round_trip_of_tokens(self):
        self.round_trip("tokens", ["--value", "token", "--key-dtype", "f16"], self.at("tokens"))

    def test_export_and_import_are_a_round_trip_of_vectors(self):
        np.save(self.folder / "vectors.npy", np.random.default_rng(SEED).standard_normal((ROWS, 3)).astype(np.float32))
        self.round_trip("vectors", ["--value", "vector", "--value-dim", 3, "--key-dtype", "f16"],
                        self.folder / "vectors.npy")

    def test_export_and_import_are_a_round_trip_of_bytes(self):
        (self.folder / "lines.txt").write_text("".join(f"note {i} " + "ä" * (i % 5) + "\n" for i in range(ROWS)))
        self.round_trip("bytes", ["--value", "bytes", "--key-dtype", "f16"], self.folder / "lines.txt")
        self.assertEqual(self.cli("get", "bytes", "--id", 3 + 7 * 2)["entries"][0]["value"], "note 2 ää")

    def test_a_stopped_import_says_how_to_go_on_and_resumes(self):
        self.create("stopped")
        state = {"XDG_STATE_HOME": str(self.folder / "state"), "MNEME_SERVER": self.address}
        rows = 400_000
        np.save(self.folder / "big.npy", np.tile(self.keys, (rows // ROWS + 1, 1))[:rows])
        np.save(self.folder / "big_tokens.npy", np.tile(self.tokens, rows // ROWS + 1)[:rows])
        command = ["import", "stopped", "--keys", self.folder / "big.npy", "--values", self.folder / "big_tokens.npy",
                   "--first-id", "append"]
        process = subprocess.Popen([str(BIN / "mneme"), *map(str, command)], env={**os.environ, **state},
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        while self.cli("stats", "stopped")["entries"] == 0 and process.poll() is None:
            pass
        process.send_signal(signal.SIGINT)
        stderr = process.communicate()[1]
        if process.returncode == 0:
            self.skipTest("the import was over before it could be stopped")
        self.assertEqual(process.returncode, 130)
        self.assertIn("go on with:", stderr)
        self.assertIn("--resume", stderr)
        done = json.loads(run(*command, "--resume", "-o", "json", env=state).stdout)
        self.assertEqual(done["rows"], rows)
        self.assertEqual(self.cli("info", "stopped")["entries"], rows)

    def test_partitions_are_apart(self):
        self.create("parts")
        files = ["--keys", self.at("keys"), "--values", self.at("tokens")]
        self.cli("import", "parts", *files, "--partition", 4)
        asked = ["query", "parts", "--keys", self.at("queries"), "-k", 3, "--exact"]
        self.assertEqual(self.cli(*asked)["queries"][0]["ids"], [])
        self.assertEqual(len(self.cli(*asked, "--partition", 4)["queries"][0]["ids"]), 3)
        self.assertEqual(len(self.cli(*asked, "--all-partitions")["queries"][0]["ids"]), 3)
        self.assertEqual(self.cli("delete", "parts", "--partition", 4, "--all")["deleted"], ROWS)
        self.assertEqual(self.cli(*asked, "--all-partitions")["queries"][0]["ids"], [])

    def test_delete_by_id_by_source_and_only_to_count(self):
        self.create("deleted")
        self.cli("import", "deleted", "--keys", self.at("keys"), "--values", self.at("tokens"), "--sources",
                 self.at("sources"))
        self.assertEqual(self.cli("delete", "deleted", "--source", 2, "--dry-run")["deleted"], 100)
        self.assertEqual(self.cli("info", "deleted")["entries"], ROWS)
        self.assertEqual(self.cli("delete", "deleted", "--source", 2)["deleted"], 100)
        receipt = self.cli("delete", "deleted", "--id", 5, "--id", 250)
        self.assertEqual((receipt["deleted"], receipt["absent"]), (1, 1))
        np.save(self.folder / "ids.npy", np.arange(10))
        self.assertEqual(self.cli("delete", "deleted", "--ids", self.folder / "ids.npy")["deleted"], 9)
        self.assertEqual(self.cli("info", "deleted")["entries"], ROWS - 110)
        self.fails(69, "5", "get", "deleted", "--id", 5)
        self.fails(2, "--all", "delete", "deleted")

    def test_scan_stops_at_its_limit(self):
        self.assertEqual(len(self.cli("scan", "wiki", "--limit", 17)["entries"]), 17)
        self.assertEqual(len(self.cli("scan", "wiki")["entries"]), ROWS)
        self.assertEqual({e["source"] for e in self.cli("scan", "wiki", "--source", 9)["entries"]}, {9})


class Memories(WikiTest):
    def test_create_info_list_drop(self):
        made = self.create("life", "--fingerprint", "model=gpt2,layer=h.11,vocabulary_size=50")
        self.assertEqual(made["fingerprint"], {"model": "gpt2", "layer": "h.11", "vocabulary_size": 50})
        info = self.cli("info", "life")
        for field, value in (("name", "life"), ("dimension", DIM), ("metric", "l2"), ("key_dtype", "f16"),
                             ("value", "token"), ("vocabulary_size", VOCABULARY), ("entries", 0)):
            self.assertEqual(info[field], value)
        self.assertIn("life", [memory["name"] for memory in self.cli("list")["memories"]])
        self.assertIn("life", self.text("list"))
        self.fails(70, "life", "create", "life", "--dim", 3, "--metric", "l2", "--value", "token")
        self.fails(2, "--yes", "drop", "life")
        self.assertEqual(self.cli("drop", "life", "--yes"), {"dropped": True})
        self.fails(69, "life", "info", "life")

    def test_an_alias_is_set_swung_listed_and_dropped(self):
        for name in ("one", "two"):
            self.create(name)
        made = self.cli("alias", "set", "latest", "one")
        self.assertEqual(made, {"alias": "latest", "memory": "one", "previous_memory": None})
        self.assertEqual(self.cli("info", "latest")["name"], "one")
        self.fails(74, "points to \"one\"", "alias", "set", "latest", "two", "--expected", "two")
        self.fails(74, "must not exist", "alias", "set", "latest", "two", "--expected", "")
        swung = self.cli("alias", "set", "latest", "two", "--expected", "one")
        self.assertEqual(swung["previous_memory"], "one")
        self.assertIn({"alias": "latest", "memory": "two"}, self.cli("alias", "list")["aliases"])
        self.assertIn("latest", self.text("alias", "list"))
        self.fails(73, "latest", "drop", "two", "--yes")
        self.assertEqual(self.cli("alias", "drop", "latest"), {"dropped": True})
        self.fails(69, "latest", "alias", "drop", "latest")
        self.fails(2, "", "alias")

    def test_a_name_that_cannot_be_is_invalid_argument(self):
        self.fails(67, "name", "create", "No Spaces", "--dim", 3, "--metric", "l2", "--value", "token")

    def test_build_and_probe(self):
        self.assertIn("rows", self.cli("build", "wiki"))
        probe = self.cli("probe", "wiki", "-k", 10, "--sample", 20)
        self.assertGreater(probe["mean_recall"], 0.8)
        self.assertEqual(probe["queries"], 20)
        self.assertGreater(probe["compared_tokens"], 20)
        warm = ("probe", "wiki", "-k", 10, "--sample", 20, "--temperature", 2)
        one_list = self.cli(*warm, "--nprobe", 1)
        self.assertGreaterEqual(one_list["max_delta_log_prob"], one_list["mean_delta_log_prob"])
        self.assertGreater(one_list["mean_delta_log_prob"], self.cli(*warm)["mean_delta_log_prob"])

    def test_build_says_how_many_rows_it_built(self):
        rows = 40_000
        self.create("built", "--spread", "one")
        np.save(self.folder / "many.npy", np.tile(self.keys, (rows // ROWS + 1, 1))[:rows])
        np.save(self.folder / "many_tokens.npy", np.tile(self.tokens, rows // ROWS + 1)[:rows])
        self.cli("import", "built", "--keys", self.folder / "many.npy", "--values", self.folder / "many_tokens.npy")
        self.cli("build", "built")
        self.assertEqual(self.cli("build", "built", "--retrain")["rows"], rows)
        self.assertAlmostEqual(self.cli("stats", "built")["drift"], 1, delta=0.5)

    def test_stats_health_ping_version(self):
        self.assertEqual(self.cli("stats")["shards"], 2)
        self.assertEqual(self.cli("stats", "wiki")["entries"], ROWS)
        self.assertEqual(self.cli("health"), {"status": "SERVING"})
        self.assertEqual(self.cli("ping", "-n", 5)["count"], 5)
        self.assertEqual(self.cli("version")["version"], run("--version").stdout.split()[1])


class Conventions(WikiTest):
    def test_no_server_is_unavailable_and_says_what_to_do(self):
        done = run("--server", "127.0.0.1:1", "list", check=False)
        self.assertEqual(done.returncode, 64 + 14)
        self.assertIn("is mneme-server running there?", done.stderr)
        self.assertEqual(run("--server", "127.0.0.1:1", "health", check=False).returncode, 64 + 14)

    def test_usage_errors_are_2_and_advise(self):
        self.fails(2, "did you mean query?", "qurey", "wiki")
        self.fails(2, "did you mean --metric?", "create", "x", "--dim", 3, "--metrc", "l2", "--value", "token")
        self.fails(2, "-k", "query", "wiki", "--keys", self.at("queries"), "-k", 5000)
        self.assertIn("HOST:PORT", run("--server", "nowhere", "list", check=False).stderr)
        self.assertEqual(run(check=False).returncode, 2)

    def test_the_server_may_come_from_the_environment(self):
        done = run("list", "-o", "json", env={"MNEME_SERVER": self.address})
        self.assertIn("wiki", done.stdout)

    def test_a_reader_that_leaves_early_is_no_error_but_a_full_disk_is(self):
        for output in ("json", "text"):
            for verb in (["scan", "wiki", "--with-keys"], ["query", "wiki", "--keys", self.at("queries"), "-k", 100]):
                command = [str(BIN / "mneme"), "--server", self.address, *map(str, verb), "-o", output]
                process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                self.assertEqual(len(process.stdout.read(10)), 10)
                process.stdout.close()
                self.assertEqual((process.stderr.read(), process.wait()), (b"", 0))
                process.stderr.close()
        with open("/dev/full", "w") as full:
            done = subprocess.run([str(BIN / "mneme"), "--server", self.address, "scan", "wiki", "-o", "json"],
                                  stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual((done.stderr, done.returncode), ("error: stdout cannot be written\n", 1))

    def test_data_is_on_stdout_and_nothing_else(self):
        done = run("--server", self.address, "info", "wiki", "-q", "-o", "json")
        self.assertEqual(done.stderr, "")
        json.loads(done.stdout)

    def test_completion_scripts_are_well_formed_and_know_every_verb(self):
        for shell in ("bash", "zsh", "fish"):
            script = run("completion", shell).stdout
            for verb in ("create", "evaluate", "probe"):
                self.assertIn(verb, script)
            if shutil.which(shell):
                path = self.folder / f"completion.{shell}"
                path.write_text(script)
                subprocess.run([shell, "-n", str(path)], check=True)
        test = ('source "$1"; COMP_WORDS=(mneme query wiki --ex); COMP_CWORD=3; _mneme; echo "${COMPREPLY[@]}"')
        words = subprocess.run(["bash", "-c", test, "-", str(self.folder / "completion.bash")], capture_output=True,
                               text=True, check=True).stdout.split()
        self.assertIn("--exact", words)
        self.assertIn("--exclude-source", words)
        for line, wanted in (("state g", ["get"]), ("state put --val", ["--value"]), ("get --wi", ["--with-keys"]),
                             ("session f", ["fork"]), ("mas", ["mask"])):
            line = ["mneme", *line.split()]
            words, at = " ".join(line), len(line) - 1
            test = f'source "$1"; COMP_WORDS=({words}); COMP_CWORD={at}; _mneme; echo "${{COMPREPLY[@]}}"'
            words = subprocess.run(["bash", "-c", test, "-", str(self.folder / "completion.bash")], capture_output=True,
                                   text=True, check=True).stdout.split()
            self.assertEqual(words, wanted)

    def test_a_socket_is_an_address_too(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="mneme-socket-"))
        self.addCleanup(shutil.rmtree, folder)
        server, _ = start_server(folder, "--listen-unix", str(folder / "s"))
        self.addCleanup(lambda: (server.kill(), server.wait()))
        self.assertEqual(run("--server", f"unix:{folder / 's'}", "health").stdout, "SERVING\n")


if __name__ == "__main__":
    unittest.main(verbosity=1)
