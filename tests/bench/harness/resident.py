"""Which pages of a process are in ram: anonymous ones, and those of each section of the index files it has mapped."""

from __future__ import annotations

import pathlib
import re
import struct
from dataclasses import dataclass, field

PAGE = 4096
PRESENT = 1 << 63
# Section of a segment file that holds the keys as they are stored (docs/formats.md).
KEYS = 4


@dataclass
class Pages:
    """Bytes. `sections` sums over all segment files, by section number; 0 is what lies in none."""

    anonymous: int = 0
    sections: dict[int, int] = field(default_factory=dict)


def of_server(pid: int, data_dir: pathlib.Path) -> Pages:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.M)
    pages = Pages(anonymous=int(found.group(1)) * 1024 if found else 0)
    maps = pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines()
    with open(f"/proc/{pid}/pagemap", "rb") as pagemap:
        for line in maps:
            fields = line.split(maxsplit=5)
            if len(fields) < 6 or not fields[5].startswith(str(data_dir)) or not fields[5].endswith(".segment"):
                continue
            first, last = (int(end, 16) for end in fields[0].split("-"))
            pagemap.seek(first // PAGE * 8)
            entries = struct.unpack(f"<{(last - first) // PAGE}Q", pagemap.read((last - first) // PAGE * 8))
            _count(entries, int(fields[2], 16), _sections(pathlib.Path(fields[5])), pages)
    return pages


def code_bytes(index: str, dimension: int) -> float:
    """Of one entry, by the name of its codec."""
    kind, _, argument = index.partition(":")
    if kind == "int8":
        return dimension
    if kind == "pca":
        return int(argument)
    if kind in ("pq", "opq"):
        half = argument.endswith("x4")
        return int(argument[:-2] if half else argument) / (2 if half else 1)
    if kind == "rabitq":
        return dimension * int(argument or 1) / 8 + 8
    return 2 * dimension  # stored keys, f16


def has_codes_of_its_own(index: str) -> bool:
    return index.partition(":")[0] in ("int8", "pca", "pq", "opq", "rabitq")


def _sections(path: pathlib.Path) -> list[tuple[int, int, int]]:
    """(section, offset, bytes) of an index file."""
    with open(path, "rb") as file:
        head = file.read(PAGE)
    count = struct.unpack_from("<I", head, 52)[0]
    found = (struct.unpack_from("<IIQQ", head, 80 + 24 * i) for i in range(count))
    return [(section, offset, size) for section, _, offset, size in found]


def _count(entries: tuple[int, ...], offset: int, sections: list[tuple[int, int, int]], pages: Pages) -> None:
    present = [i for i, entry in enumerate(entries) if entry & PRESENT]
    starts = sorted((start, section, start + size) for section, start, size in sections)
    at = 0
    for i in present:
        middle = offset + i * PAGE + PAGE // 2
        while at + 1 < len(starts) and starts[at + 1][0] <= middle:
            at += 1
        start, section, end = starts[at] if starts else (0, 0, 0)
        key = section if start <= middle < end else 0
        pages.sections[key] = pages.sections.get(key, 0) + PAGE
