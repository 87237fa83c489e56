"""`mneme prune` on tiny Shakespeare against the published figures of greedy merging (He, Neubig and Berg-Kirkpatrick
2021, nine neighbours): of 20,000 entries 9,756 are kept, and the perplexity goes from 11.202 to 11.457."""

import subprocess

import numpy as np

import harness
import mneme

ENTRIES, KEPT = 20_000, 9_756
BEFORE, AFTER = 11.202, 11.457
# Which of two neighbours at one distance counts as the ninth is open in the published run: an entry or two more or
# less.
TIES = 2
GUARD = {"k": 64, "temperature": 0.3, "knn_weight": 0.5}


class Prune(harness.SystemTest):
    def setUp(self):
        super().setUp()
        text = harness.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt"
        subprocess.run([harness.BIN / "make_shakespeare", text, self.scratch], check=True)
        names = ("keys", "values", "queries", "targets", "lm_logprobs")
        self.data = {name: np.load(self.scratch / f"{name}.npy") for name in names}
        self.server = self.serve()
        self.server.cli("create", "wiki", "--dim", 128, "--metric", "l2", "--value", "token", "--vocab-size", 65,
                        "--spread", "one")  # fmt: skip
        keys = self.save("first_keys.npy", self.data["keys"][:ENTRIES])
        values = self.save("first_values.npy", self.data["values"][:ENTRIES])
        self.server.cli("import", "wiki", "--keys", keys, "--values", values)
        self.memory = self.server.client.memory("wiki")

    def guard(self, max_rise):
        targets, lm = self.data["targets"], self.data["lm_logprobs"]
        asked = {"keys": self.data["queries"], "targets": targets, "lm_log_probs": lm}
        return mneme.PruneGuard(**asked, **GUARD, max_perplexity_rise=max_rise)

    def perplexity(self):
        files = {"--keys": "queries", "--targets": "targets", "--lm-logprobs": "lm_logprobs"}
        asked = [part for flag, name in files.items() for part in (flag, self.scratch / f"{name}.npy")]
        grid = ["-k", GUARD["k"], "--temperature", GUARD["temperature"], "--lambda", GUARD["knn_weight"], "--exact"]
        return self.server.cli("evaluate", "wiki", *asked, *grid)["perplexity"][0]["perplexity"]

    def test_the_published_merge(self):
        with self.subTest("a guard that allows less refuses"):
            with self.assertRaises(mneme.FailedPrecondition) as refused:
                self.memory.prune(guard=self.guard(0.2), search=mneme.Search(exact=True))
            self.assertIn("may rise by 0.2", str(refused.exception))
            self.assertEqual(self.memory.count(), ENTRIES)
        files = ["--keys", self.scratch / "queries.npy", "--targets", self.scratch / "targets.npy"]
        files += ["--lm-logprobs", self.scratch / "lm_logprobs.npy", "--max-rise", 0.3]
        setting = ["-k", GUARD["k"], "--temperature", GUARD["temperature"], "--lambda", GUARD["knn_weight"]]
        with self.subTest("and so does the command line"), self.assertRaisesRegex(AssertionError, "exited with 73"):
            self.server.cli("prune", "wiki", "--exact", *files[:-1], 0.2, *setting)
        before = self.perplexity()
        dry = self.server.cli("prune", "wiki", "--exact", *files, *setting, "--dry-run")
        done = self.server.cli("prune", "wiki", "--exact", *files, *setting)
        before, after = done["perplexity_before"], done["perplexity_after"]
        harness.note(f"kept {done['kept']}, perplexity {before:.4f} -> {after:.4f}")
        self.assertEqual({**dry, "dry_run": 0, "seconds": 0}, {**done, "dry_run": 0, "seconds": 0})
        self.assertAlmostEqual(done["kept"], KEPT, delta=TIES)
        self.assertAlmostEqual(done["perplexity_before"], BEFORE, delta=1e-3)
        self.assertAlmostEqual(done["perplexity_after"], AFTER, delta=2e-3)
        with self.subTest("what the guard told is what is there"):
            self.assertAlmostEqual(before, done["perplexity_before"], delta=1e-6)
            self.assertAlmostEqual(self.perplexity(), done["perplexity_after"], delta=1e-6)
            self.assertEqual(self.memory.count(), done["kept"])
            weights = [weight for page in self.memory.scan() for weight in page.weights]
            self.assertEqual(sum(weights), ENTRIES)
        with self.subTest("after a restart, too"):
            self.server.restart()
            self.memory = self.server.client.memory("wiki")
            self.assertEqual(self.memory.count(), done["kept"])
            self.assertAlmostEqual(self.perplexity(), done["perplexity_after"], delta=1e-6)


if __name__ == "__main__":
    harness.main()
