"""XXH3-64, the checksum of Mneme's files, by the library that the server itself is linked with."""

from __future__ import annotations

import ctypes

_library = ctypes.CDLL("libxxhash.so.0")
_library.XXH3_64bits_withSeed.restype = ctypes.c_uint64
_library.XXH3_64bits_withSeed.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64]


def digest(data: bytes, seed: int = 0) -> int:
    return int(_library.XXH3_64bits_withSeed(data, len(data), seed))
