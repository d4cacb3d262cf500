"""Searching products in PostgreSQL (ADR 0007)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any
from uuid import UUID

from db.connection import Connection, Row
from db.product_words import ASKED, MARKING, marked, read_hit, words_of
from db.products import COLUMNS
from db.sql import Sql
from domain.catalog.query import (
    PRICE_STEPS_MINOR,
    Count,
    Facets,
    Hit,
    Language,
    Place,
    PriceCount,
    ProductQuery,
    Slab,
    Sort,
)
from domain.ids import ProductId

_FIRST = 1_024
_WIDEST = 2**18
_MOST = 4_096
_GROWTH = 32
_STEPS = 24
_EFFORT = 5_000
_MAX_VALUES = 20
_NARROW = 4
_MAX_PRICE_MINOR = 2**53
# Walks from new to old. Each step looks into one span of positions, which is covered by a few blocks of one level,
# and tells in a row without an id how far the walk came, what it read, and how large the next span should be: as
# large as it takes to find the rest where the density stays what it was. A span that holds more than `most` rows
# is not read to its end: a quarter of it is tried, and no later one is wider. So steps and rows bound a walk, and
# it is the same whenever it is made. `+ 0` keeps the planner from the index of positions.
_SLAB = """
    WITH RECURSIVE asked AS MATERIALIZED ({asked}),
    start AS MATERIALIZED (
        SELECT coalesce(least(CAST(:newest AS bigint), max(position)), 0) AS newest,
               CAST(:oldest AS bigint) AS oldest
        FROM products
    ),
    walk AS (
        SELECT 0 AS step, newest AS high, CAST({first} AS bigint) AS span, CAST({widest} AS bigint) AS widest,
               CAST(0 AS bigint) AS matched, CAST(0 AS bigint) AS read,
               CAST(NULL AS uuid) AS id, CAST(NULL AS bigint) AS position, CAST(NULL AS float8) AS key,
               CAST(NULL AS text) AS category, CAST(NULL AS uuid) AS seller_id,
               CAST(NULL AS bigint) AS price_minor, CAST(NULL AS boolean) AS in_stock
        FROM start
        UNION ALL
        SELECT walk.step + 1, looked.*
        FROM walk CROSS JOIN start
        CROSS JOIN LATERAL (
            SELECT width_bucket(least(walk.span, walk.widest), ARRAY[4096, 16384, 65536]::bigint[]) AS level,
                   {is_rest} AS is_rest
        ) AS l
        CROSS JOIN LATERAL (SELECT CAST({first} * 4 ^ l.level AS bigint) AS size) AS f
        CROSS JOIN LATERAL (
            SELECT CASE WHEN l.is_rest THEN 0
                        ELSE greatest(greatest(walk.high - least(walk.span, walk.widest) + 1, 0) / f.size * f.size,
                                      start.oldest) END AS low
        ) AS b
        CROSS JOIN LATERAL (
            WITH look AS MATERIALIZED (
                (SELECT {looked} FROM products
                 WHERE withdrawn_at IS NULL AND search_keys && (
                         SELECT array_agg(l.level || ':' || block)
                         FROM generate_series(b.low / f.size, walk.high / f.size) AS block)
                     AND position + 0 BETWEEN b.low AND walk.high AND NOT l.is_rest {conditions}
                 LIMIT {most})
                {rest}
            ),
            counted AS (
                SELECT count(*) AS read, count(*) FILTER (WHERE is_match) AS matched, count(*) = {most} AS is_much
                FROM look
            )
            SELECT CASE WHEN is_much THEN walk.high ELSE b.low - 1 END AS high,
                   CASE WHEN is_much THEN greatest(least(walk.span, walk.widest) / 4, {first})
                        ELSE greatest({first}, (start.newest - b.low + 1) * least({growth},
                            (:size - walk.matched - counted.matched + 8) / (walk.read + counted.read + 1.0)
                        ))::bigint END AS span,
                   CASE WHEN is_much THEN greatest(least(walk.span, walk.widest) / 4, {first})
                        ELSE walk.widest END AS widest,
                   walk.matched + CASE WHEN is_much THEN 0 ELSE counted.matched END,
                   walk.read + CASE WHEN is_much THEN 0 ELSE counted.read END,
                   CAST(NULL AS uuid), CAST(NULL AS bigint), CAST(NULL AS float8), CAST(NULL AS text),
                   CAST(NULL AS uuid), CAST(NULL AS bigint), CAST(NULL AS boolean)
            FROM counted
            UNION ALL
            SELECT NULL, NULL, NULL, NULL, NULL, id, position, key, category, seller_id, price_minor, in_stock
            FROM look, counted WHERE is_match AND NOT is_much
        ) AS looked
        WHERE walk.id IS NULL AND walk.high >= start.oldest AND walk.matched < :size AND walk.read < :effort
            AND walk.step < :steps
    ),
    found AS MATERIALIZED (
        SELECT * FROM walk WHERE id IS NOT NULL ORDER BY position DESC LIMIT :size
    ),
    page AS (
        SELECT id, key, position FROM found
        WHERE {after}
        ORDER BY key {direction}, id {direction} LIMIT :limit
    )
    SELECT (SELECT newest FROM start) AS newest,
           CASE WHEN count(*) = :size THEN min(position)
                ELSE (SELECT min(high) + 1 FROM walk WHERE id IS NULL) END AS oldest,
           count(*) AS counted,
           (SELECT json_agg(json_build_array(id, key, position) ORDER BY key {direction}, id {direction})
            FROM page) AS hits {facets}
    FROM found
