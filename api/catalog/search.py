"""Searching products: parameters, cursors and answers."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.catalog.schemas import PRODUCT, Category, ProductAnswer
from api.cursors import decode_cursor, encode_cursor
from api.schemas import AnswerModel, Currency, QueryModel, Text
from domain.catalog.query import Facets, Found, Highlight, Hit, Language, Place, ProductQuery, Sort
from domain.errors import Invalid
from domain.fingerprints import fingerprint
from domain.ids import ProductId, UserId
from domain.pages import MAX_LIMIT

_MAX_CURSOR_CHARS = 1_200
_MAX_POSITION = 2**53
_DIGEST_CHARS = 8

PriceMinor = Annotated[int, Field(ge=0, le=2**53, description="in minor units, of whatever currency")]


class ProductSearch(QueryModel):
    """Which products are asked for, in what order."""

    q: Text | None = Field(
        default=None,
        max_length=200,
        description='words to look for; `"a phrase"`, `or` and `-not` as in a web search. Words that no product '
        "bears are corrected when little is found.",
        examples=["walnut desk"],
    )
    language: Literal["en", "es"] = Field(
        default="en", description="by whose grammar the words are read; every product is indexed in each"
    )
    seller_id: UUID | None = Field(default=None, examples=["01935b8e-7bff-7000-8000-0c9d1e2f3a4b"])
    category: Category | None = None
    currency: Currency | None = None
    price_min_minor: PriceMinor | None = Field(default=None, examples=[5000])
    price_max_minor: PriceMinor | None = Field(default=None, examples=[25000])
    in_stock: bool | None = Field(default=None, examples=[True])
    sort: Literal["relevance", "newest", "price_asc", "price_desc"] = Field(
        default="relevance",
        description="Without `q`, relevance is newest first. With `q`, the newest 500 matches are sorted, then "
        "the 500 before them.",
    )
    limit: int = Field(default=20, ge=1, le=MAX_LIMIT)
    cursor: Text | None = Field(
        default=None,
        max_length=_MAX_CURSOR_CHARS,
        description="`next_cursor` of the page before; the other parameters stay as they were",
    )

    def query(self) -> ProductQuery:
        """Return it as the domain takes it; a query of spaces is none."""
        return ProductQuery(
            q=(self.q or "").strip() or None,
            language=Language(self.language),
            seller_id=None if self.seller_id is None else UserId(self.seller_id),
            category=self.category,
            currency=self.currency,
            price_min_minor=self.price_min_minor,
            price_max_minor=self.price_max_minor,
            in_stock=self.in_stock,
            sort=Sort(self.sort),
        )

    def place(self) -> Place | None:
        """Return where the page begins. Errors: Invalid `cursor_invalid`, also for one of another search."""
        return None if self.cursor is None else read_place(self.cursor, self.query())


class _Cursor(BaseModel):
    """A place as it travels. Whatever somebody makes of it, it names products that all may see."""

    model_config = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="null")

    digest: str = Field(alias="d")
    newest: int | None = Field(default=None, alias="n", ge=0, le=_MAX_POSITION)
    oldest: int | None = Field(default=None, alias="o", ge=0, le=_MAX_POSITION)
    key: float | None = Field(default=None, alias="k", ge=0, le=_MAX_POSITION, allow_inf_nan=False)
    id: UUID | None = Field(default=None, alias="i")
    respelled: Text | None = Field(default=None, alias="r", max_length=400)


def write_place(place: Place | None, query: ProductQuery) -> str | None:
    """Return an opaque cursor."""
    if place is None:
        return None
    cursor = _Cursor(d=_digest(query), n=place.newest, o=place.oldest, k=place.key, i=place.id, r=place.respelled)
    return encode_cursor(cursor.model_dump_json(by_alias=True, exclude_none=True).encode())


def read_place(cursor: str, query: ProductQuery) -> Place:
    """Return the place in a cursor. Errors: Invalid `cursor_invalid`."""
    try:
        read = _Cursor.model_validate_json(decode_cursor(cursor))
    except ValidationError:
        raise _not_ours() from None
    id_ = None if read.id is None else ProductId(read.id)
    place = Place(read.newest, read.oldest, read.key, id_, read.respelled)
    if read.digest != _digest(query) or not _is_whole(place, query):
        raise _not_ours()
    return place


def _is_whole(place: Place, query: ProductQuery) -> bool:
    """Tell whether a place is one of the three kinds: a new slab, inside a slab, inside a list of prices."""
    if (place.key is None) != (place.id is None) or (place.respelled is not None and query.q is None):
        return False
    if place.newest is None:
        return place.oldest is None and place.key is not None and query.q is None and query.is_by_price
    return (place.oldest is None) == (place.key is None)


def _digest(query: ProductQuery) -> str:
    fields = {name: getattr(query, name) for name in query.__dataclass_fields__}
    return fingerprint(**fields).hex()[:_DIGEST_CHARS]


def _not_ours() -> Invalid:
    return Invalid("the cursor is not one of this search", code="cursor_invalid")


_HIGHLIGHT: dict[str, Any] = {
    "title": "<mark>Walnut</mark> desk",
    "description": "A <mark>desk</mark> of solid <mark>walnut</mark>, oiled by hand.",
}


class HighlightAnswer(AnswerModel):
    """Where the words stand, as HTML: text is escaped, and each match is in `<mark>`."""

    title: str = Field(examples=[_HIGHLIGHT["title"]])
    description: str = Field(examples=[_HIGHLIGHT["description"]])

    @classmethod
    def of(cls, highlight: Highlight) -> "HighlightAnswer":
        """Render a highlight."""
        return cls.model_validate(highlight, from_attributes=True)


class HitAnswer(ProductAnswer):
    """A product that was found; `highlight` is null without `q`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**PRODUCT, "highlight": _HIGHLIGHT}]})

    highlight: HighlightAnswer | None

    @classmethod
    def of_hit(cls, hit: Hit) -> "HitAnswer":
        """Render a hit."""
        product = ProductAnswer.of(hit.product)
        marked = None if hit.highlight is None else HighlightAnswer.of(hit.highlight)
        return cls.model_construct(**product.__dict__, highlight=marked)


