#!/usr/bin/env python3
"""The arrows of the house, as a test: which folder may include which, where third-party libraries may appear, how long
a file and a line may be. System headers all sit in one include path, so the build itself cannot stop a wrong
include."""

import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[1]

# server -> cluster -> engine -> {storage, index, readout} -> common; client -> proto, common; {server, cluster, client}
# -> security -> common.
MAY_INCLUDE = {
    "common": {"common"},
    "storage": {"storage", "common"},
    "index": {"index", "common"},
    "readout": {"readout", "common"},
    "engine": {"engine", "storage", "index", "readout", "common"},
    "security": {"security", "common"},
    "cluster": {"cluster", "engine", "storage", "index", "readout", "security", "common", "proto"},
    "server": {"server", "cluster", "engine", "storage", "index", "readout", "security", "common", "proto"},
    "client": {"client", "security", "proto", "common"},
}
# A library, and the folders whose files may include it, or the files alone.
LIBRARIES = {
    "rocksdb/": {"storage"},
    "faiss/": {"index"},
    "grpcpp/": {"security", "cluster", "server", "client"},
    "grpc/": {"security", "cluster", "server", "client"},
    "openssl/": {"security"},
    "google/protobuf/": {"cluster", "server", "client"},
    "re2/": {"client"},
    "CLI/": {"server/options.cc", "client/cli/command.cc", "client/cli/parser.cc"},
    "hwy/": {"index", "common", "readout"},
    "curl/": {"cluster/s3_store.cc"},
    "librdkafka/": {"cluster/kafka_client.h", "cluster/kafka_producer.h", "cluster/kafka_reader.h"},
}
# Includes of these are generated from proto/.
WIRE = ("mneme/v1/", "mneme/internal/v1/", "google/rpc/")
MAX_LINES = 600
MAX_COLUMNS = 120
INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.M)


def tracked(*suffixes):
    """Files of the tree, new ones included, build folders not."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard"], stdout=subprocess.PIPE)
    names = listed.stdout.decode().splitlines() if listed.returncode == 0 else []
    if not names:  # a source archive
        names = [
            str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if path.is_file() and "build" not in path.parts
        ]
    return [pathlib.Path(name) for name in names if name.endswith(suffixes) and (ROOT / name).is_file()]


def own_sources():
    """Each source that was written here, the vendored protos not, and its lines."""
    for path in tracked(".h", ".cc", ".py", ".proto"):
        if path.parts[:2] != ("proto", "google"):
            yield path, (ROOT / path).read_text(errors="replace").splitlines()


def includes_of(path):
    return INCLUDE.findall((ROOT / path).read_text(errors="replace"))


class Layering(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.sources = [path for path in tracked(".h", ".cc") if path.parts[0] in MAY_INCLUDE]

    def test_there_is_something_to_check(self):
        self.assertGreater(len(self.sources), 50)
        self.assertEqual({path.parts[0] for path in self.sources}, set(MAY_INCLUDE))

    def test_folders_include_only_what_the_arrows_allow(self):
        wrong = []
        for path in self.sources:
            for name in includes_of(path):
                target = "proto" if name.startswith(WIRE) else name.split("/")[0]
                if target in (set(MAY_INCLUDE) | {"proto"}) and target not in MAY_INCLUDE[path.parts[0]]:
                    wrong.append(f"{path} includes {name}")
        self.assertEqual(wrong, [])

    def test_third_party_libraries_stay_in_their_places(self):
        wrong = []
        for path in self.sources:
            for name in includes_of(path):
                for library, places in LIBRARIES.items():
                    if name.startswith(library) and not {path.parts[0], str(path)} & places:
                        wrong.append(f"{path} includes {name}")
        self.assertEqual(wrong, [])

    def test_no_header_that_another_folder_includes_shows_a_library(self):
        seen_from_outside = {
            name
            for path in self.sources
            for name in includes_of(path)
            if name.split("/")[0] in MAY_INCLUDE and name.split("/")[0] != path.parts[0]
        }
        wrong, todo, reached = [], sorted(seen_from_outside), set()
        while todo:
            header = todo.pop()
            if header in reached or not (ROOT / header).is_file():
                continue
            reached.add(header)
            for name in includes_of(pathlib.Path(header)):
                if name.startswith(("rocksdb/", "faiss/", "grpcpp/", "librdkafka/")):
                    wrong.append(f"{header} includes {name}")
                todo.append(name)
        self.assertEqual(wrong, [])

    def test_headers_do_not_include_each_other_in_circles(self):
        graph = {
            str(path): [name for name in includes_of(path) if (ROOT / name).is_file()]
            for path in self.sources
            if path.suffix == ".h"
        }
        state, circles = {}, []

        def visit(header, trail):
            state[header] = "open"
            for name in graph.get(header, []):
                if state.get(name) == "open":
                    circles.append(" -> ".join([*trail, header, name]))
                elif name not in state:
                    visit(name, [*trail, header])
            state[header] = "done"

        for header in graph:
            if header not in state:
                visit(header, [])
        self.assertEqual(circles, [])

    def test_files_are_short(self):
        wrong = []
        for path, lines in own_sources():
            if len(lines) > MAX_LINES:
                wrong.append(f"{path} has {len(lines)} lines; at most {MAX_LINES}")
        self.assertEqual(wrong, [])

    def test_lines_are_short(self):
        wrong = []
        for path, lines in own_sources():
            for number, line in enumerate(lines, 1):
                if len(line) > MAX_COLUMNS:
                    wrong.append(f"{path}:{number} has {len(line)} columns; at most {MAX_COLUMNS}")
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
