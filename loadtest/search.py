"""Searching a catalogue of ten thousand products and one of a million: what growing costs.

A million takes minutes to make, so it is for `--scale`; otherwise it is a tenth of that.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from urllib.parse import urlencode

from loadtest.bed import OVERRIDES, Bed, address_of, http_request, run_client
from loadtest.catalogue import EVERYWHERE, Vocabulary, invent, offer, prepare
from loadtest.client import Plan, Result
from loadtest.figures import Figure, Findings, Tell
from ops.stack import Stack, postgres

_FOUND = 200
_SMALL = 10_000
_LARGE = 100_000
_HUGE = 1_000_000
_REQUESTS = 400
_REQUESTS_OF_A_KIND = 50
_CONNECTIONS = 2
_SEED = 4711

Ask = Callable[[random.Random, Vocabulary], dict[str, object]]


def _frequent(rng: random.Random, vocabulary: Vocabulary) -> str:
    return vocabulary.words[int(500 ** rng.random()) - 1]


def _any(rng: random.Random, vocabulary: Vocabulary) -> str:
    return rng.choice(rng.choice(vocabulary.phrases).split())


def _phrase(rng: random.Random, vocabulary: Vocabulary) -> str:
    words = rng.choice(vocabulary.phrases).split()
    at = rng.randrange(len(words) - 1)
    return f'"{words[at]} {words[at + 1]}"'


def _slipped(rng: random.Random, vocabulary: Vocabulary) -> str:
    """Return a word with two neighbours in each other's place."""
    word = next(word for word in iter(lambda: _any(rng, vocabulary), "") if len(word) > 6)  # noqa: PLR2004 - not too short
    at = rng.randrange(1, len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :]


# What customers ask, and of a hundred how many.
_MIX: Mapping[str, tuple[int, Ask]] = {
    "a word of half the products": (5, lambda _, __: {"q": EVERYWHERE}),
    "a frequent word": (15, lambda rng, v: {"q": _frequent(rng, v)}),
    "a frequent word and that of half": (10, lambda rng, v: {"q": f"{_frequent(rng, v)} {EVERYWHERE}"}),
    "any word": (20, lambda rng, v: {"q": _any(rng, v)}),
    "two words": (10, lambda rng, v: {"q": " ".join(rng.choice(v.phrases).split()[:2])}),
    "a phrase": (5, lambda rng, v: {"q": _phrase(rng, v)}),
    "any word, Spanish": (5, lambda rng, v: {"q": _any(rng, v), "language": "es"}),
    "a word in a category": (
        5,
        lambda rng, v: {"q": _frequent(rng, v), "category": f"category {rng.randrange(20)}"},
    ),
    "a word, in stock, below a price": (
        5,
        lambda rng, v: {"q": _frequent(rng, v), "in_stock": "true", "price_max_minor": 20_000},
    ),
    "a word by price": (3, lambda rng, v: {"q": _frequent(rng, v), "sort": "price_asc"}),
    "a misspelt word": (5, lambda rng, v: {"q": _slipped(rng, v)}),
    "everything": (4, lambda _, __: {}),
    "a category": (4, lambda rng, _: {"category": f"category {rng.randrange(20)}"}),
    "a category by price": (
        4,
        lambda rng, _: {"category": f"category {rng.randrange(20)}", "sort": "price_asc", "in_stock": "true"},
    ),
}


Pair = tuple[Result, Result]
"""What the small catalogue did, and then the large one."""


