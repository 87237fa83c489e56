"""Token masks: which tokens may come next so that the text goes on as a legal string (monitor-guided decoding)."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Container, Iterable, Mapping, Optional, Sequence, Union

import numpy as np

from . import calls, working
from ._proto import working_memory_pb2 as pb
from .wire import Array

Text = Union[str, bytes]
UNCONSTRAINED = 0xFFFFFFFF  # where a TokenTrie ends: anything may follow


@dataclasses.dataclass(frozen=True)
class Facts:
    """Where the legal strings of a row stand: a register that `put_facts` wrote. written: of them since the trigger."""

    session: str
    name: str
    written: Text = b""


@dataclasses.dataclass(frozen=True)
class Legal:
    """The legal strings of a row themselves."""

    strings: Sequence[Text]
    written: Text = b""


@dataclasses.dataclass(frozen=True)
class TokenTrie:
    """Every way on from some legal strings. Node 0 is where the model stands; `step` follows what it wrote."""

    offsets: Array
    tokens: Array
    children: Array

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def allowed(self, node: int) -> Array:
        """The tokens that may come in this node, ascending; none: a dead end."""
        return self.tokens[int(self.offsets[node]) : int(self.offsets[node + 1])]

    def step(self, node: int, token: int) -> int:
        """The node after this token, or UNCONSTRAINED. KeyError when the token is not allowed."""
        first = int(self.offsets[node])
        at = first + int(np.searchsorted(self.allowed(node), token))
        if at >= int(self.offsets[node + 1]) or self.tokens[at] != token:
            raise KeyError(f"token {token} is not allowed in node {node}")
        return int(self.children[at])


@dataclasses.dataclass(frozen=True)
class Masks:
    """Masks of some rows. dead_ends: no token is allowed; unknown: the row's register is not there."""

    vocabulary_size: int
    dead_ends: Array
    unknown: Array
    offsets: Optional[Array]
    tokens: Optional[Array]
    bitsets: Optional[Array]
    tries: list[TokenTrie]

    def __repr__(self) -> str:
        return f"Masks(rows={len(self.dead_ends)}, dead_ends={int(self.dead_ends.sum())})"

    def allowed(self, row: int) -> Array:
        """The ids of the allowed tokens, ascending."""
        if self.offsets is None or self.tokens is None:
            return np.flatnonzero(self.dense(row)).astype("<u4")
        return self.tokens[int(self.offsets[row]) : int(self.offsets[row + 1])]

    def dense(self, row: int) -> Array:
        """[vocabulary_size] of bool."""
        if self.bitsets is not None:
            return np.unpackbits(self.bitsets[row], count=self.vocabulary_size, bitorder="little").astype(bool)
        out = np.zeros(self.vocabulary_size, bool)
        out[self.allowed(row)] = True
        return out


def byte_level_texts(vocabulary: Mapping[str, int], special: Container[int] = ()) -> list[Optional[str]]:
    """The texts of a byte-level vocabulary (GPT-2's, as in the file vocab.json), by id; None where a token is special
    or, a part of a character, no text by itself."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    alphabet = {chr(byte): byte for byte in shown} | {chr(256 + i): byte for i, byte in enumerate(hidden)}
    texts: list[Optional[str]] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for token, number in vocabulary.items():
        try:
            texts[number] = None if number in special else bytes(alphabet[each] for each in token).decode()
        except (KeyError, UnicodeDecodeError):
            pass  # as it is: None
    return texts


def break_characters(texts: Iterable[Optional[str]]) -> str:
    """Every character of a vocabulary that is no part of an identifier."""
    return "".join(sorted({each for text in texts if text for each in text if not re.match(r"\w", each)}))


def _bytes(text: Text) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text)


def encode_vocabulary(texts: Iterable[Optional[Text]], break_characters: str) -> bytes:
    """A vocabulary as its register holds it (docs/formats.md)."""
    encoded = [b"" if text is None else _bytes(text) for text in texts]
    lengths = np.array([len(each) for each in encoded], "<u4")
    return np.uint32(len(encoded)).astype("<u4").tobytes() + lengths.tobytes() + b"".join(encoded) + _bytes(
        break_characters
    )


class WithMasks(working.WithSessions):
    """What a memory offers of facts and vocabularies."""

    name: str
    _caller: calls.Caller

    def put_vocabulary(self, name: str, texts: Iterable[Optional[Text]], break_characters: str) -> None:
        """Registers a tokenizer: texts[i] is what token i writes, None or empty for special ones, which are never
        allowed. break_characters: each character that ends an identifier, as the language's tokenizer splits it."""
        self.session("vocabularies").put(name, encode_vocabulary(texts, break_characters))

    def put_facts(self, session: str, name: str, strings: Sequence[Text], durability: str = "sync") -> None:
        """Writes legal strings, none of which is empty or holds a line break, for `mask_tokens` to find."""
        encoded = [_bytes(each) for each in strings]
        for each in encoded:
            if not each or b"\n" in each:
                raise ValueError(f"{each!r} is empty or holds a line break; a legal string may not")
        self.session(session, durability=durability).put(name, b"\n".join(encoded))

    def mask_tokens(
        self,
        vocabulary: str,
        rows: Sequence[Union[Facts, Legal]],
        *,
        bitset: bool = False,
        trie: bool = False,
        timeout: Optional[float] = None,
    ) -> Masks:
        """The tokens that may come next in each row. trie: also every way on, so that no call is needed until the
        constraint ends."""
        request = pb.MaskTokensRequest(
            memory=self.name,
            vocabulary=vocabulary,
            rows=[_row(row) for row in rows],
            bitset=bitset,
            with_trie=trie,
        )
        return _read(self._caller.call(self._sessions.stub.MaskTokens, request, timeout))


def _row(row: Union[Facts, Legal]) -> pb.MaskRow:
    if isinstance(row, Facts):
        return pb.MaskRow(session=row.session, name=row.name, written=_bytes(row.written))
    return pb.MaskRow(strings=[_bytes(each) for each in row.strings], written=_bytes(row.written))


def _read(got: Any) -> Masks:
    rows = len(got.dead_ends)
    tries = []
    nodes, offsets = np.frombuffer(got.trie_nodes, "<u8"), np.frombuffer(got.trie_offsets, "<u8")
    tokens, children = np.frombuffer(got.trie_tokens, "<u4"), np.frombuffer(got.trie_children, "<u4")
    for first, last in zip(nodes.tolist(), nodes.tolist()[1:]):
        here = offsets[first : last + 1]
        cut = slice(int(here[0]), int(here[-1]))
        tries.append(TokenTrie(here - here[0], tokens[cut], children[cut]))
    return Masks(
        vocabulary_size=got.vocabulary_size,
        dead_ends=np.frombuffer(got.dead_ends, "u1").astype(bool),
        unknown=np.frombuffer(got.unknown, "u1").astype(bool),
        offsets=np.frombuffer(got.offsets, "<u8") if got.offsets else None,
        tokens=np.frombuffer(got.tokens, "<u4") if got.offsets else None,
        bitsets=np.frombuffer(got.bitsets, "u1").reshape(rows, -1) if got.bitsets else None,
        tries=tries,
    )
