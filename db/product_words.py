"""What the words of a search ask of PostgreSQL, and how what they find is marked in texts (ADR 0007)."""

import html
import re
from functools import lru_cache

from db.connection import Row
from db.products import COLUMNS, read_product
from db.sql import Sql
from domain.catalog.query import Highlight, Hit, Language

_BEGIN_MARK, _END_MARK = "\x02", "\x03"
_MARKS = f'StartSel="{_BEGIN_MARK}", StopSel="{_END_MARK}"'
MARKING = {
    "marks": _BEGIN_MARK + _END_MARK,
    "whole": f"{_MARKS}, HighlightAll=true",
    "fragments": f'{_MARKS}, MaxFragments=2, MinWords=6, MaxWords=20, FragmentDelimiter=" … "',
    "chars": 2_000,
}
"""Values of `marked`: how to mark, and how much of a description to look through."""

# A query without a word to look for, `-desk`, finds nothing: the index would have to be read whole. What the index
# cannot tell, whether words are a phrase, is not asked of it: so the rows that are read for it can be counted.
ASKED = """
    SELECT a.query, CASE WHEN a.query::text ~ '!' THEN a.query
                         ELSE regexp_replace(a.query::text, '<(-|\\d+)>', '&', 'g')::tsquery END AS words
    FROM (
        SELECT CASE WHEN querytree(q.query) = 'T' THEN ''::tsquery ELSE q.query END AS query
        FROM (SELECT CASE WHEN CAST(:respelled AS text) IS NULL THEN websearch_to_tsquery('product_{language}', :q)
                          ELSE websearch_to_tsquery('product_{language}', :q)
                               || websearch_to_tsquery('product_{language}', :respelled) END AS query) AS q
    ) AS a
"""
_MARKED = """
    SELECT {columns},
           ts_headline('product_{language}', translate(title, :marks, ''), asked.query, :whole) AS marked_title,
           ts_headline('product_{language}', translate(left(description, :chars), :marks, ''), asked.query,
                       :fragments) AS marked_description
    FROM products, ({asked}) AS asked WHERE id = ANY(:ids)
"""
_NO_NEGATION = re.compile(r'-(?![\w"])')


@lru_cache
def marked(language: Language) -> Sql:
    """Return the statement that reads products by `ids` with their texts marked, where `words_of` are found."""
    asked = ASKED.format(language=language)
    columns = ", ".join(f"products.{column.strip()}" for column in COLUMNS.split(","))
    return Sql(_MARKED.format(columns=columns, language=language, asked=asked))


def words_of(q: str, respelled: str | None) -> dict[str, str | None]:
    """Return what to look for. PostgreSQL fails at a chain of `-`, so one stays only before a word or a quote."""
    return {
        "q": _NO_NEGATION.sub(" ", q),
        "respelled": None if respelled is None else _NO_NEGATION.sub(" ", respelled),
    }


def read_hit(row: Row, key: float, position: int) -> Hit:
    """Read a product that was found, its texts marked or not."""
    columns = dict(row._mapping)
    title, description = columns.pop("marked_title", None), columns.pop("marked_description", None)
    highlight = None if title is None else Highlight(_as_html(title), _as_html(description))
    return Hit(read_product(columns), key, position, highlight)


def _as_html(marked: str) -> str:
    return html.escape(marked).replace(_BEGIN_MARK, "<mark>").replace(_END_MARK, "</mark>")