def measure(bed: Bed, tell: Tell) -> Findings:
    """Ask the same of both catalogues, over the API, with as many connections as there are cores to serve them.

    In turns, so that a busy moment of the machine meets both; each on a stack of its own, so that a million
    products burden nothing else.
    """
    large = _HUGE if bed.scale else _LARGE
    rng = random.Random(_SEED)  # noqa: S311 - the same catalogue in every run
    vocabulary = invent(rng)
    mix, common = _requests(rng, vocabulary), [_request({"q": EVERYWHERE})]
    kinds = {
        name: [_request(kind(rng, vocabulary)) for _ in range(_REQUESTS_OF_A_KIND)]
        for name, (_, kind) in _MIX.items()
    }
    with (
        _offered(bed, vocabulary, _SMALL, tell) as small_address,
        _offered(bed, vocabulary, large, tell) as large_address,
    ):

        def ask(address: tuple[str, int], requests: Sequence[str], seconds: float) -> Result:
            plan = Plan(*address, requests, _CONNECTIONS, seconds, warm_up_s=seconds / 2)
            return run_client(plan, lambda done: tell(f"{done:,} searches"))

        def ask_both(requests: Sequence[str], seconds: float = 3.0) -> Pair:
            return ask(small_address, requests, seconds), ask(large_address, requests, seconds)

        rounds = [(ask_both(mix), ask_both(common)) for _ in range(1 if bed.quick else 5 if bed.scale else 2)]
        # Two minutes, for what has no bar.
        each = {name: ask_both(requests, seconds=2.0) for name, requests in kinds.items() if bed.scale}
    findings = _findings(rounds, large)
    return Findings((*findings.figures, *_by_kind(each)), findings.raw)


@contextmanager
def _offered(bed: Bed, vocabulary: Vocabulary, size: int, tell: Tell) -> Iterator[tuple[str, int]]:
    """Start a stack with so many products, and yield where its API listens."""
    overrides = {**OVERRIDES, "MARKETFLOW_ADDRESS_LIMIT_PER_MINUTE": "10000000"}
    tell("starting another stack")
    with Stack(bed.directory / f"search-{size}", overrides, {"postgres", "valkey", "api"}) as stack:
        address = postgres.url(stack.layout, postgres.SUPERUSER)
        prepare(address, vocabulary)
        offer(address, size, lambda done: tell(f"{done:,} of {size:,} products offered"))
        yield address_of(stack.info.api)


def _by_kind(each: Mapping[str, Pair]) -> Sequence[Figure]:
    """Return what growing costs each kind of search, without a bar: what is slow in both hides nothing here."""
    return [
        Figure(
            f"search p99, {name}",
            big.p99_ms / small.p99_ms,
            "x",
            f"p99 {big.p99_ms:.1f} ms against {small.p99_ms:.1f} ms, p50 {big.p50_ms:.1f} "
            f"against {small.p50_ms:.1f}",
            lower_is_better=True,
        )
        for name, (small, big) in each.items()
    ]


def _findings(rounds: Sequence[tuple[Pair, Pair]], large: int) -> Findings:
    names = ("search p99", "search p99, a word of half the products")
    figures = []
    for name, pairs in zip(names, zip(*rounds, strict=True), strict=True):
        small, big = _middle(pairs)
        figures.append(
            Figure(
                f"{name}, {large:,} products against {_SMALL:,}",
                big.p99_ms / small.p99_ms,
                "x",
                f"p99 {big.p99_ms:.1f} ms against {small.p99_ms:.1f} ms, p50 {big.p50_ms:.1f} against "
                f"{small.p50_ms:.1f}; {big.per_second:,.0f}/s against {small.per_second:,.0f}/s",
                must=1.5,
                goal=1.3,
                lower_is_better=True,
            )
        )
    results = [result for pairs in rounds for pair in pairs for result in pair]
    refused = sum(result.failures(_FOUND) for result in results)
    figures.append(Figure("search: other answers than 200", refused, "", "", must=0, lower_is_better=True))
    return Findings(tuple(figures), {"rounds": [asdict(result) for result in results]})


def _middle(pairs: Sequence[Pair]) -> Pair:
    """Return the pair whose ratio is the median."""
    return sorted(pairs, key=lambda pair: pair[1].p99_ms / pair[0].p99_ms)[len(pairs) // 2]


def _requests(rng: random.Random, vocabulary: Vocabulary) -> Sequence[str]:
    weights, kinds = zip(*_MIX.values(), strict=True)
    chosen = rng.choices(kinds, weights=weights, k=_REQUESTS)
    return [_request(kind(rng, vocabulary)) for kind in chosen]


def _request(parameters: dict[str, object]) -> str:
    return http_request("GET", f"/v1/products?{urlencode(parameters)}", {})
