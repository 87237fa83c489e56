"""The writer of the kill test, a process of its own: streams entries and logs what was acknowledged.

kill_writer.py ADDRESS LOG SEED FIRST_ID DURABILITY stream|bulk: one line "id hash" for each acknowledged entry. Ends
when the server dies.
"""

import sys

import harness  # noqa: F401  (puts the client on the path)
import kill_entries
import mneme
import numpy as np

BATCH = {"stream": 64, "bulk": 24_576}  # of a load: each shard's part is a table


def batches(seed, first, sent, size):
    """Endless; `sent` remembers what is not yet acknowledged."""
    while True:
        ids = np.arange(first, first + size)
        keys = kill_entries.keys_of(ids, seed)
        sent.append((ids, keys))
        yield {"keys": keys, "tokens": kill_entries.tokens_of(ids), "ids": ids, "sources": kill_entries.sources_of(ids)}
        first += size


def main():
    address, path, seed, first, durability, way = sys.argv[1:]
    sent_batches = batches(int(seed), int(first), sent := [], BATCH[way])
    memory = mneme.connect(address, attempts=1).memory("kill")
    acknowledged = 0
    with open(path, "a") as log:
        try:
            for ack in memory.insert_stream(sent_batches, durability=durability, bulk=way == "bulk"):
                while acknowledged < ack.sequence:
                    ids, keys = sent.pop(0)
                    acknowledged += 1
                    columns = zip(ids.tolist(), keys, kill_entries.tokens_of(ids), kill_entries.sources_of(ids))
                    log.write("".join(f"{each} {kill_entries.hash_of(*rest)}\n" for each, *rest in columns))
                log.flush()
        except mneme.MnemeError:
            pass  # the server was killed: what the log holds is what was promised


if __name__ == "__main__":
    main()
