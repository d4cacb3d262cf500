from typing import SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.catalog.spelling import distance, nearest, respell, words_of

words = st.text("abcde", max_size=7)


@pytest.mark.parametrize(
    ("one", "other", "letters"),
    [
        ("desk", "desk", 0),
        ("desk", "dsk", 1),
        ("desk", "deesk", 1),
        ("desk", "disk", 1),
        ("desk", "dsek", 1),
        ("walnut", "wlanutt", 2),
        ("ca", "abc", 3),
        ("", "desk", 4),
    ],
)
def test_distance_counts_letters_that_differ(one: str, other: str, letters: int) -> None:
    assert distance(one, other, most=9) == distance(other, one, most=9) == letters


@given(words, words)
def test_distance_is_nothing_between_equals_alone_and_never_more_than_the_longer_word(
    one: str, other: str
) -> None:
    letters = distance(one, other, most=9)

    assert (letters == 0) == (one == other)
    assert abs(len(one) - len(other)) <= letters <= max(len(one), len(other))


@given(words, words, st.integers(0, 4))
def test_distance_is_exact_as_far_as_it_is_asked_for(one: str, other: str, most: int) -> None:
    assert distance(one, other, most=most) == min(distance(one, other, most=9), most + 1)


class Counted(str):
    """A word that counts how often a letter of it is read."""

    __slots__ = ("reads",)

    def __init__(self, _: str) -> None:
        self.reads = 0

    def __getitem__(self, at: SupportsIndex | slice) -> str:
        self.reads += 1
        return super().__getitem__(at)


@pytest.mark.parametrize(
    ("known", "reads"), [("abcdefghij" * 3, 400), ("jihgfedcba" * 3, 40), ("xbcdefghij" + "abcdefghij" * 2, 400)]
)
def test_long_words_are_compared_near_the_diagonal_alone(known: str, reads: int) -> None:
    counted = Counted(known)

    nearest("abcdefghij" * 3, [counted])

    assert 0 < counted.reads <= reads < len(known) ** 2


@given(words, st.integers(0, 6), st.sampled_from("abcde"))
def test_one_slip_of_the_finger_is_one_letter(word: str, at: int, letter: str) -> None:
    assert distance(word, word[:at] + letter + word[at:], most=9) == 1
    assert distance(word, word[:at] + word[at + 1 :], most=9) <= 1
    assert distance(word, word[:at] + letter + word[at + 1 :], most=9) <= 1
    assert distance(word, word[:at] + word[at : at + 2][::-1] + word[at + 2 :], most=9) <= 1


@pytest.mark.parametrize(
    ("word", "known", "meant"),
    [
        ("dsek", ["disk", "desk"], "desk"),
        ("dusk", ["desk", "disk"], "desk"),
        ("dosk", ["tesk"], None),
        ("waltun", ["walnut", "walton"], "walton"),
        ("wlanuts", ["walnut"], "walnut"),
        ("walrusses", ["walnut"], None),
        ("desk", [], None),
    ],
)
def test_nearest_word_differs_little(word: str, known: list[str], meant: str | None) -> None:
    assert nearest(word, known) == meant


def test_words_are_letters_alone_not_too_short_and_each_once() -> None:
    assert words_of('"Walnut desk" or -lámpara XK2041 or oak Walnut') == ["Walnut", "desk", "lámpara"]
    assert len(words_of(" ".join(f"word{letter * 4}" for letter in "abcdefghijklmnop"))) == 8


def test_respelling_keeps_what_is_not_misspelt() -> None:
    assert respell('"wlanut dsek" or -oak', {"wlanut": "walnut", "dsek": "desk"}) == '"walnut desk" or -oak'
    assert respell("walnut desk", {}) is None
    assert respell("aaaa " * 40, {"aaaa": "b" * 30}) is None


@given(st.text(max_size=200))
def test_whatever_is_asked_can_be_read(q: str) -> None:
    assert respell(q, {}) is None
    assert all(word in q for word in words_of(q))