"""
# Lists of blocks cost more than those of rare words: the index is read for the words alone.
_REST = """
                UNION ALL
                (SELECT {looked} FROM products
                 WHERE withdrawn_at IS NULL AND position + 0 BETWEEN 0 AND walk.high AND l.is_rest {conditions}
                 LIMIT {most})
"""
_IS_REST = "2 * walk.span >= walk.high AND walk.widest = {widest}"
_LOOKED = """id, position, CAST({key} AS float8) AS key, category, seller_id, price_minor,
                        stock > 0 AS in_stock, {matches} AS is_match"""
_FACET = """
    , (SELECT json_agg(json_build_array(value, count)) FROM (
        SELECT {value} AS value, count(*) AS count FROM found
        GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT :max_values) AS v) AS {name}
"""
_FACETS = "".join(
    _FACET.format(name=name, value=value)
    for name, value in (
        ("category", "category"),
        ("seller_id", "seller_id"),
        ("in_stock", "in_stock"),
        ("price", "width_bucket(price_minor, CAST(:price_steps AS bigint[]))"),
    )
)
_KEYS = " AND search_keys @> CAST(:keys AS text[])"
_PRICED = "price_minor BETWEEN :price_min AND :price_max"
_BANDS = """
    AND search_keys && (SELECT array_agg('price:' || band) FROM generate_series(
        product_price_band(:price_min), product_price_band(:price_max)) AS band)
"""

# Walks an index of prices, and compares the rest product by product.
_WALK = """
    SELECT id, price_minor, search_keys FROM products
    WHERE withdrawn_at IS NULL AND {prefix} AND price_minor BETWEEN :price_min AND :price_max
        AND (price_minor, id) {beyond} (CAST(:after_price AS bigint), CAST(:after_id AS uuid))
    ORDER BY price_minor {direction}, id {direction} LIMIT :effort
"""
_BY_PRICE = """
    SELECT id, price_minor FROM ({walk}) AS walked WHERE search_keys @> CAST(:keys AS text[])
    ORDER BY price_minor {direction}, id {direction} LIMIT :limit
