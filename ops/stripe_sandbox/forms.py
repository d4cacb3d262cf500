"""Stripe's form encoding: flat pairs whose names spell a tree, such as `metadata[payment_id]=…`."""

from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

Params = dict[str, Any]
Pairs = list[tuple[str, str]]


def parse_pairs(text: str) -> Pairs:
    """Return the decoded name and value pairs of a form or a query string, in their order."""
    pairs = []
    for part in text.split("&"):
        if part:
            name, _, value = part.partition("=")
            # PERF: most names and values hold nothing to decode, and unquoting is the costly step.
            if "%" in value or "+" in value:
                value = unquote_plus(value)
            pairs.append((_decoded_name(name), value))
    return pairs


def nest(pairs: Pairs) -> Params:
    """Return the tree that the names spell; arrays become dicts by position (see `params.texts`)."""
    tree: Params = {}
    for name, value in pairs:
        path = _path(name)
        if len(path) == 1:
            tree[name] = value
            continue
        node = tree
        for step in path[:-1]:
            child = node.get(step)
            if not isinstance(child, dict):
                child = node[step] = {}
            node = child
        node[path[-1] or str(len(node))] = value
    return tree


@lru_cache(maxsize=4096)
def _decoded_name(name: str) -> str:
    return unquote_plus(name)


@lru_cache(maxsize=4096)
def _path(name: str) -> tuple[str, ...]:
    head, bracket, rest = name.partition("[")
    if not bracket or not head or not rest.endswith("]"):
        return (name,)
    return (head, *rest[:-1].split("]["))
