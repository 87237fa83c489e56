"""The same answers, byte for byte, with 1, 2 and 4 shards, before and after sealing, and after a restart."""

import harness
import numpy as np

ROWS, DIMENSION, QUERIES = (60_000 if harness.FULL else 30_000), 32, 64


class Shards(harness.SystemTest):
    def test_answers_do_not_depend_on_shards_sealing_or_restarts(self):
        keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
        keys[self.random.permutation(ROWS)[: ROWS // 10]] = keys[0]
        files = {
            "keys": self.save("keys.npy", keys),
            "values": self.save("values.npy", np.arange(ROWS) % 5_003),
            "sources": self.save("sources.npy", np.arange(ROWS) // 1_000),
        }
        queries = self.save("queries.npy", keys[self.random.integers(0, ROWS, QUERIES)] + np.float32(0.25))
        golden = None
        for shards in (1, 2, 4):
            server = self.serve(f"data-{shards}", "--shards", str(shards))
            server.cli(
                "create", "wiki", "--dim", DIMENSION, "--metric", "l2", "--value", "token", "--vocab-size", 5_003
            )
            server.cli(
                "import", "wiki", "--keys", files["keys"], "--values", files["values"], "--sources", files["sources"]
            )
            for state in ("fresh", "sealed", "restarted", "one source deleted"):
                if state == "sealed":
                    server.client.memory("wiki").build()
                elif state == "restarted":
                    server.restart()
                elif state == "one source deleted":
                    self.assertEqual(server.client.memory("wiki").delete(sources=[3]).deleted, 1_000)
                asked = ("--keys", queries, "-k", 100, "--exact")
                answers = (
                    server.cli_text("query", "wiki", *asked, "-o", "json"),
                    server.cli_text("distribution", "wiki", *asked, "--temperature", 10, "-o", "json"),
                )
                if golden is None:
                    golden = {}
                if state not in golden:
                    golden[state] = answers
                self.assertEqual(answers, golden[state], f"{shards} shards, {state}")
            server.stop()
        self.assertEqual(golden["fresh"], golden["sealed"])
        self.assertEqual(golden["fresh"], golden["restarted"])
        self.assertNotEqual(golden["fresh"], golden["one source deleted"])
        harness.note(f"{sum(map(len, golden['fresh'])):,} bytes of JSON equal in 9 states, {QUERIES} queries at k 100")


if __name__ == "__main__":
    harness.main()
