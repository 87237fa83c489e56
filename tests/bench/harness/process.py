"""Child processes: programs that answer with one JSON object, and those that answer line by line."""

from __future__ import annotations

import json
import pathlib
import subprocess
from typing import Any, Optional, Sequence, Union

Argument = Union[str, int, float, pathlib.Path]


def run_json(command: Sequence[Argument], timeout: float = 3600.0) -> dict[str, Any]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=timeout)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(part) for part in command)}\n{done.stderr.strip()[-2000:]}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


class LineProcess:
    """A child that is asked with one JSON object a line, and answers with one. The first line says that it is ready."""

    def __init__(
        self, command: Sequence[Argument], log: pathlib.Path, environment: Optional[dict[str, str]] = None
    ) -> None:
        self._log = log
        with open(log, "ab") as errors:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=environment,
            )
        self.ready = self._answer()

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command, default=str) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            try:
                self._process.wait(30)
            except subprocess.TimeoutExpired:
                self._process.terminate()  # it ends what it started
                try:
                    self._process.wait(30)
                except subprocess.TimeoutExpired:
                    self._process.kill()
                    self._process.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"{self._process.args} ended with {code}: {self._log.read_text()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self._process.args}: {answer['error']}")
        return answer