class CountAnswer(AnswerModel):
    """How many of the counted products have a value."""

    value: str = Field(examples=["furniture"])
    count: int = Field(examples=[42])


class StockCountAnswer(AnswerModel):
    """How many of the counted products are in stock, or are not."""

    value: bool
    count: int


class PriceCountAnswer(AnswerModel):
    """How many of the counted products cost `from_minor` or more and less than `below_minor`."""

    from_minor: int = Field(examples=[10000])
    below_minor: int | None = Field(examples=[25000])
    count: int


class FacetsAnswer(AnswerModel):
    """By what the answer can be narrowed.

    At most the newest 500 matches are counted; `is_complete` says whether these are all.
    """

    counted: int
    is_complete: bool
    category: Sequence[CountAnswer]
    seller_id: Sequence[CountAnswer]
    in_stock: Sequence[StockCountAnswer]
    price: Sequence[PriceCountAnswer]

    @classmethod
    def of(cls, facets: Facets) -> "FacetsAnswer":
        """Render facets."""
        return cls.model_validate(facets, from_attributes=True)


class ProductPage(AnswerModel):
    """A page of what was found.

    More follows while `next_cursor` is not null, also after a page that is not full. `facets` come with the first
    page. `respelled` is the query that was looked for as well, because words in it seemed misspelt.
    """

    data: Sequence[HitAnswer]
    next_cursor: str | None
    facets: FacetsAnswer | None
    respelled: str | None = Field(examples=["walnut desk"])

    @classmethod
    def of(cls, found: Found, query: ProductQuery) -> "ProductPage":
        """Render a page."""
        return cls(
            data=[HitAnswer.of_hit(hit) for hit in found.hits],
            next_cursor=write_place(found.next, query),
            facets=None if found.facets is None else FacetsAnswer.of(found.facets),
            respelled=found.respelled,
        )
