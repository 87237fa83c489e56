"""What an expression of PromQL asks for: metrics, with their labels. Not an evaluation, and no check of types."""

from __future__ import annotations

import dataclasses
import re

AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile", "stddev", "group"}
FUNCTIONS = {
    *{"rate", "irate", "increase", "delta", "deriv", "predict_linear", "histogram_quantile", "vector", "absent"},
    *{"avg_over_time", "max_over_time", "min_over_time", "clamp_min", "clamp_max", "exp", "ln", "abs", "time"},
}
WORDS = {"and", "or", "unless", "offset", "bool"}
# Words before a list of labels.
LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
TOKEN = re.compile(
    r"""\s+|(?P<text>"(?:[^"\\]|\\.)*")|(?P<number>\d+(?:\.\d+)?(?:[smhdwy]\w*)?)|(?P<word>[A-Za-z_:][\w:]*)"""
    r"""|(?P<mark>=~|!~|!=|==|<=|>=|[-+*/%^<>=(){}\[\],:])"""
)


@dataclasses.dataclass
class Selector:
    """`name{label op "value", ...}`"""

    name: str
    matchers: list[tuple[str, str, str]]


@dataclasses.dataclass
class Expression:
    selectors: list[Selector]
    kept: set[str]  # labels that `by` keeps; empty where nothing is aggregated by labels
    named: set[str]  # labels of all lists


def tokens(text: str) -> list[tuple[str, str]]:
    out, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ValueError(f"cannot read {text[at:at + 20]!r} of {text!r}")
        if found.lastgroup is not None:
            out.append((found.lastgroup, found[0]))
        at = found.end()
    for opening, closing in ("()", "[]", "{}"):
        if sum(word == opening for _, word in out) != sum(word == closing for _, word in out):
            raise ValueError(f"{opening} without {closing} in {text!r}")
    return [*out, ("end", "")]


def parse(text: str) -> Expression:
    """Raises ValueError for what is no expression, or has a function that is not known here."""
    out = Expression([], set(), set())
    read, at = tokens(text), 0
    while at < len(read):
        kind, word = read[at]
        following = read[at + 1][1] if at + 1 < len(read) else ""
        at += 1
        if kind != "word" or word in WORDS:
            continue
        if word in LISTS:
            end = read.index(("mark", ")"), at)
            labels = {each for group, each in read[at:end] if group == "word"}
            out.named |= labels
            out.kept |= labels if word == "by" else set()
            at = end + 1
        elif following == "(" or word in AGGREGATIONS:
            if word not in AGGREGATIONS | FUNCTIONS:
                raise ValueError(f"{word}() is not a function that is known here, in {text!r}")
        else:
            selector = Selector(word, [])
            if following == "{":
                end = read.index(("mark", "}"), at)
                for match in _split(read[at + 1 : end]):
                    if [group for group, _ in match] != ["word", "mark", "text"]:
                        raise ValueError(f"cannot read the labels of {word} in {text!r}")
                    selector.matchers.append((match[0][1], match[1][1], match[2][1][1:-1]))
                at = end + 1
            out.selectors.append(selector)
    return out


def _split(between: list[tuple[str, str]]) -> list[list[tuple[str, str]]]:
    """By commas."""
    out: list[list[tuple[str, str]]] = [[]]
    for each in between:
        if each == ("mark", ","):
            out.append([])
        else:
            out[-1].append(each)
    return [each for each in out if each]
