"""What every release wrote (tests/data/formats) is opened by the programs of now, which tell of it what the release
told: data directories, backups, restored ones, directories of shards in processes of their own. And what a newer
program wrote is refused, with both versions named, before anything is touched."""

from __future__ import annotations

import hashlib
import pathlib
import re
import subprocess
from typing import Any, Callable, Iterable

import cluster
import harness
import numpy as np
import released_formats as formats

REFUSED = r"has format {}; this program reads formats 1 to (\d+)"


class Formats(harness.SystemTest):
    maxDiff = 4_000

    def each_release(self, check: Callable[[pathlib.Path, dict[str, Any]], None]) -> None:
        """Gives every release's stores, anew, and its questions."""
        releases = sorted(path for path in formats.FOLDER.iterdir() if path.is_dir())
        self.assertIn("0.1", [path.name for path in releases])
        for path in releases:
            with self.subTest(release=path.name):
                stored = self.scratch / path.name
                formats.unpack(path / formats.ARCHIVE, stored)
                check(stored, harness.json.loads((path / formats.EXPECTED).read_text())["questions"])

    def ask(self, client: harness.mneme.Client, questions: Iterable[dict[str, Any]]) -> int:
        """Every answer is what it was; how many there are."""
        asked, count = formats.Asked(client), 0
        for question in questions:
            with self.subTest(**{name: value for name, value in question.items() if isinstance(value, str)}):
                answer = harness.json.loads(harness.json.dumps(asked.answer(question)))
                self.assertEqual(formats.differences(question, answer), [])
            count += 1
        return count

    def start(self, folder: pathlib.Path, *flags: str) -> harness.Server:
        server = harness.Server(folder, *flags)
        self.addCleanup(server.kill)
        return server

    def rebuilt(self, server: harness.Server) -> dict[str, int]:
        kinds = ("codebook", "segment")
        return {kind: int(server.metrics()[f'mneme_index_rebuilt_total{{kind="{kind}"}}']) for kind in kinds}

    def run_mneme(self, *arguments: Any) -> subprocess.CompletedProcess[str]:
        command = [str(harness.BIN / "mneme"), *map(str, arguments), "-o", "json"]
        return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    def told(self, *arguments: Any) -> Any:
        done = self.run_mneme(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return harness.json.loads(done.stdout)

    def test_the_version_of_now_has_its_formats_kept(self) -> None:
        version = subprocess.run([str(harness.BIN / "mneme"), "--version"], check=True, capture_output=True, text=True)
        folder = formats.FOLDER / formats.release_of(version.stdout.split()[-1])
        what_to_do = "run /usr/bin/python3 tests/system/make_formats.py, and commit what it makes"
        self.assertTrue(folder.is_dir(), f"{folder} is not there: {what_to_do}")

    def test_a_data_directory_is_as_the_release_left_it(self) -> None:
        self.each_release(self._check_data)

    def _check_data(self, stored: pathlib.Path, questions: dict[str, Any]) -> None:
        server = self.start(stored / formats.DATA)
        count = sum(self.ask(server.client, questions[name]) for name in ("anywhere", "here", "again", "anywhere"))
        harness.note(f"{count} answers of the directory of {stored.name}")
        self.assertEqual(self.rebuilt(server), {"codebook": 0, "segment": 0}, "the index was not read from its files")

        # It is written to. No question is of this memory but those that were asked already.
        memory = server.client.memory("late")
        before = memory.count(partitions="all")
        added = memory.insert(np.eye(4, dtype=np.float32), [1, 2, 3, 4]).ids.tolist()
        memory.insert(np.eye(4, dtype=np.float32), [5, 6, 7, 8], ids=np.arange(900, 904))
        memory.session("since").put("draft", b"since")
        server.client.create_memory("since", 2)
        server.client.set_alias("since-alias", "since")
        self.assertEqual(server.stop(), 0)
        server.flags = ("--erase-after", "0")
        server.start()
        memory = server.client.memory("late")
        self.assertEqual(memory.count(partitions="all"), before + 8)
        self.assertEqual(memory.get(added).values.tolist(), [1, 2, 3, 4])
        self.assertEqual(memory.session("since").get("draft").value, b"since")
        self.assertEqual(server.client.aliases()["since-alias"], "since")

        # Its deletions are erased with those that come now.
        deleted = memory.delete(everything=True)
        self.assertEqual(deleted.deleted, memory.receipt(deleted.receipt, wait="rocksdb", within=240).deleted)
        for question in questions["here"]:
            if question["ask"] == "receipt":
                receipt = {**question, "reached": "rocksdb"}
                self.assertTrue(formats.Asked(server.client).answer(receipt)["reached"], question)
        self.ask(server.client, questions["anywhere"])
        self.assertEqual(self.rebuilt(server), {"codebook": 0, "segment": 0})
        self.assertEqual(server.stop(), 0)

    def test_a_backup_comes_back(self) -> None:
        self.each_release(self._check_backup)

    def _check_backup(self, stored: pathlib.Path, questions: dict[str, Any]) -> None:
        backups = stored / formats.BACKUPS
        newest = self.told("verify", backups)
        self.assertEqual(newest["number"], 2)
        first = self.told("verify", backups, "--number", 1)
        self.assertGreater(first["entries"], 0)
        for name, *onto in (("as-it-was",), ("onto-3", "--shards", 3)):
            restored = self.told("restore", backups, "--data-dir", stored / name, *onto)
            self.assertEqual(restored["entries"], newest["entries"])
            server = self.start(stored / name)
            for questions_of in ("anywhere", "again"):
                self.ask(server.client, questions[questions_of])
            self.assertEqual(server.stop(), 0)
        restored = self.told("restore", backups, "--data-dir", stored / "first", "--number", 1)
        self.assertEqual(restored["entries"], first["entries"])
        server = self.start(stored / "first")
        self.assertEqual(server.client.statistics().entries, first["entries"])
        server.kill()

    def test_what_was_restored_onto_other_shards_is_served(self) -> None:
        self.each_release(self._check_resharded)

    def _check_resharded(self, stored: pathlib.Path, questions: dict[str, Any]) -> None:
        server = self.start(stored / formats.RESHARDED)
        for name in ("anywhere", "again", "anywhere"):
            self.ask(server.client, questions[name])
        memory = server.client.memory("wiki")
        known = {each for page in memory.scan() for each in page.ids.tolist()}
        given = memory.insert(np.zeros((5, 8), np.float32), np.arange(5)).ids.tolist()
        self.assertFalse(known.intersection(given))
        self.assertEqual(server.stop(), 0)

    def test_shards_in_processes_of_their_own_are_served(self) -> None:
        self.each_release(self._check_apart)

    def _check_apart(self, stored: pathlib.Path, questions: dict[str, Any]) -> None:
        deployment = cluster.Cluster(stored / formats.APART, 2, 1)
        self.addCleanup(deployment.kill)
        self.ask(deployment.client, questions["apart"])
        memory = deployment.client.memory("wiki")
        before = memory.count(partitions="all")
        memory.insert(np.ones((4, 4), np.float32), np.arange(4), ids=np.arange(700, 704))
        self.assertEqual(memory.count(partitions="all"), before + 4)
        deployment.kill()
        self.told("restore", stored / formats.APART_BACKUPS, "--data-dir", stored / "together")
        server = self.start(stored / "together")
        self.ask(server.client, questions["apart"])
        server.kill()

    def test_a_directory_of_a_newer_program_is_refused(self) -> None:
        self.each_release(self._check_newer_directory)

    def _check_newer_directory(self, stored: pathlib.Path, _: Any) -> None:
        folder = stored / formats.DATA
        command = [str(harness.BIN / "mneme-server"), "--data-dir", str(folder), "--listen", "127.0.0.1:0"]

        def refused() -> str:
            done = subprocess.run([*command, "--admin-listen", "off"], capture_output=True, text=True, timeout=120)
            self.assertEqual(done.returncode, 1, done.stderr)
            return done.stdout + done.stderr

        self._check_newer_is_refused(folder / "FORMAT", folder, refused)

    def test_a_backup_of_a_newer_program_is_refused(self) -> None:
        self.each_release(self._check_newer_backup)

    def _check_newer_backup(self, stored: pathlib.Path, _: Any) -> None:
        for folder, manifest in (
            (stored / formats.BACKUPS, "BACKUP-000002"),
            (stored / formats.APART_BACKUPS, "part-001/BACKUP-000001"),
        ):
            for verb in (("verify",), ("restore", "--data-dir", str(stored / "restored"))):

                def refused() -> str:
                    done = self.run_mneme(verb[0], folder, *verb[1:])
                    self.assertEqual(done.returncode, 1, done.stderr)
                    self.assertFalse((stored / "restored").exists())
                    return done.stderr

                self._check_newer_is_refused(folder / manifest, folder, refused)

    def _check_newer_is_refused(self, file: pathlib.Path, folder: pathlib.Path, refused: Callable[[], str]) -> None:
        """With a version far above all that the program knows, and with the next one."""
        as_it_was = file.read_bytes()
        newest = 999
        for _ in range(2):
            file.write_bytes(formats.with_version(as_it_was, newest + 1))
            before = digest(folder)
            told = refused()
            names_both = re.search(REFUSED.format(newest + 1), told)
            self.assertIsNotNone(names_both, told)
            self.assertEqual(digest(folder), before, "something was touched")
            newest = int(names_both[1])
        self.assertLess(newest, 999)
        file.write_bytes(as_it_was)

    def test_index_files_of_a_newer_program_are_built_anew(self) -> None:
        self.each_release(self._check_newer_index)

    def _check_newer_index(self, stored: pathlib.Path, questions: dict[str, Any]) -> None:
        folder = stored / formats.DATA
        # Of two shards: of one partition its segment would go with its codebook.
        newer = {
            "segment": sorted((folder / "shard-000" / "index").glob("*.segment"))[0],
            "codebook": sorted((folder / "shard-001" / "index").glob("*.codebook"))[0],
        }
        for file in newer.values():
            file.write_bytes(formats.with_envelope_version(file.read_bytes(), 999))
        server = self.start(folder)
        self.assertEqual(self.rebuilt(server), {"codebook": 1, "segment": 1})
        log = server.log.read_text()
        for file in newer.values():
            self.assertRegex(log, rf"{re.escape(file.name)}: format version is 999; must be \d+")
        self.ask(server.client, (each for each in questions["anywhere"] if each["ask"] in ("entries", "nearest")))
        for name in {each["memory"] for each in questions["here"] if each["ask"] == "approximate"}:
            found = server.client.memory(name).query(np.zeros((1, 8), np.float32) + 1, 5, nprobe=1)
            self.assertFalse(found.statistics.exact, f"{name} has no index")
        self.assertEqual(server.stop(), 0)


def digest(folder: pathlib.Path) -> str:
    """Of what is in it, but for the lock of who looked."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "LOCK")
    sums = (f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in files)
    return hashlib.sha256("".join(sums).encode()).hexdigest()


if __name__ == "__main__":
    harness.main()