"""
_SEEN = "SELECT id, price_minor FROM ({walk}) AS walked OFFSET :effort - 1"

_BY_IDS = Sql(f"SELECT {COLUMNS} FROM products WHERE id = ANY(:ids)")
_NEAR_WORDS = Sql("SELECT given_word, plain, near FROM near_words(CAST(:words AS text[]))")

_BACKWARDS = "DESC"


class ProductIndex:
    """`domain.catalog.ports.ProductSearch`."""

    def __init__(self, connection: Connection, *, steps: int = _STEPS, effort: int = _EFFORT) -> None:
        """Work on that connection; take so many steps to a slab, and so many products to a page of prices."""
        self._connection = connection
        self._steps = steps
        self._effort = effort

    async def slab(
        self, query: ProductQuery, place: Place, *, limit: int, size: int, is_counting: bool = False
    ) -> Slab:
        """Return the first hits of a slab after a place, at most `limit`, and its facets when it is counting."""
        is_taken = place.oldest is not None
        statement = _slab(
            query.language if query.q is not None else None,
            query.order,
            has_keys=bool(_keys(query)),
            is_priced=_is_priced(query),
            is_narrow=_is_narrow(query),
            is_counting=is_counting,
            is_first=place.newest is None,
        )
        row = (
            await self._connection.execute(
                statement,
                {
                    **_conditions(query, place),
                    **({"max_values": _MAX_VALUES, "price_steps": list(PRICE_STEPS_MINOR)} if is_counting else {}),
                    "newest": place.newest,
                    "oldest": place.oldest or 0,
                    # A slab that was taken is found again whole, but one from a forged cursor is hardly larger.
                    "size": 2 * size if is_taken else size,
                    "effort": 2 * size + (_MOST if is_taken else 0),
                    "steps": 2 * self._steps if is_taken else self._steps,
                    "after_key": place.key,
                    "after_id": place.id,
                    "limit": limit,
                },
            )
        ).one()
        found = [(ProductId(UUID(id_)), float(key), position) for id_, key, position in row.hits or ()]
        slab = Slab(await self._read(query, place, found), row.newest, row.oldest, row.counted)
        return replace(slab, facets=_facets(row, slab)) if is_counting else slab

    async def by_price(
        self, query: ProductQuery, place: Place, *, limit: int
    ) -> tuple[Sequence[Hit], Place | None]:
        """Return hits in the order of their prices, and the place to go on from; None at the end."""
        walk, seen = _price_statements(query.sort, _prefix(query))
        is_rising = query.sort is Sort.PRICE_ASC
        start = (-1, UUID(int=0)) if is_rising else (_MAX_PRICE_MINOR, UUID(int=2**128 - 1))
        price, id_ = start if place.key is None else (int(place.key), place.id)
        values = {
            "keys": _keys(query),
            **_prices(query),
            "after_price": price,
            "after_id": id_,
            "effort": self._effort,
            "seller_id": query.seller_id,
            "category": query.category,
        }
        rows = (await self._connection.execute(walk, {**values, "limit": limit})).all()
        hits = await self._read(query, place, [(row.id, float(row.price_minor), 0) for row in rows])
        if len(rows) == limit:
            return hits, None
        last = (await self._connection.execute(seen, values)).first()
        return hits, Place(key=float(last.price_minor), id=last.id) if last else None

    async def near_words(self, words: Sequence[str]) -> Mapping[str, tuple[str, Sequence[str]]]:
        """Return for each word that no product bears its plain form and the words most like it, best first."""
        rows = await self._connection.execute(_NEAR_WORDS, {"words": list(words)})
        return {row.given_word: (row.plain, row.near) for row in rows}

    async def _read(
        self, query: ProductQuery, place: Place, found: Sequence[tuple[ProductId, float, int]]
    ) -> Sequence[Hit]:
        """Return the products whole, in the order in which they were found; none ever leaves its table."""
        if not found:
            return []
        ids = {"ids": [id_ for id_, _, _ in found]}
        if query.q is None:
            rows = await self._connection.execute(_BY_IDS, ids)
        else:
            values = {**ids, **words_of(query.q, place.respelled), **MARKING}
            rows = await self._connection.execute(marked(query.language), values)
        by_id = {row.id: row for row in rows}
        return [read_hit(by_id[id_], key, position) for id_, key, position in found]


@lru_cache
def _slab(
    language: Language | None,
    order: Sort,
    *,
    has_keys: bool,
    is_priced: bool,
    is_narrow: bool,
    is_counting: bool,
    is_first: bool,
) -> Sql:
    direction, beyond = ("ASC", ">") if order is Sort.PRICE_ASC else (_BACKWARDS, "<")
    keys = {
        Sort.RELEVANCE: f"ts_rank(search_{language}, (SELECT query FROM asked))",
        Sort.NEWEST: "position",
        Sort.PRICE_ASC: "price_minor",
        Sort.PRICE_DESC: "price_minor",
    }
    after = f"""(CAST(:after_key AS float8) IS NULL
                 OR (key, id) {beyond} (CAST(:after_key AS float8), CAST(:after_id AS uuid)))"""
    words = f"AND search_{language} @@ (SELECT words FROM asked)" if language else ""
    said = f"search_{language} @@ (SELECT query FROM asked)" if language else "true"
    # An empty array of keys would have the index read whole.
    conditions = words + (_KEYS if has_keys else "") + (_BANDS if is_narrow else "")
    looked = _LOOKED.format(key=keys[order], matches=f"{said} AND {_PRICED}" if is_priced else said)
    # What is newer than the start, or older than the end, would be read to no purpose; so would all products.
    has_rest = is_first and conditions
    return Sql(
        _SLAB.format(
            asked=ASKED.format(language=language) if language else "SELECT",
            looked=looked,
            conditions=conditions,
            is_rest=_IS_REST.format(widest=_WIDEST) if has_rest else "false",
            rest=_REST.format(looked=looked, conditions=conditions, most=_MOST) if has_rest else "",
            first=_FIRST,
            widest=_WIDEST,
            growth=_GROWTH,
            most=_MOST,
            after=after,
            direction=direction,
            facets=_FACETS if is_counting else "",
        )
    )


@lru_cache
def _price_statements(sort: Sort, prefix: str) -> tuple[Sql, Sql]:
    direction, beyond = ("ASC", ">") if sort is Sort.PRICE_ASC else (_BACKWARDS, "<")
    walk = _WALK.format(prefix=prefix, direction=direction, beyond=beyond)
    return Sql(_BY_PRICE.format(walk=walk, direction=direction)), Sql(_SEEN.format(walk=walk))


def _prefix(query: ProductQuery) -> str:
    if query.seller_id is not None:
        return "seller_id = :seller_id"
    return "category = :category" if query.category is not None else "true"


def _is_priced(query: ProductQuery) -> bool:
    return query.price_min_minor is not None or query.price_max_minor is not None


def _is_narrow(query: ProductQuery) -> bool:
    """Tell whether a range of prices is few bands; each is one more list to look into, block after block."""
    if not _is_priced(query):
        return False
    prices = _prices(query)
    return prices["price_max"] <= _NARROW * prices["price_min"]


def _keys(query: ProductQuery) -> list[str]:
    """Return what a product must have in search_keys."""
    keys = {"category": query.category, "seller": query.seller_id, "currency": query.currency}
    in_stock = {} if query.in_stock is None else {"stock": "some" if query.in_stock else "none"}
    return [f"{name}:{value}" for name, value in {**keys, **in_stock}.items() if value is not None]


def _conditions(query: ProductQuery, place: Place) -> dict[str, Any]:
    values: dict[str, Any] = {"keys": _keys(query)}
    if query.q is not None:
        values |= words_of(query.q, place.respelled)
    return values | _prices(query) if _is_priced(query) else values


def _prices(query: ProductQuery) -> dict[str, int]:
    """Return the bounds of the prices; there is none below 1, so a range that ends there holds nothing."""
    lowest, highest = query.price_min_minor, query.price_max_minor
    if highest == 0:
        return {"price_min": 2, "price_max": 1}
    return {"price_min": max(lowest or 1, 1), "price_max": highest or _MAX_PRICE_MINOR}


def _facets(row: Row, slab: Slab) -> Facets:
    bounds = (0, *PRICE_STEPS_MINOR, None)
    return Facets(
        counted=slab.counted,
        is_complete=slab.is_last,
        category=[Count(*pair) for pair in row.category or ()],
        seller_id=[Count(*pair) for pair in row.seller_id or ()],
        in_stock=[Count(*pair) for pair in row.in_stock or ()],
        price=[PriceCount(bounds[step] or 0, bounds[step + 1], count) for step, count in sorted(row.price or ())],
    )
