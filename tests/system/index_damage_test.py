"""Damaged index files: flipped, truncated, swapped, deleted. Each is caught, the index is rebuilt from the store, and
the answers are the same."""

import harness
import numpy as np

ROWS, DIMENSION = 30_000, 24
DAMAGED, FILES_A_ROUND = (500, 3) if harness.FULL else (12, 2)


class Damage(harness.SystemTest):
    def test_damaged_index_files_are_caught_and_rebuilt(self):
        server = self.serve("data", "--shards", "2")
        memory = server.client.create_memory("damaged", DIMENSION)
        keys = self.random.normal(size=(ROWS, DIMENSION)).astype(np.float32)
        memory.import_rows(keys, np.arange(ROWS) % 997)
        memory.build()
        queries = keys[:32] + np.float32(0.1)
        golden = memory.query(queries, 50, exact=True)
        server.stop()
        damaged = number = 0
        while damaged < DAMAGED:
            number += 1
            files = self._index_files(server.data_dir)
            self.assertGreater(len(files), FILES_A_ROUND, "too few index files to damage")
            chosen = self.random.permutation(len(files))[:FILES_A_ROUND]
            done = [self._damage(files[i], files) for i in chosen]
            damaged += len(done)
            server.start()
            memory = server.client.memory("damaged")
            exact = memory.query(queries, 50, exact=True)
            np.testing.assert_array_equal(exact.ids, golden.ids, err_msg=f"round {number}: {done}")
            np.testing.assert_array_equal(exact.distances, golden.distances, err_msg=f"round {number}: {done}")
            self.assertEqual(memory.count(), ROWS)
            memory.build()
            after = memory.query(queries, 50)
            self.assertFalse(after.statistics.exact, "the index was not rebuilt")
            recall = np.mean(
                [len(np.intersect1d(after.ids[after.row(i)], golden.ids[golden.row(i)])) / 50 for i in range(32)]
            )
            self.assertGreaterEqual(recall, 0.85, f"round {number}: {done}")
            self.assertEqual(server.stop(), 0)
        harness.note(f"{damaged} index files damaged in {number} restarts: every answer equal, every index rebuilt")

    @staticmethod
    def _index_files(data_dir):
        return sorted(
            path for path in data_dir.rglob("*") if path.is_file() and "index" in path.relative_to(data_dir).parts[:-1]
        )

    def _damage(self, path, files):
        how = ("flip", "truncate", "swap", "delete", "zero")[self.random.integers(5)]
        content = bytearray(path.read_bytes())
        at = int(self.random.integers(max(1, len(content))))
        if how == "flip" and content:
            content[at] ^= 1 << int(self.random.integers(8))
        elif how == "truncate":
            content = content[:at]
        elif how == "zero":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
        elif how == "swap":
            others = [other for other in files if other != path and other.exists()]
            other = others[self.random.integers(len(others))]
            content, swapped = other.read_bytes(), bytes(content)
            other.write_bytes(swapped)
        if how == "delete":
            path.unlink()
        else:
            path.write_bytes(content)
        return f"{how} {path.name} at {at}"


if __name__ == "__main__":
    harness.main()
