"""The examples in the documentation run: every ```python and ```bash block of docs/api.md and README.md that is marked
to be run is executed, in order, against one server, and none of them may come back with nothing. A block is marked by
the comment <!-- run --> on the line before it."""

import os
import re
import subprocess
import sys

import harness

# What an example says that ran and did nothing: it found, deleted, imported or answered none.
NOTHING = re.compile(r'(?<![\d.,])0 (?:found|entries|rows (?:in|scanned))|"(?:ids|tokens|queries)":\[\]|"found":0\b')
BLOCK = re.compile(r"<!-- run -->\n```(python|bash)\n(.*?)```", re.S)


class Documentation(harness.SystemTest):
    def test_examples_run_as_they_stand(self):
        for name, least in (("docs/api.md", 12),):
            with self.subTest(name):
                self._run(name, least)

    def _run(self, name, least):
        blocks = BLOCK.findall((harness.ROOT / name).read_text())
        self.assertGreaterEqual(len(blocks), least)
        server = self.serve(name.replace("/", "-"), "--backup-dir", str(self.scratch / "backups"))
        folder = self.scratch / (name.replace("/", "-") + ".work")
        folder.mkdir()
        environment = {
            **os.environ,
            "PATH": f"{harness.BIN}:{os.environ['PATH']}",
            "MNEME_SERVER": server.address,
            "PYTHONPATH": str(harness.ROOT / "client" / "python"),
        }
        python, shell = [], 0
        for number, (language, code) in enumerate(blocks, 1):
            code = code.replace("127.0.0.1:7700", server.address)
            if language == "python":
                # One program: a later block may use what an earlier one made.
                python.append(code)
                command = [sys.executable, "-c", "\n".join(python)]
                if any(other == "bash" for other, _ in blocks[number : number + 1]) or number == len(blocks):
                    self._execute(command, folder, environment, f"{name}, Python up to block {number}")
                    python.clear()
            else:
                shell += 1
                self._execute(["bash", "-euo", "pipefail", "-c", code], folder, environment, f"{name}, block {number}")
        harness.note(f"{name}: {len(blocks)} examples ran")

    def _execute(self, command, folder, environment, what):
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
        )
        printed = done.stdout.decode()
        self.assertEqual(done.returncode, 0, f"{what}:\n{command[-1]}\n{printed[-3000:]}")
        for name, text in [("output", printed), *((file.name, file.read_text()) for file in folder.glob("*.json"))]:
            nothing = NOTHING.search(text)
            self.assertIsNone(nothing, f"{what}: its {name} says {nothing and nothing[0]!r}\n{text[-3000:]}")


if __name__ == "__main__":
    harness.main()
