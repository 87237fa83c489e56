"""The Hugging Face example with a small random GPT-2: what is memorised is said, what is said may be learned, and an
outage changes nothing but the time of a step.

Runs in a virtual environment under build/, which the first run makes: Debian's python3-torch, and from the package
index what client/python/examples/hf_requirements.txt names.
"""

import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "client" / "python" / "examples"
REQUIREMENTS = EXAMPLES / "hf_requirements.txt"
ENVIRONMENT = ROOT / "build" / "hf" / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]


def enter_environment():
    """Goes on in the virtual environment; makes it first where it is not there or was left half made."""
    if pathlib.Path(sys.prefix) == ENVIRONMENT:
        return
    done = ENVIRONMENT / "complete"
    if not done.exists():
        subprocess.run(
            ["/usr/bin/python3", "-m", "venv", "--clear", "--system-site-packages", str(ENVIRONMENT)], check=True
        )
        install = [str(ENVIRONMENT / "bin" / "pip"), "install", "--quiet", "--requirement", str(REQUIREMENTS)]
        if subprocess.run(install).returncode != 0:
            wanted = REQUIREMENTS.relative_to(ROOT)
            sys.exit(f"hf_knnlm_test: pip could not install {wanted}; is a package index in reach?")
        done.touch()
    python = str(ENVIRONMENT / "bin" / "python")  # in full: by its own path it knows that it is in an environment
    os.execv(python, [python, *sys.argv])


enter_environment()
sys.path[:0] = [str(EXAMPLES), str(ROOT / "tests" / "system")]

import harness  # noqa: E402
import hf_knnlm  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

PROMPT, TOTAL, BUDGET_MS = 5, 20, 100.0


class HuggingFace(harness.SystemTest):
    def setUp(self):
        super().setUp()
        self.model = hf_knnlm.small_model()
        self.texts = torch.stack([torch.arange(100, 100 + TOTAL), torch.arange(200, 200 + TOTAL).flip(0)])
        self.server = self.serve()
        self.memory = self.server.client.create_memory("lm", self.model.config.n_embd, metric="l2", vocab_size=500)
        hf_knnlm.memorise(self.model, self.memory, self.texts)

    def generate(self, *processors, scores=False):
        got = self.model.generate(
            self.texts[:, :PROMPT], attention_mask=torch.ones(len(self.texts), PROMPT), max_new_tokens=TOTAL - PROMPT,
            do_sample=False, logits_processor=list(processors), output_scores=True, return_dict_in_generate=True,
        )
        return torch.stack(got.scores, 1) if scores else got.sequences

    def knn(self, weight=0.99, budget_ms=10_000, **how):
        return hf_knnlm.KnnLm(self.model, self.memory, weight, temperature=1.0, budget_ms=budget_ms, **how)

    def test_the_memorised_continuation_is_the_most_likely(self):
        self.assertFalse((self.generate() == self.texts)[:, PROMPT:].any(), "the model knows the texts by itself")
        with self.knn() as knn:
            scores = self.generate(knn, scores=True)
        self.assertEqual(knn.failed, 0)
        np.testing.assert_array_equal(scores.argmax(-1), self.texts[:, PROMPT:])
        of_text = scores.exp().gather(-1, self.texts[:, PROMPT:, None])
        self.assertGreater(float(of_text.min()), 0.5)
        np.testing.assert_allclose(scores.exp().sum(-1), 1, atol=1e-5)

    def test_no_weight_leaves_the_model_as_it_is(self):
        with self.knn(weight=0.0) as knn:
            mixed = self.generate(knn, scores=True)
        alone = torch.log_softmax(self.generate(scores=True).double(), -1)
        np.testing.assert_allclose(mixed, alone, atol=1e-5)

    def test_what_is_generated_is_learned_but_not_the_padding_after_an_end(self):
        self.texts[1, 10:] = self.model.config.eos_token_id  # the second text ends with its eleventh token
        self.memory = self.server.client.create_memory("short", self.model.config.n_embd, metric="l2", vocab_size=500)
        for text, length in zip(self.texts, (TOTAL, 11)):
            hf_knnlm.memorise(self.model, self.memory, text[None, :length])
        before = self.memory.count()
        with self.knn(learn=True) as knn:
            np.testing.assert_array_equal(self.generate(knn), self.texts)
        self.assertEqual(knn.failed, 0)
        # Not the last token of the first text: `generate` ends with it. Of the second, up to its end.
        self.assertEqual(self.memory.count() - before, (TOTAL - PROMPT - 1) + (11 - PROMPT))
        tokens = np.concatenate([page.values for page in self.memory.scan()]).astype(int)
        self.assertEqual(int((tokens == self.model.config.eos_token_id).sum()), 2)

    def test_without_the_server_generation_goes_on_unchanged_and_in_time(self):
        alone = self.generate(scores=True)
        for name, stop in (("stopped", signal.SIGSTOP), ("killed", signal.SIGKILL)):
            with self.subTest(name):
                os.kill(self.server.pid, stop)
                start = time.monotonic()
                with self.knn(budget_ms=BUDGET_MS) as knn:
                    without = self.generate(knn, scores=True)
                seconds = time.monotonic() - start
                steps = TOTAL - PROMPT
                harness.note(f"{name}: {steps} steps in {seconds:.2f} s of {BUDGET_MS:.0f} ms each; {knn.failure}")
                self.assertEqual(knn.failed, steps)
                np.testing.assert_array_equal(without, alone)
                self.assertLess(seconds, steps * BUDGET_MS / 1000 + 5)


if __name__ == "__main__":
    harness.main()
