"""A catalogue as large as one wants, with words as in real text: a few everywhere, most of them rare."""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import psycopg

PHRASES = 20_000
_WORDS = 60_000
_WORDS_IN_A_PHRASE = 8
_BATCH = 50_000
_SELLERS = 500
_SYLLABLES = (
    *("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "za", "chi", "do", "fe", "ga"),
    *("hu", "jo", "pla", "tre", "nor", "wal", "sta", "lum", "ber", "des", "cor"),
)
EVERYWHERE = "warranty"
"""A word that half of the products bear."""

_SHOPS = """
    WITH shops AS (
        INSERT INTO users (id, email, password_hash, role, created_at)
        SELECT uuidv7(), 'shop-' || n || '@example.com', '', 'seller', now() FROM generate_series(1, %s) AS n
        RETURNING id
    )
    INSERT INTO sellers (user_id) SELECT id FROM shops
"""
# A title is a phrase and a model's number, a description three phrases. Few sellers have much, most have little.
_OFFER = """
    INSERT INTO products (id, seller_id, title, description, category, price_minor, currency, stock, attributes,
                          created_at)
    SELECT uuidv7(), s.user_id, t.text || ' ' || upper(to_hex(r.model)),
           a.text || '. ' || b.text || '. ' || c.text
               || CASE WHEN r.half < 0.5 THEN '. {everywhere} included' ELSE '' END,
           'category ' || r.category, r.price, 'USD', r.stock,
           jsonb_build_object('colour', (ARRAY['red', 'blue', 'green', 'black'])[1 + r.colour]), now()
    FROM (
        SELECT floor({phrases} * random())::integer AS t, floor({phrases} * random())::integer AS a,
               floor({phrases} * random())::integer AS b, floor({phrases} * random())::integer AS c,
               floor(%(sellers)s ^ random())::integer - 1 AS shop, floor(16777216 * random())::integer AS model,
               random() AS half, floor(20 * random())::integer AS category, floor(4 * random())::integer AS colour,
               floor(100 * exp(7 * random()))::bigint AS price, (random() < 0.95)::integer * 10 AS stock
        FROM generate_series(1, %(count)s)
    ) AS r
    JOIN bench.phrases t ON t.n = r.t JOIN bench.phrases a ON a.n = r.a
    JOIN bench.phrases b ON b.n = r.b JOIN bench.phrases c ON c.n = r.c
    JOIN (SELECT user_id, row_number() OVER (ORDER BY user_id) - 1 AS n FROM sellers) AS s ON s.n = r.shop
""".replace("{phrases}", str(PHRASES)).replace("{everywhere}", EVERYWHERE)
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename = 'products' AND indexname IN ('products_search_idx', 'products_price_idx',
        'products_category_price_idx', 'products_seller_price_idx')
"""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words, the most frequent first, and phrases made of them."""

    words: Sequence[str]
    phrases: Sequence[str]


def invent(rng: random.Random) -> Vocabulary:
    """Invent words and phrases; the n-th word is about n times rarer than the first (Zipf's law)."""
    words: dict[str, None] = {}
    while len(words) < _WORDS:
        words["".join(rng.choices(_SYLLABLES, k=rng.choice((2, 3, 3, 4))))] = None
    ranked = list(words)
    phrases = [
        " ".join(ranked[int(_WORDS ** rng.random()) - 1] for _ in range(_WORDS_IN_A_PHRASE))
        for _ in range(PHRASES)
    ]
    return Vocabulary(ranked, phrases)


def prepare(address: str, vocabulary: Vocabulary) -> None:
    """Store the phrases and the sellers; `address` is the superuser's."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(_SHOPS.encode(), (_SELLERS,))
        connection.execute(b"CREATE SCHEMA bench")
        connection.execute(b"CREATE TABLE bench.phrases (n integer PRIMARY KEY, text text NOT NULL)")
        with connection.cursor().copy(b"COPY bench.phrases FROM STDIN") as copy:
            for row in enumerate(vocabulary.phrases):
                copy.write_row(row)
        connection.execute(b"SELECT learn_words(array_agg(text)) FROM bench.phrases")


def offer(address: str, count: int, on_progress: Callable[[int], None]) -> None:
    """Add so many products with two connections, their indexes set aside meanwhile; then let the planner know.

    The words are known already, and triggers would only learn them again.
    """
    with psycopg.connect(address, autocommit=True) as connection:
        indexes = connection.execute(_INDEXES.encode()).fetchall()
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        batches = [min(_BATCH, count - start) for start in range(0, count, _BATCH)]
        with ThreadPoolExecutor(max_workers=2) as pool:
            for number, _ in enumerate(pool.map(lambda batch: _insert(address, batch), batches), 1):
                on_progress(sum(batches[:number]))
        connection.execute(b"SET maintenance_work_mem = '512MB'")
        for _, definition in indexes:
            connection.execute(str(definition).encode())
        connection.execute(b"VACUUM ANALYZE products, search_words")
        connection.execute(b"CHECKPOINT")


def _insert(address: str, count: int) -> None:
    with psycopg.connect(address) as connection:
        connection.execute(b"SET LOCAL synchronous_commit = off")
        connection.execute(b"SET LOCAL session_replication_role = replica")
        connection.execute(_OFFER.encode(), {"sellers": _SELLERS, "count": count})
