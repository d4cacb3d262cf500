"""Misspelt words: which of a query's words are worth a look, and which known word was meant."""

import re
from collections.abc import Mapping, Sequence

_WORD = re.compile(r"[^\W\d_]{4,30}")
_MAX_WORDS = 8
_SHORT = 6
_MAX_CHARS = 400


def words_of(q: str) -> Sequence[str]:
    """Return the words that can be misspelt: letters alone, not too short; each once, at most eight."""
    return list(dict.fromkeys(_WORD.findall(q)))[:_MAX_WORDS]


def respell(q: str, meant: Mapping[str, str]) -> str | None:
    """Return a query with words replaced, its operators kept; None when nothing changes or it grows too long."""
    respelled = _WORD.sub(lambda found: meant.get(found[0], found[0]), q)
    return respelled if respelled != q and len(respelled) <= _MAX_CHARS else None


def nearest(word: str, known: Sequence[str]) -> str | None:
    """Return the known word with the fewest different letters, the first of several; None when too many differ.

    One letter may differ in a short word, two in a longer one.
    """
    found, meant = 2 if len(word) < _SHORT else 3, None
    for candidate in known:
        letters = distance(word, candidate, most=found - 1)
        if letters < found:
            found, meant = letters, candidate
    return meant


def distance(one: str, other: str, *, most: int) -> int:
    """Return how many letters were added, dropped, changed or swapped with their neighbour, up to `most + 1`.

    Known as optimal string alignment: no letter is touched twice. PERF: what is further from the diagonal than
    `most` has cost more by then, and where whole rows have, so will the rest; a search compares hundreds of words.
    """
    far = most + 1
    before: list[int] = []
    last = [min(j, far) for j in range(len(other) + 1)]
    for i, letter in enumerate(one, 1):
        row = [far] * len(last)
        row[0] = min(i, far)
        for j in range(max(1, i - most), min(len(other), i + most) + 1):
            wanted = other[j - 1]
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                cost = min(cost, before[j - 2] + 1)
            row[j] = min(cost, far)
        if min(row) == min(last) == far:
            return far
        before, last = last, row
    return last[-1]
