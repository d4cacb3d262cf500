"""Products as clients write and read them."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, model_validator

from api.schemas import AmountMinor, AnswerModel, Currency, RequestModel, Text, WithoutNul
from domain.catalog.model import NewProduct, Product, ProductChanges

MAX_STOCK = 1_000_000
_MAX_ATTRIBUTES = 50
_MAX_VALUES = 20
_MAX_NAME_CHARS = 64
_MAX_WORD_CHARS = 500
_MAX_ATTRIBUTES_CHARS = 8192
_MAX_NUMBER = 10**15
_NO_URL = "must be an https URL with a host and without credentials"


def _https_url(url: str) -> str:
    """Refuse what a shop cannot put into a page: other schemes, no host, credentials, spaces."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError(_NO_URL) from None
    # The scheme in small letters, as the database and the document have it; `urlsplit` does not care.
    if not url.startswith("https://") or not parts.hostname or "@" in parts.netloc:
        raise ValueError(_NO_URL)
    if any(char.isspace() or not char.isprintable() for char in url):
        raise ValueError("must not contain spaces or control characters")
    return url


Title = Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S", examples=["Walnut desk"]), WithoutNul]
Description = Annotated[Text, Field(max_length=10_000, examples=["A desk of solid walnut, oiled by hand."])]
Category = Annotated[Text, Field(max_length=100, examples=["furniture"])]
Stock = Annotated[int, Field(ge=0, le=MAX_STOCK, description="what is left to sell", examples=[12])]

_Number = Annotated[int, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER)]
_Fraction = Annotated[float, Field(ge=-_MAX_NUMBER, le=_MAX_NUMBER, allow_inf_nan=False)]
_Word = Annotated[str, Field(max_length=_MAX_WORD_CHARS)]
_Scalar = bool | _Number | _Fraction | _Word
# As the document tells it.
_Attributes = Annotated[
    dict[
        Annotated[str, Field(min_length=1, max_length=_MAX_NAME_CHARS)],
        _Scalar | Annotated[list[_Scalar], Field(max_length=_MAX_VALUES)],
    ],
    Field(
        max_length=_MAX_ATTRIBUTES,
        description="what else there is to say: text, numbers, booleans, or short lists of them",
        examples=[{"material": "walnut", "width_cm": 140, "colours": ["brown", "black"]}],
    ),
]


def _read_attributes(attributes: object) -> dict[str, Any]:
    """Check attributes, up to the first that is wrong.

    PERF: pydantic goes on to the last one, and says of each all that it could have been: 70,000 mistakes in one
    body, for which all others would wait two seconds.
    """
    if not isinstance(attributes, dict):
        raise ValueError("must be an object")  # noqa: TRY004 - pydantic's own kind
    if len(attributes) > _MAX_ATTRIBUTES:
        raise ValueError(f"at most {_MAX_ATTRIBUTES} attributes")
    for name, value in attributes.items():
        if not 0 < len(name) <= _MAX_NAME_CHARS or "\x00" in name:
            raise ValueError(f"the name of an attribute has 1 to {_MAX_NAME_CHARS} characters, none of them NUL")
        values = value if isinstance(value, list) else [value]
        if len(values) > _MAX_VALUES:
            raise ValueError(f"{name!r}: at most {_MAX_VALUES} values")
        if not all(map(_is_scalar, values)):
            raise ValueError(
                f"{name!r}: a text of up to {_MAX_WORD_CHARS} characters without NUL, a number up to 10^15, "
                "a boolean, or a list of them"
            )
    if len(json.dumps(attributes, ensure_ascii=False)) > _MAX_ATTRIBUTES_CHARS:
        raise ValueError(f"must not have more than {_MAX_ATTRIBUTES_CHARS} characters as JSON")
    return attributes


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_WORD_CHARS and "\x00" not in value
    return isinstance(value, int | float) and -_MAX_NUMBER <= value <= _MAX_NUMBER


Attributes = Annotated[dict[str, Any], PlainValidator(_read_attributes, json_schema_input_type=_Attributes)]
ImageUrls = Annotated[
    list[
        Annotated[
            Text,
            Field(max_length=2048, json_schema_extra={"pattern": r"^https://\S+$"}),
            AfterValidator(_https_url),
        ]
    ],
    Field(max_length=10, examples=[["https://images.example.com/desk.jpg"]]),
]

_EXAMPLE: dict[str, Any] = {
    "title": "Walnut desk",
    "description": "A desk of solid walnut, oiled by hand.",
    "category": "furniture",
    "price_minor": 19900,
    "currency": "USD",
    "stock": 12,
    "attributes": {"material": "walnut", "width_cm": 140},
    "image_urls": ["https://images.example.com/desk.jpg"],
}


PRODUCT: dict[str, Any] = {
    "id": "01935b8e-7c00-7000-8000-2f1f9a3c5e11",
    "seller_id": "01935b8e-7bff-7000-8000-0c9d1e2f3a4b",
    **_EXAMPLE,
    "created_at": "2026-11-25T09:00:00Z",
    "updated_at": "2026-11-25T09:00:00Z",
    "withdrawn_at": None,
}


class ProductBody(RequestModel):
    """What a seller says of a product."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    title: Title
    description: Description = ""
    category: Category = ""
    price_minor: AmountMinor
    currency: Currency
    stock: Stock = 0
    attributes: Attributes = Field(default_factory=dict)
    image_urls: ImageUrls = Field(default_factory=list)

    def new(self) -> NewProduct:
        """Return it as the domain takes it."""
        return NewProduct(**{**self.model_dump(), "image_urls": tuple(self.image_urls)})


# The default of a field that is not given, which can itself not be given.
_NOT_GIVEN: Any = None


def _changes(schema: dict[str, Any]) -> None:
    """Tell that no field has a default and that one is needed, with an example."""
    schema["minProperties"] = 1
    schema["examples"] = [{"price_minor": 17900, "stock": 9}]
    for described in schema["properties"].values():
        described.pop("default", None)


class ProductChangesBody(RequestModel):
    """What a seller changes of a product: at least one field; attributes and images are replaced as a whole."""

    model_config = ConfigDict(json_schema_extra=_changes)

    title: Title = _NOT_GIVEN
    description: Description = _NOT_GIVEN
    category: Category = _NOT_GIVEN
    price_minor: AmountMinor = _NOT_GIVEN
    currency: Currency = _NOT_GIVEN
    stock: Stock = _NOT_GIVEN
    attributes: Attributes = _NOT_GIVEN
    image_urls: ImageUrls = _NOT_GIVEN

    @model_validator(mode="after")
    def _say_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("at least one field is needed")
        return self

    def changes(self) -> ProductChanges:
        """Return them as the domain takes them."""
        given = self.model_dump(exclude_unset=True)
        if "image_urls" in given:
            given["image_urls"] = tuple(given["image_urls"])
        return ProductChanges(**given)


class ProductAnswer(AnswerModel):
    """A product; `withdrawn_at` tells its seller since when it cannot be found or ordered any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [PRODUCT]})

    id: UUID
    seller_id: UUID
    title: str
    description: str
    category: str
    price_minor: int
    currency: str
    stock: int
    attributes: Mapping[str, Any]
    image_urls: Sequence[str]
    created_at: datetime
    updated_at: datetime
    withdrawn_at: datetime | None

    @classmethod
    def of(cls, product: Product) -> "ProductAnswer":
        """Render a product."""
        return cls.model_validate(product, from_attributes=True)
