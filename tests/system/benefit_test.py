"""The benefit that the service counts on a decode stream is the one that the caller computes."""

import harness
import numpy as np

TOKENS = 2_000


class Benefit(harness.SystemTest):
    def test_nats_and_tokens_are_those_of_the_stream(self):
        keys = np.load(harness.STREAM / "query_keys.npy")[:TOKENS]
        gold = np.load(harness.STREAM / "query_gold.npy")[:TOKENS]
        lm = np.load(harness.STREAM / "query_lm_logp.npy")[:TOKENS]
        server = self.serve()
        memory = server.client.create_memory("benefit", 128, vocab_size=11_356, key_dtype="f16")
        nats = 0.0
        with memory.decode_stream(256, 7, exact=True) as stream:
            for i in range(TOKENS):
                got = stream.step(keys[i], targets=gold[i], learn=gold[i], ids=i, lm_log_probs=lm[i], knn_weight=0.3)
                nats += float(got.mix(lm[i : i + 1], 0.3)[0]) - float(lm[i])
            stream.wait()
            counted = stream.benefit_tokens, stream.benefit_nats
        self.assertEqual(counted[0], TOKENS)
        self.assertAlmostEqual(counted[1], nats, delta=1e-6 * abs(nats))
        of_memory = memory.statistics().benefit
        self.assertEqual(of_memory.tokens, TOKENS)
        self.assertAlmostEqual(of_memory.nats, nats, delta=1e-6 * abs(nats))
        self.assertGreater(nats, 0)
        harness.note(f"{nats:.2f} nats over {TOKENS} tokens: perplexity x {np.exp(-nats / TOKENS):.4f}")


if __name__ == "__main__":
    harness.main()
