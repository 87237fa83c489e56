"""kNN-LM (Khandelwal et al. 2020) in Hugging Face's `generate`: a hook, a logits processor, and a memory.

    with KnnLm(model, memory, knn_weight=0.25) as knn:
        model.generate(prompt, logits_processor=[knn])

The hook keeps what the final norm gives; the processor asks the memory once per step, for the whole batch, and mixes. A
step that the memory does not answer within its budget leaves the model's scores as they are. Needs hf_requirements.txt.
"""

import numpy as np
import page  # puts mneme on the path
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LogitsProcessor

FINAL_NORMS = ("ln_f", "norm", "final_layer_norm")  # GPT-2, Llama and their kin, GPT-NeoX


class FinalStates:
    """What the final norm gave last: float32 [batch, positions, width], on the CPU. A context manager."""

    def __init__(self, model):
        norm = next(getattr(model.base_model, name) for name in FINAL_NORMS if hasattr(model.base_model, name))
        self._hook, self.states = norm.register_forward_hook(self._keep), None

    def _keep(self, module, inputs, output):
        self.states = output.detach().float().cpu().numpy()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._hook.remove()


class KnnLm(FinalStates, LogitsProcessor):
    """For one `generate`: greedy or sampling. (Beams change places between steps: with them, leave `learn` off.)

    learn: what is generated is remembered as well; it rides on the next step's question. `failed` counts the steps
    that went without the memory, `failure` is the last one's reason.
    """

    def __init__(self, model, memory, knn_weight=0.25, k=64, temperature=10.0, budget_ms=50.0, learn=False):
        super().__init__(model)
        self._stream = memory.decode_stream(k, temperature, budget_ms=budget_ms, on_error="empty")
        ends = model.generation_config.eos_token_id  # none, one, or several
        self._weight, self._learn, self._ends = knn_weight, learn, [] if ends is None else ends
        self._asked, self.failed, self.failure = None, 0, None

    def __exit__(self, *_):
        super().__exit__()
        self._stream.__exit__(*_)

    def __call__(self, input_ids, scores):
        tokens = input_ids[:, -1].cpu().numpy()
        alive = np.ones(len(tokens), bool)
        if self._asked is not None:  # a step before: its rows have a token now, and those that ended are only padded
            if self._learn:
                self._stream.learn(tokens[self._asked])
            alive = self._asked & ~np.isin(tokens, self._ends)
        self._asked = alive
        got = self._stream.step(self.states[alive, -1])
        if not got.ok:
            self.failed, self.failure = self.failed + 1, got.error
            return scores
        of_model = torch.log_softmax(scores[alive].double(), dim=-1).cpu().numpy()
        mixed = scores.clone()
        mixed[alive] = torch.from_numpy(got.mix(of_model, self._weight)).to(scores)
        return mixed


def memorise(model, memory, texts):
    """Remembers every position of [texts, tokens] of equal length: the state that enters the output layer, and the
    token that follows."""
    with FinalStates(model) as hook, torch.no_grad():
        model(texts, attention_mask=torch.ones_like(texts))
    keys = hook.states[:, :-1].reshape(-1, hook.states.shape[-1])
    memory.insert(keys, texts[:, 1:].reshape(-1).numpy(), durability="written")


def small_model():
    """GPT-2's shape with two layers and random weights: nothing is downloaded."""
    torch.manual_seed(3)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(n_layer=2, n_head=2, n_embd=64, n_positions=64, vocab_size=500, **ends)).eval()


def run(client, plot=None):
    model, text = small_model(), torch.arange(100, 120)[None]
    memory = client.create_memory("example-hf-knnlm", model.config.n_embd, metric="l2", vocab_size=500)
    memorise(model, memory, text)
    rows = [("tokens of the text that the model alone goes on with", None, _right(model, text))]
    for weight in (0.5, 0.99):
        with KnnLm(model, memory, weight, temperature=1.0, budget_ms=1000) as knn:
            rows.append((f"with the memory, weight {weight}", None, _right(model, text, [knn])))
    return page.show("kNN-LM in a Hugging Face model, 15 tokens to go", rows)


def _right(model, text, processors=()):
    given = model.generate(text[:, :5], attention_mask=torch.ones(1, 5), max_new_tokens=15, do_sample=False,
                           logits_processor=list(processors))
    return int((given[:, 5:] == text[:, 5 : given.shape[1]]).sum())


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
