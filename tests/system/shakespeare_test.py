"""Tiny Shakespeare from raw text by the project's own code: import, then `mneme evaluate`."""

import subprocess

import harness

# The published figures keep the later of the entries that tie for the last of 1,024 places; entries are numbered from
# the end to get them. Numbered in reading order, ties go to the earlier entry.
PUBLISHED = {0.25: 11.574, 0.5: 9.988, 0.75: 9.267}
EARLIER_FIRST = {0.25: 11.5760, 0.5: 9.9905, 0.75: 9.2687}


class Shakespeare(harness.SystemTest):
    def test_the_command_line_gives_the_published_perplexities(self):
        text = harness.ROOT / "tests" / "data" / "shakespeare" / "tinyshakespeare.txt"
        subprocess.run([harness.BIN / "make_shakespeare", text, self.scratch], check=True)
        server = self.serve()
        later_first = ["--ids", self.scratch / "ids_later_first.npy"]
        for name, golden, ids in (("later", PUBLISHED, later_first), ("earlier", EARLIER_FIRST, [])):
            with self.subTest(name):
                self._check(server, name, golden, ids)

    def _check(self, server, name, golden, ids):
        files = {each: self.scratch / f"{each}.npy" for each in ("keys", "values", "queries", "targets", "lm_logprobs")}
        server.cli("create", name, "--dim", 128, "--metric", "l2", "--value", "token", "--vocab-size", 65)
        server.cli("import", name, "--keys", files["keys"], "--values", files["values"], *ids)
        asked = ["--keys", files["queries"], "--targets", files["targets"], "--lm-logprobs", files["lm_logprobs"]]
        grid = ["-k", 1024, "--temperature", 0.3, "--lambda", ",".join(map(str, golden))]
        got = server.cli("evaluate", name, *asked, *grid, "--exact")
        shown = ", ".join(f"{each['lambda']}: {each['perplexity']:.4f}" for each in got["perplexity"])
        harness.note(f"ties to the {name} entry: base {got['perplexity_lm']:.4f}; lambda {shown}")
        self.assertAlmostEqual(got["perplexity_lm"], 16.2551, delta=5e-5)
        self.assertEqual(len(got["perplexity"]), len(golden))
        for each in got["perplexity"]:
            self.assertAlmostEqual(each["perplexity"], golden[each["lambda"]], delta=5.1e-4)


if __name__ == "__main__":
    harness.main()
