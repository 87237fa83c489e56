"""The entries of the kill test: everything of an entry follows from its id, so that a checker can make it again."""

import zlib

import numpy as np

DIMENSION = 32
TOKENS = 1_009
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def keys_of(ids, seed):
    """[n, DIMENSION] in [-1, 1)."""
    with np.errstate(over="ignore"):
        mixed = np.asarray(ids, np.uint64)[:, None] * np.uint64(DIMENSION) + np.arange(DIMENSION, dtype=np.uint64)
        mixed = (mixed + np.uint64(seed) + np.uint64(1)) * _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _GOLDEN
    return ((mixed >> np.uint64(40)).astype(np.float32) / np.float32(2**23)) - np.float32(1)


def tokens_of(ids):
    return np.asarray(ids) % TOKENS


def sources_of(ids):
    return np.asarray(ids) // 100


def hash_of(key, token, source):
    """What the log of the writer keeps of an entry."""
    content = np.asarray(key, "<f4").tobytes() + int(token).to_bytes(4, "little") + int(source).to_bytes(8, "little")
    return zlib.crc32(content)
