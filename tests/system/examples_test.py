"""The examples of the Python client as tests: each prints what was published beside what it got, and both agree."""

import importlib.util
import sys
import unittest.mock

import harness
import mneme
import numpy as np

EXAMPLES = harness.ROOT / "client" / "python" / "examples"
sys.path.insert(0, str(EXAMPLES))


class Examples(harness.SystemTest):
    def example(self, name, shards, *rest):
        spec = importlib.util.spec_from_file_location("example", EXAMPLES / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.runs = getattr(self, "runs", 0) + 1  # each on a server of its own
        return module.run(self.serve(f"data-{shards}-{self.runs}", "--shards", str(shards)).client, *rest)

    def check(self, name, *groups, arguments=(), also=None):
        """groups: (delta, {row: value}), or {row: value} to the digits that were published. also(got) checks more."""
        for shards in (1, 4):
            with self.subTest(shards=shards):
                got = self.example(name, shards, *arguments)
                if also:
                    also(got)
                for group in groups:
                    delta, wanted = group if isinstance(group, tuple) else (5.1e-5, group)
                    for row, value in wanted.items():
                        if isinstance(value, str):
                            self.assertEqual(got[row], value, row)
                        else:
                            self.assertAlmostEqual(got[row], value, delta=delta, msg=row)

    def test_neural_priming(self):
        wanted = {"text only": 0.4388, "1 shot": 0.7004, "1 shot + text, alpha 0.5": 0.7673}
        alphas = {f"1 shot + text, alpha {alpha}": x for alpha, x in ((0.9, 0.5401), (0.7, 0.7060), (0.3, 0.7561))}
        noisy = {"899 images, 30 % of the captions wrong": 0.8909, "the same + text, not blurred, alpha 0.7": 0.5045}
        two = {"2 shots": 0.7606, "2 shots + text, alpha 0.4": 0.7962, "text only, not blurred": 0.3619}
        self.check("01_neural_priming", {**wanted, **alphas, **noisy, **two}, (1e-12, {"centroids off by": 0.0}))

    def test_res_mem(self):
        wanted = {"base model": 0.9053, "kNN alone": 0.8931, "ResMem": 0.9243, "train accuracy, pixels, k = 1": 1.0}
        poor = {"kNN alone, poor keys": 0.8129, "ResMem, poor keys: worse than the base": 0.8875}
        self.check("03_resmem", {**wanted, **poor, "test accuracy, pixels, k = 1": 0.9866})

    def test_coocmap_sends_less_than_a_megabyte_in_a_round(self):
        calls, call = {}, mneme.calls.Caller.call

        def measured(caller, method, request, *rest):
            answer = call(caller, method, request, *rest)
            kind = type(request).__name__
            calls.setdefault(kind, []).append((request.ByteSize(), answer.ByteSize()))
            return answer

        with unittest.mock.patch.object(mneme.calls.Caller, "call", measured):
            self.check("04_coocmap", {"words matched": 1.0})
        sent, got = np.max(calls["QueryRequest"], axis=0)  # each round is one, and nothing else is a query
        harness.note(f"a round of 1,000 words sends at most {sent:,} bytes and gets {got:,}")
        self.assertGreater(len(calls["QueryRequest"]), 4)
        # Both grow with the words alone; the paper's vocabularies have 5,000.
        self.assertLess(5 * (sent + got), 1_000_000)
        self.assertGreater(len(calls["ApplyRequest"]), 4, "the counts are added up by the service")

    def test_monitor_guided_decoding(self):
        self.check("02_monitor_guided_decoding", {"of 61 random decodings, legal with the mask": 61})

    def test_selfmem(self):
        self.check("05_selfmem", {"same as argmax of the scores": 1.0}, also=self.better_memories_give_better_outputs)

    def test_selfmem_on_the_released_outputs(self):
        if not (harness.SHARED / "selfmem").is_dir():
            raise unittest.SkipTest(f"needs the data set selfmem in {harness.SHARED}; set MNEME_SHARED_DATA")
        alone = {"bm25": 38.89, "dual_retrieval": 58.07, "dual_selfmem": 59.49, "joint_retrieval": 58.58,
                 "joint_selfmem": 60.11, "random": 1.14}
        chosen = {"bm25": 100, "dual_retrieval": 1059, "dual_selfmem": 509, "joint_retrieval": 252,
                  "joint_selfmem": 553, "random": 10}
        best = {"the server's choice by the oracle's scores (it sees the reference)": 63.77}
        self.check(
            "05_selfmem",
            (5.1e-3, {**{f"{system} alone": bleu for system, bleu in alone.items()}, **best}),
            {f"chosen of {system}": times for system, times in chosen.items()},
            (5.1e-3, {f"dual_retrieval, memories of quarter {i}": x
                      for i, x in enumerate((27.54, 45.05, 69.31, 91.39), 1)}),
            arguments=(None, harness.SHARED),
            also=self.better_memories_give_better_outputs,
        )

    def better_memories_give_better_outputs(self, got):
        quarters = [got[f"dual_retrieval, memories of quarter {i}"] for i in (1, 2, 3, 4)]
        self.assertTrue(all(a < b for a, b in zip(quarters, quarters[1:])), quarters)
        by_oracle = got["the server's choice by the oracle's scores (it sees the reference)"]
        self.assertGreater(by_oracle, max(value for row, value in got.items() if row.endswith(" alone")))

    def test_flip_flop(self):
        wanted = {f"FFL({p}): errors": 0 for p in (0.1, 0.8, 0.98)}
        self.check("06_flip_flop", {**wanted, "FFL(0.1): reads": 115_095, "FFL(0.98): longest wait of a bit": 255})

    def test_transformer_fam(self):
        wanted = {"A[0][0]": 0.882410697989, "A[1][1]": 0.440171212792, "A^F[0]": 0.646974197651}
        carried = {f"cosine after {blocks} blocks": 1.0 for blocks in (2, 8, 64, 260)}
        self.check("07_transformer_fam", (1e-7, {**wanted, "first block: A[1][0]": 0.804429682507}), (1e-5, carried))

    def test_infini_attention(self):
        wanted = {"linear: M[1][0]": 2.1036383235, "linear: read": 1.6466190695, "delta: z[1]": 1.3678794412}
        keys = {f"passkey after {fillers} fillers": "7,1,3,3,9" for fillers in (1_000, 10_000, 100_000)}
        again = {"delta: read (1, 0) after (1, 0) -> (5, 6)": 2.3358775094, "bytes of the state": 2816}
        recalled = {"64 keys, linear: off by at most": 2.4e-7, "64 keys, delta: off by at most": 0.5347}
        self.check("08_infini_attention", (1e-6, {**wanted, **again}), keys, (5e-4, recalled))

    def test_rare_events(self):
        wanted = {"10 slots": 0.8242, "50 slots": 0.9544, "200 slots": 0.9549, "200 slots: slots used": 81}
        self.check("09_rare_events", wanted)

    def test_knn_lm(self):
        wanted = {"base model": 16.2551, "k 1024, lambda 0.5": 9.988, "k 64, lambda 0.5": 10.102}
        pointers = {"RetoMaton, 1 or more: perplexity": 10.228, "RetoMaton, 32 or more: perplexity": 9.652}
        saved = {"RetoMaton, 1 or more: searches saved": 0.7775, "RetoMaton, 32 or more: searches saved": 0.5585}
        merged = {"20,000 entries": 11.202, "the same, merged": 11.4578}
        self.check(
            "11_knnlm",
            (6e-4, {**wanted, "k 8, lambda 0.5": 10.396, "k 1, lambda 0.75": 17.846, **pointers, **merged}),
            {**saved, "entries left by merging": 9757},
        )

    def test_mem_ae(self):
        published = {"ip": (0.9823, 0.9822, 0.9547), "cosine": (0.9625, 0.9803, 0.4993),
                     "cosine, T 1/50": (0.9872, 0.9869, 0.9824)}
        wanted = {f"{name}, lambda {shrink}/20: mean AUC": area
                  for name, areas in published.items() for shrink, area in zip((0, 1, 3), areas)}
        zeros = {"ip, lambda 3/20: all-zero rows": 870, "cosine, lambda 3/20: all-zero rows": 8980}
        # Of means the published run tells neither the start nor the steps.
        means = {f"ip, 50 means, lambda {shrink}/50: mean AUC": area
                 for shrink, area in ((0, 0.9898), (1, 0.9914), (3, 0.9925))}
        self.check("10_memae", {**wanted, **zeros}, (1.2e-3, means))

    def test_to_m_my(self):
        wanted = {"right with a memory for each agent": 1.0}
        self.check("12_tommy", {**wanted, "false beliefs answered wrong with one memory": 1.0})


if __name__ == "__main__":
    harness.main()
