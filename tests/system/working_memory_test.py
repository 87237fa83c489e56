"""Working memory over the wire: flip-flop strings without a glitch, through kill -9 and with two clients; what a retry
and a failed operation do. Goldens of the papers' states."""

import threading

import harness
import mneme
from mneme import working

MASK = (1 << 64) - 1


class SplitMix:
    """splitmix64, so that the strings are the same in every language."""

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)


def flip_flop(random, p_ignore, length=256):
    """One string of FFL(p_ignore): (instruction, bit), "w" first and "r" last; a read's bit is the last written."""
    p_write, written, string = (1 - p_ignore) / 2, 0, []
    for at in range(length):
        if at in (0, length - 1):
            instruction = "w" if at == 0 else "r"
        else:
            draw = (random.next() >> 11) * 2.0**-53
            instruction = "w" if draw < p_write else "r" if draw < 2 * p_write else "i"
        bit = random.next() & 1
        if instruction == "w":
            written = bit
        string.append((instruction, written if instruction == "r" else bit))
    return string


class WorkingMemory(harness.SystemTest):
    def memory(self, shards, name="data"):
        server = self.serve(f"{name}{shards}", "--shards", str(shards))
        return server, server.client.create_memory("wm", 2)

    def test_flip_flop_reads_are_exact_through_a_kill(self):
        sequences = 1000 if harness.FULL else 60
        for shards, p_ignore in ((1, 0.1), (4, 0.8), (4, 0.98)):
            with self.subTest(shards=shards, p_ignore=p_ignore):
                server, memory = self.memory(shards, f"ffl{int(p_ignore * 100)}-")
                random = SplitMix(7)
                strings = [flip_flop(random, p_ignore) for _ in range(sequences)]
                reads = glitches = 0
                kills = {64, 200}
                for at in range(256):
                    if at in kills:  # everything was acknowledged: nothing may be lost, and versions go on
                        server.kill()
                        server.start()
                        memory = server.client.memory("wm")
                    operations, expected = [], []
                    for number, string in enumerate(strings):
                        instruction, bit = string[at]
                        if instruction == "w":
                            operations.append(working.put(f"ffl{number}", "cell", bytes([bit])))
                            expected.append(None)
                        elif instruction == "r":
                            operations.append(working.get(f"ffl{number}", "cell"))
                            expected.append(bit)
                    if not operations:
                        continue
                    durability = "sync" if at + 1 in kills else "written"
                    for state, bit in zip(memory.apply(operations, durability=durability), expected):
                        self.assertIsNone(state.error)
                        if bit is not None:
                            reads += 1
                            glitches += state.value != bytes([bit])
                harness.note(f"FFL({p_ignore}), {shards} shards: {glitches} glitches in {reads:,} reads")
                self.assertGreater(reads, 0)
                self.assertEqual(glitches, 0)
                self.assertEqual(sum(1 for _ in memory.sessions("ffl")), sequences)
                server.kill()

    def test_two_clients_write_one_counter_by_compare_and_set(self):
        server, memory = self.memory(2)
        clients = [mneme.connect(server.address) for _ in range(2)]
        lost = []

        def add(client):
            session = client.memory("wm").session("shared")
            for _ in range(40):
                while True:
                    state = session.get("sum")
                    try:
                        session.cas("sum", state.version, str(int(state.value or b"0") + 1).encode())
                        break
                    except mneme.Aborted:
                        lost.append(1)

        threads = [threading.Thread(target=add, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        state = memory.session("shared").get("sum")
        self.assertEqual((int(state.value), state.version), (80, 80))
        harness.note(f"80 increments by two clients, {len(lost)} lost races")

    def test_a_failed_operation_takes_only_its_session_along(self):
        _, memory = self.memory(4)
        answers = memory.apply(
            [working.put("a", "x", b"1"), working.cas("a", "y", 3, b"2"), working.put("b", "x", b"3")]
        )
        self.assertIsInstance(answers[1].error, mneme.Aborted)
        self.assertEqual([each.error is None for each in answers], [False, False, True])
        self.assertIsNone(memory.session("a").get("x").value)
        self.assertEqual(memory.session("b").get("x").value, b"3")
        with self.assertRaises(mneme.Aborted):
            memory.session("b").cas("x", 7, b"")
        self.assertEqual(memory.reset_sessions(["a", "b"]), 1)

    def test_a_retry_is_applied_once(self):
        server, memory = self.memory(1)
        operations = [working.put("s", "x", b"1"), working.get("s", "x")]
        first = memory.apply(operations, request_id="once")
        memory.session("s").put("x", b"2")
        server.kill()
        server.start()
        memory = server.client.memory("wm")
        self.assertEqual(memory.apply(operations, request_id="once"), first)
        self.assertEqual(memory.session("s").get("x").value, b"2")


if __name__ == "__main__":
    harness.main()
