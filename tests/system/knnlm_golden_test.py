"""The real datastore: the service gives the golden neighbours, distributions and perplexities.

Bounded: the 200 golden rows and the stream from an empty memory at k 64. Full: every perplexity of the golden grid over
22,062 tokens, unfiltered, filtered and online.
"""

import json
import pathlib
import shutil
import tempfile

import harness
import mneme
import numpy as np

VOCABULARY = 11_356


def ln_mix(ln_knn, ln_lm, weight):
    with np.errstate(divide="ignore"):
        return np.logaddexp(np.log(weight) + ln_knn, np.log1p(-weight) + ln_lm)


class Store:
    """The store, imported once for all tests of this file."""

    server = None

    @classmethod
    def get(cls):
        if cls.server is None:
            folder = harness.wiki()
            cls.server = harness.Server(cls.scratch / "data")
            memory = cls.server.client.create_memory("wiki", 128, vocab_size=VOCABULARY, key_dtype="f16")
            with harness.stopwatch("import of 357,664 rows"):
                memory.import_rows(
                    np.load(folder / "store_keys.npy"),
                    np.load(folder / "store_values.npy"),
                    sources=np.load(folder / "store_source.npy"),
                    durability="written",
                )
        return cls.server.client.memory("wiki")


class KnnLmGolden(harness.SystemTest):
    @classmethod
    def setUpClass(cls):
        Store.scratch = pathlib.Path(tempfile.mkdtemp(prefix="mneme-golden-"))

    @classmethod
    def tearDownClass(cls):
        if Store.server is not None:
            Store.server.kill()
            Store.server = None
        shutil.rmtree(Store.scratch, ignore_errors=True)

    def test_exact_neighbours_are_the_golden_ones_in_order(self):
        dev = harness.wiki() / "dev"
        memory, rows = Store.get(), np.load(dev / "golden_rows.npy")
        queries = np.load(dev / "query_keys.npy")[rows]
        ids, distances = np.load(dev / "golden_top1024_ids.npy"), np.load(dev / "golden_top1024_dist.npy")
        worst = 0.0
        for start in range(0, len(rows), 50):
            got = memory.query(queries[start : start + 50], 1024, exact=True).dense()
            np.testing.assert_array_equal(got.ids, ids[start : start + 50])
            golden = distances[start : start + 50]
            worst = max(worst, float(np.max(np.abs(got.distances - golden) / np.maximum(golden, 1e-300))))
        harness.note(f"200 x 1,024 ids and their order equal; distances within {worst:.1e} relative")
        self.assertLessEqual(worst, 1e-12)

    def test_aggregated_distributions_and_probabilities_are_the_golden_ones(self):
        dev = harness.wiki() / "dev"
        memory, rows = Store.get(), np.load(dev / "golden_rows.npy")
        queries, gold = np.load(dev / "query_keys.npy")[rows], np.load(dev / "query_gold.npy")[rows]
        lm = np.load(dev / "query_lm_logp.npy")[rows].astype(np.float64)
        worst = {"distribution": 0.0, "p_knn": 0.0, "mixed": 0.0}
        for config in json.loads((dev / "golden_200.json").read_text())["configs"]:
            k, temperature, name = config["k"], config["T"], f"agg_k{config['k']}_T{config['T']:g}"
            offsets, tokens, probs = (np.load(dev / f"{name}_{part}.npy") for part in ("offsets", "tokens", "probs"))
            whole = memory.distribution(queries, k, temperature, exact=True)
            np.testing.assert_array_equal(whole.offsets, offsets)
            np.testing.assert_array_equal(whole.tokens, tokens)
            worst["distribution"] = max(worst["distribution"], float(np.max(np.abs(np.exp(whole.log_probs) - probs))))
            of_gold = memory.distribution(queries, k, temperature, exact=True, targets=gold)
            p_gold = np.exp(of_gold.target_log_probs)
            worst["p_knn"] = max(worst["p_knn"], float(np.max(np.abs(p_gold - config["p_knn_gold"]))))
            off = np.abs(np.exp(of_gold.mix(lm, config["lam"])) - config["p_interp_gold"])
            worst["mixed"] = max(worst["mixed"], float(np.max(off)))
        harness.note(", ".join(f"{what} within {off:.1e}" for what, off in worst.items()))
        self.assertLessEqual(max(worst.values()), 1e-9)

    def test_a_stream_from_an_empty_memory_gives_the_golden_perplexities(self):
        golden = json.loads((harness.STREAM / "golden_online_from_empty.json").read_text())
        keys, gold = np.load(harness.STREAM / "query_keys.npy"), np.load(harness.STREAM / "query_gold.npy")
        lm = np.load(harness.STREAM / "query_lm_logp.npy")
        cases = golden["results"] if harness.FULL else [each for each in golden["results"] if each["k"] <= 64]
        ks, temperatures = sorted({each["k"] for each in cases}), sorted({each["T"] for each in cases})
        memory = self.serve().client.create_memory("online", 128, vocab_size=VOCABULARY, key_dtype="f16")
        ln_knn = np.full((len(gold), len(temperatures), len(ks)), -np.inf)
        found = np.zeros(len(gold), bool)
        with harness.stopwatch("predicting and learning 22,062 tokens, one round trip each"):
            with memory.decode_stream(max(ks), temperatures, ks=ks, exact=True) as stream:
                for i in range(len(gold)):
                    got = stream.step(keys[i], targets=gold[i], learn=gold[i], ids=i, lm_log_probs=lm[i])
                    ln_knn[i], found[i] = np.reshape(got.target_log_probs, ln_knn.shape[1:]), got.found[0] > 0
        lm = lm.astype(np.float64)
        for case in cases:
            of_case = ln_knn[:, temperatures.index(case["T"]), ks.index(case["k"])]
            mixed = np.where(found, ln_mix(of_case, lm, case["lambda"]), lm)
            perplexity = float(np.exp(-mixed.mean()))
            harness.note(f"k {case['k']}, T {case['T']:g}, lambda {case['lambda']}: {perplexity:.6f}")
            self.assertLessEqual(abs(perplexity / case["perplexity"] - 1), 1e-6)
        self.assertEqual(memory.count(), len(gold))

    def _grid(self, golden, **search):
        """Every perplexity of a golden grid from one exact search of all tokens."""
        dev = harness.wiki() / "dev"
        memory = Store.get()
        keys, gold = np.load(dev / "query_keys.npy"), np.load(dev / "query_gold.npy")
        lm = np.load(dev / "query_lm_logp.npy").astype(np.float64)
        ks = sorted({each["k"] for each in golden["grid"]})
        temperatures = sorted({float(each["T"]) for each in golden["grid"]})
        parts = []
        with harness.stopwatch("exact search of 22,062 tokens"):
            for start in range(0, len(gold), 500):
                cut = slice(start, start + 500)
                got = memory.distribution(
                    keys[cut], max(ks), temperatures, ks=ks, targets=gold[cut], exact=True, **search
                )
                parts.append(got.target_log_probs)
        ln_knn = np.concatenate(parts)
        worst, points = 0.0, 0
        for line in golden["grid"]:
            of_line = ln_knn[:, temperatures.index(line["T"]), ks.index(line["k"])]
            for weight, perplexity in line["ppl"].items():
                mixed = lm if float(weight) == 0 else ln_mix(of_line, lm, float(weight))
                worst, points = max(worst, abs(float(np.exp(-mixed.mean())) / perplexity - 1)), points + 1
        harness.note(f"{points} perplexities within {worst:.1e} relative")
        self.assertLessEqual(worst, 1e-6)

    @harness.unittest.skipUnless(harness.FULL, "full size: tests/run --full knnlm_golden")
    def test_every_perplexity_of_the_golden_grid(self):
        self._grid(json.loads((harness.wiki() / "dev" / "golden.json").read_text()))

    @harness.unittest.skipUnless(harness.FULL, "full size: tests/run --full knnlm_golden")
    def test_every_perplexity_of_the_filtered_grid(self):
        golden = json.loads((harness.wiki() / "dev" / "golden_filtered.json").read_text())
        self._grid(golden, filter=mneme.Filter(sources=[1, 2]))

    @harness.unittest.skipUnless(harness.FULL, "full size: tests/run --full knnlm_golden")
    def test_online_insertion_gives_the_golden_perplexity(self):
        dev = harness.wiki() / "dev"
        golden = json.loads((dev / "golden.json").read_text())["online_insert"]
        memory, count = Store.get(), 357_664
        keys, gold = np.load(dev / "query_keys.npy"), np.load(dev / "query_gold.npy")
        lm = np.load(dev / "query_lm_logp.npy").astype(np.float64)
        ln_knn = np.empty(len(gold))
        with harness.stopwatch("22,062 online steps over the whole store"):
            with memory.decode_stream(golden["k"], golden["T"], exact=True) as stream:
                for i in range(len(gold)):
                    got = stream.step(keys[i], targets=gold[i], learn=gold[i], ids=count + i, sources=9)
                    ln_knn[i] = got.target_log_probs[0]
        memory.delete(sources=[9])
        perplexity = float(np.exp(-ln_mix(ln_knn, lm, golden["lam"]).mean()))
        harness.note(f"online perplexity {perplexity:.6f}, golden {golden['ppl']:.6f}")
        self.assertLessEqual(abs(perplexity / golden["ppl"] - 1), 1e-6)


if __name__ == "__main__":
    harness.main()
