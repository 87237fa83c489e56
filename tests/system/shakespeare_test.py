"""Tiny Shakespeare from raw text by the project's own code: import, then `mneme evaluate`."""

import subprocess

import harness

GOLDEN = {0.25: 11.574, 0.5: 9.988, 0.75: 9.267}


class Shakespeare(harness.SystemTest):
    def test_the_command_line_gives_the_published_perplexities(self):
        text = harness.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt"
        subprocess.run([harness.BIN / "make_shakespeare", text, self.scratch], check=True)
        server = self.serve()
        server.cli("create", "shakespeare", "--dim", 128, "--metric", "l2", "--value", "token", "--vocab-size", 65)
        server.cli(
            "import", "shakespeare", "--keys", self.scratch / "keys.npy", "--values", self.scratch / "values.npy"
        )
        got = server.cli(
            "evaluate",
            "shakespeare",
            "--keys",
            self.scratch / "queries.npy",
            "--targets",
            self.scratch / "targets.npy",
            "--lm-logprobs",
            self.scratch / "lm_logprobs.npy",
            "-k",
            1024,
            "--temperature",
            0.3,
            "--lambda",
            ",".join(map(str, GOLDEN)),
            "--exact",
        )
        harness.note(
            f"base {got['perplexity_lm']:.4f}; "
            + ", ".join(f"lambda {each['lambda']}: {each['perplexity']:.3f}" for each in got["perplexity"])
        )
        self.assertAlmostEqual(got["perplexity_lm"], 16.2551, delta=5e-5)
        self.assertEqual(len(got["perplexity"]), len(GOLDEN))
        for each in got["perplexity"]:
            self.assertAlmostEqual(each["perplexity"], GOLDEN[each["lambda"]], delta=5e-4)


if __name__ == "__main__":
    harness.main()
