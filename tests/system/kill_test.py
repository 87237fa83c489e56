"""kill -9 of the real server, again and again, while entries stream in or are loaded in bulk and tails are sealed:
nothing acknowledged is lost, altered or duplicated. The writer and the checker are processes of their own."""

import contextlib
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import harness
import mneme

HERE = pathlib.Path(__file__).parent
ROUNDS = 100 if harness.FULL else 8
FRESH_EVERY = 5


class Kill(harness.SystemTest):
    def test_no_acknowledged_entry_is_lost_altered_or_duplicated(self):
        log = self.scratch / "acknowledged.log"
        log.touch()
        server = self.serve("data", "--shards", "2")
        server.client.create_memory("kill", 32, vocab_size=1_009)
        first, acknowledged, recoveries = 0, [], []
        for number in range(ROUNDS):
            if number and number % FRESH_EVERY == 0:  # so that checking stays quick; the drop goes on in the background
                server.client.drop_memory("kill")
                server.client.create_memory("kill", 32, vocab_size=1_009)
                log.write_text("")
                first = 0
            before = self._lines(log)
            writer = self._program(
                "kill_writer.py",
                *(server.address, log, harness.SEED, first),
                ("sync", "written")[number % 2],
                "bulk" if number % 4 >= 2 else "stream",
            )
            self._until_first_acknowledgement(log, before, writer)
            builder = self._build_in_background(server) if number % 3 == 0 else None
            time.sleep(self.random.uniform(0.1, 0.6))  # the moment of the kill is the point of this test
            server.kill()
            writer.communicate(timeout=60)
            if builder:
                builder.join(60)
            acknowledged.append(self._lines(log) - before)
            start = time.monotonic()
            server.start()
            recoveries.append(time.monotonic() - start)
            checker = self._program("kill_checker.py", server.address, log, harness.SEED)
            verdict = checker.communicate(timeout=600)[0].decode().strip()
            harness.note(
                f"round {number + 1}: acknowledged {acknowledged[-1]}, up again in {recoveries[-1]:.2f} s; {verdict}"
            )
            self.assertEqual(checker.returncode, 0, verdict)
            first = int(verdict.split()[-1])
        harness.note(
            f"{ROUNDS} kills, {sum(acknowledged):,} acknowledged, median {statistics.median(acknowledged):,.0f} "
            f"a round; 0 lost, altered or duplicated; slowest recovery {max(recoveries):.2f} s"
        )
        self.assertGreaterEqual(statistics.median(acknowledged), 2_000 if harness.FULL else 500)

    def _program(self, name, *arguments):
        return subprocess.Popen([sys.executable, HERE / name, *map(str, arguments)], stdout=subprocess.PIPE)

    @staticmethod
    def _lines(path):
        return path.read_bytes().count(b"\n")

    def _until_first_acknowledgement(self, log, before, writer):
        end = time.monotonic() + 60
        while self._lines(log) == before:
            self.assertLess(time.monotonic(), end, "nothing was acknowledged in a minute")
            self.assertIsNone(writer.poll(), "the writer ended by itself")
            time.sleep(0.01)

    @staticmethod
    def _build_in_background(server):
        def build():
            with contextlib.suppress(mneme.MnemeError, ValueError):
                mneme.connect(server.address, attempts=1).memory("kill").build(timeout=60)

        thread = threading.Thread(target=build)
        thread.start()
        return thread


if __name__ == "__main__":
    harness.main()
