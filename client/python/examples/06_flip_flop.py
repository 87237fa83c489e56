"""Flip-flop language modelling (Liu et al. 2023): a model must say the bit that was written last, however long ago.

Each string is a session with one register: w writes it, r reads it, i is nothing. A register has no glitches; attention
over all that was written has. Many sessions go in one call, and within a session order is that of the list.
"""

import numpy as np
import page

from mneme import working

SEQUENCES, INSTRUCTIONS, SEED = 1000, 256, 7


def draws(count):
    """splitmix64 from SEED on."""
    with np.errstate(over="ignore"):
        x = np.uint64(SEED) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def strings(p_ignore):
    """SEQUENCES strings of (instruction, bit); the bit after r is that of the last w."""
    numbers, at = draws(SEQUENCES * 2 * INSTRUCTIONS), 0
    chances, bits = (numbers >> np.uint64(11)) * 2.0**-53, (numbers & np.uint64(1)).astype(int)
    p_write = (1 - p_ignore) / 2
    for _ in range(SEQUENCES):
        string, written = [], 0
        for step in range(INSTRUCTIONS):
            if step in (0, INSTRUCTIONS - 1):
                instruction = "r" if step else "w"
            else:
                instruction = "w" if chances[at] < p_write else "r" if chances[at] < 2 * p_write else "i"
                at += 1
            bit, at = int(bits[at]), at + 1
            if instruction == "w":
                written = bit
            string.append((instruction, written if instruction == "r" else bit))
        yield string


def play(memory, p_ignore):
    """(reads, wrong ones, greatest number of instructions from a write to a read of it)."""
    reads = wrong = gap = 0
    operations, wanted = [], []

    def send():
        nonlocal wrong
        answers = memory.apply(operations, durability="written")
        asked = (operation.message.HasField("register_get") for operation in operations)
        got = [answer.value for answer, is_read in zip(answers, asked) if is_read]
        wrong += sum(a != b for a, b in zip(got, wanted)) + abs(len(got) - len(wanted))
        operations.clear()
        wanted.clear()

    for number, string in enumerate(strings(p_ignore)):
        session, last = f"ffl-{p_ignore}-{number}", 0
        for step, (instruction, bit) in enumerate(string):
            if instruction == "w":
                operations.append(working.put(session, "cell", b"%d" % bit))
                last = step
            elif instruction == "r":
                operations.append(working.get(session, "cell"))
                wanted.append(b"%d" % bit)
                reads, gap = reads + 1, max(gap, step - last)
        if len(operations) > 4096 - INSTRUCTIONS:
            send()
    send()
    return reads, wrong, gap


def run(client, plot=None):
    memory = client.create_memory("example-flip-flop", 1)
    rows = []
    for p_ignore, reads, gap in ((0.1, 115095, 19), (0.8, 26425, 129), (0.98, 3573, 255)):
        got_reads, wrong, got_gap = play(memory, p_ignore)
        rows += [(f"FFL({p_ignore}): reads", reads, got_reads), (f"FFL({p_ignore}): errors", 0, wrong),
                 (f"FFL({p_ignore}): longest wait of a bit", gap, got_gap)]
    return page.show(f"Flip-flop: {SEQUENCES} strings of {INSTRUCTIONS} instructions", rows)


if __name__ == "__main__":
    options = page.arguments(__doc__)
    with page.client(options) as served:
        run(served)
