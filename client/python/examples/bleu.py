"""BLEU (Papineni et al. 2002) as sacreBLEU gives it unless told otherwise: 13a tokens, exponential smoothing.

A sentence is scored over the orders that it has (the "effective order"), and an order without a match counts as
1/2, 1/4, ... of one match; a corpus needs neither.
"""

import collections
import math
import re

import numpy as np

ORDERS = 4
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SPLITS = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),  # punctuation; not ' , - .
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),  # a point or comma where no digit is on one side
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def tokens(line):
    """The 13a tokens of mteval, as sacreBLEU cuts them."""
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, cut in _SPLITS:
        line = pattern.sub(cut, line)
    return line.split()


def ngrams(words):
    """The n-grams for n = 1 .. 4, counted."""
    return [collections.Counter(zip(*(words[i:] for i in range(n)))) for n in range(1, ORDERS + 1)]


def overlap(ours, theirs):
    """[10] of the n-grams of a hypothesis and a reference: matches by n, n-grams by n, and both lengths.

    Those of a corpus are the sum over its sentences.
    """
    matches = [sum(min(count, b[gram]) for gram, count in a.items() if gram in b) for a, b in zip(ours, theirs)]
    totals = [sum(a.values()) for a in ours]
    return np.array([*matches, *totals, totals[0], sum(theirs[0].values())], float)


def _brevity(length, wanted):
    return min(0.0, 1 - wanted / length)


def corpus(overlaps):
    """In percent, of the overlaps [n, 10] of its sentences."""
    total = np.sum(overlaps, axis=0)
    matches, totals = total[:ORDERS], total[ORDERS : 2 * ORDERS]
    return 100 * math.exp(np.log(matches / totals).mean() + _brevity(*total[-2:])) if matches.all() else 0.0


def sentence(overlap_of_one):
    """In percent."""
    logs, missing = [], 1
    for matches, total in zip(overlap_of_one[:ORDERS], overlap_of_one[ORDERS : 2 * ORDERS]):
        if total and not matches:
            missing *= 2
        if total:
            logs.append(math.log((matches or 1 / missing) / total))
    return 100 * math.exp(np.mean(logs) + _brevity(*overlap_of_one[-2:])) if logs else 0.0
