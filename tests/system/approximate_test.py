"""Default search of the sealed real store: recall, perplexity, and the share of the rows that were scanned."""

import json

import harness
import numpy as np

COUNT = 22_062 if harness.FULL else 1_000


class Approximate(harness.SystemTest):
    def test_default_search_keeps_recall_and_perplexity_and_scans_a_small_share(self):
        folder = harness.wiki()
        dev = folder / "dev"
        memory = self.serve().client.create_memory("wiki", 128, vocab_size=11_356, key_dtype="f16")
        memory.import_rows(
            np.load(folder / "store_keys.npy"), np.load(folder / "store_values.npy"), durability="written"
        )
        with harness.stopwatch("sealing 357,664 rows"):
            memory.build()
        rows = np.load(dev / "golden_rows.npy")
        queries, golden = np.load(dev / "query_keys.npy")[rows], np.load(dev / "golden_top1024_ids.npy")
        for k in (10, 100, 1024):
            got = memory.query(queries, k)
            statistics = got.statistics
            self.assertFalse(statistics.exact)
            recall = np.mean([len(np.intersect1d(got.ids[got.row(i)], golden[i, :k])) / k for i in range(len(rows))])
            share = statistics.rows_scanned / statistics.rows_total
            harness.note(
                f"k {k}: recall {recall:.4f}, scanned {share:.1%} of {statistics.rows_total:,} rows, "
                f"{statistics.lists_probed} lists, {statistics.segments} segments, tail {statistics.tail_rows}"
            )
            self.assertGreaterEqual(recall, 0.95)
            self.assertLessEqual(share, 0.15)
        self._check_perplexity(memory, dev)

    def _check_perplexity(self, memory, dev):
        keys, gold = np.load(dev / "query_keys.npy")[:COUNT], np.load(dev / "query_gold.npy")[:COUNT]
        lm = np.load(dev / "query_lm_logp.npy")[:COUNT]
        nats = {True: [], False: []}
        for exact in ([False] if harness.FULL else [False, True]):
            for start in range(0, COUNT, 500):
                cut = slice(start, start + 500)
                got = memory.distribution(keys[cut], 1024, 7, targets=gold[cut], exact=exact)
                nats[exact].append(got.mix(lm[cut], 0.3))
        golden = json.loads((dev / "golden.json").read_text())
        reference = golden["tuned_ppl"] if harness.FULL else float(np.exp(-np.concatenate(nats[True]).mean()))
        perplexity = float(np.exp(-np.concatenate(nats[False]).mean()))
        harness.note(f"perplexity of {COUNT:,} tokens: {perplexity:.4f} by default, {reference:.4f} exact")
        self.assertLessEqual(abs(perplexity / reference - 1), 0.005)


if __name__ == "__main__":
    harness.main()
