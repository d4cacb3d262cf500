"""Users, tokens and API keys on the wire."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import ConfigDict, Field, field_validator

from api.schemas import AnswerModel, PageAnswer, PageQuery, RequestModel, Text, WithoutNul
from domain.identity.api_keys import NewApiKey
from domain.identity.credentials import MAX_PASSWORD_CHARS, MIN_PASSWORD_CHARS
from domain.identity.model import ApiKey, Role, Scope, User
from domain.identity.tokens import API_KEY

_MAX_EMAIL_CHARS = 254
# U+0085 is a space to some languages and not to others.
_EMAIL_PATTERN = r"^[^@\s\x85]+@[^@\s\x85]+\.[^@\s\x85]+$"
_EXAMPLE_PASSWORD = "correct horse battery staple"  # noqa: S105 - an example in the documentation
_USER: dict[str, Any] = {
    "id": "01935b8e-7b00-7000-8000-1a2b3c4d5e6f",
    "email": "ann@example.com",
    "role": "buyer",
    "created_at": "2026-11-25T08:00:00Z",
    "suspended_at": None,
}
_KEY: dict[str, Any] = {
    "id": "01935b8e-7d00-7000-8000-3c4d5e6f7a8b",
    "user_id": _USER["id"],
    "name": "shop backend",
    "prefix": "mf_1f0c5ad29e3b",
    "scopes": ["orders:read", "payments:write"],
    "created_at": "2026-11-25T08:30:00Z",
    "last_used_at": None,
}


def _example(*examples: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": list(examples)})


_CREDENTIALS = {"email": _USER["email"], "password": _EXAMPLE_PASSWORD}
_REFRESH = {"refresh_token": "mfr_pX3…"}

Email = Annotated[
    str,
    Field(min_length=3, max_length=_MAX_EMAIL_CHARS, pattern=_EMAIL_PATTERN, examples=["ann@example.com"]),
    WithoutNul,
]
NewPassword = Annotated[
    Text,
    Field(min_length=MIN_PASSWORD_CHARS, max_length=MAX_PASSWORD_CHARS, examples=[_EXAMPLE_PASSWORD]),
]
"""What its characters are is left to the user; only what attackers try first is refused."""
KnownPassword = Annotated[Text, Field(max_length=MAX_PASSWORD_CHARS, examples=[_EXAMPLE_PASSWORD])]


class NewUser(RequestModel):
    """A buyer or a seller registers."""

    model_config = _example({**_CREDENTIALS, "role": "buyer"})

    email: Email
    password: NewPassword
    role: Role


class Credentials(RequestModel):
    """What a user proves itself with."""

    model_config = _example(_CREDENTIALS)

    email: Annotated[Text, Field(max_length=_MAX_EMAIL_CHARS, examples=["ann@example.com"])]
    password: KnownPassword


class Refresh(RequestModel):
    """What keeps a session going: the newest refresh token."""

    model_config = _example(_REFRESH)

    refresh_token: Annotated[Text, Field(max_length=255, examples=["mfr_pX3…"])]


class PasswordChange(RequestModel):
    """Another password; the present one proves that it is the user who asks."""

    model_config = _example({"current_password": _EXAMPLE_PASSWORD, "new_password": "a stapler for horses"})

    current_password: KnownPassword
    new_password: NewPassword


class NewKey(RequestModel):
    """An API key for a program, and what it may do."""

    model_config = _example({"name": _KEY["name"], "scopes": _KEY["scopes"]})

    name: Annotated[Text, Field(min_length=1, max_length=100, examples=["shop backend"])]
    scopes: Annotated[
        list[Scope],
        Field(
            min_length=1,
            max_length=len(Scope),
            examples=[["orders:read", "payments:write"]],
            json_schema_extra={"uniqueItems": True},
        ),
    ]

    @field_validator("scopes")
    @classmethod
    def _each_scope_once(cls, scopes: list[Scope]) -> list[Scope]:
        if len(set(scopes)) != len(scopes):
            raise ValueError("a scope is named once")
        return scopes


class UserQuery(PageQuery):
    """Which users."""

    email: (
        Annotated[Text, Field(max_length=_MAX_EMAIL_CHARS, json_schema_extra={"pattern": _EMAIL_PATTERN})] | None
    ) = None


class KeyQuery(PageQuery):
    """Which keys."""

    user_id: Annotated[UUID | None, Field(description="whose keys; for admins")] = None


class UserAnswer(AnswerModel):
    """A user, without its secrets."""

    model_config = _example(_USER)

    id: UUID
    email: str
    role: Role
    created_at: datetime
    suspended_at: datetime | None

    @classmethod
    def of(cls, user: User) -> "UserAnswer":
        """Render a user."""
        return cls(
            id=user.id,
            email=user.email,
            role=user.role,
            created_at=user.created_at,
            suspended_at=user.suspended_at,
        )


class UserPage(PageAnswer[UserAnswer]):
    """A page of users."""


class TokenAnswer(AnswerModel):
    """An access token, which holds for `expires_in` seconds, and the token that fetches the next two."""

    model_config = _example(
        {"access_token": "eyJhbGciOiJIUzI1NiIsImtpZCI6…", **_REFRESH, "token_type": "Bearer", "expires_in": 900}
    )

    access_token: Annotated[str, Field(examples=["eyJhbGciOiJIUzI1NiIsImtpZCI6…"])]
    refresh_token: Annotated[str, Field(examples=["mfr_pX3…"])]
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme, not a secret
    expires_in: Annotated[int, Field(description="in seconds", examples=[900])]


class ApiKeyAnswer(AnswerModel):
    """An API key; `prefix` is how the key begins, the rest is not known here."""

    model_config = _example(_KEY)

    id: UUID
    user_id: UUID
    name: str
    prefix: Annotated[str, Field(examples=["mf_1f0c5ad29e3b"])]
    scopes: Sequence[Scope]
    created_at: datetime
    last_used_at: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> "ApiKeyAnswer":
        """Render a key."""
        return cls.model_validate(_shown(key))


class NewApiKeyAnswer(ApiKeyAnswer):
    """A new API key, the only time that `key` is shown."""

    model_config = _example({**_KEY, "key": "mf_1f0c5ad29e3b_9c…"})

    key: Annotated[str, Field(examples=["mf_1f0c5ad29e3b_9c…"])]

    @classmethod
    def of_new(cls, new: NewApiKey) -> "NewApiKeyAnswer":
        """Render a new key with its secret."""
        return cls.model_validate({**_shown(new.key), "key": new.credential})


class ApiKeyPage(PageAnswer[ApiKeyAnswer]):
    """A page of API keys."""


def _shown(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "user_id": key.user_id,
        "name": key.name,
        "prefix": f"{API_KEY}{key.prefix}",
        "scopes": sorted(key.scopes),
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
    }
