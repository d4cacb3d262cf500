"""Users and tokens on the wire."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from api.schemas import AnswerModel, RequestModel, Text
from domain.identity.model import Role, User

Email = Annotated[
    Text, Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", examples=["ann@example.com"])
]
Password = Annotated[Text, Field(min_length=8, max_length=256, examples=["correct horse battery staple"])]


class NewUser(RequestModel):
    """A buyer or a seller registers."""

    email: Email
    password: Password
    role: Role


class Credentials(RequestModel):
    """What a user proves itself with."""

    email: Annotated[Text, Field(max_length=254)]
    password: Annotated[Text, Field(max_length=256)]


class UserAnswer(AnswerModel):
    """A user, without its secrets."""

    id: UUID
    email: str
    role: Role
    created_at: datetime

    @classmethod
    def of(cls, user: User) -> "UserAnswer":
        """Render a user."""
        return cls(id=user.id, email=user.email, role=user.role, created_at=user.created_at)


class TokenAnswer(AnswerModel):
    """An access token; `expires_in` is in seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a scheme, not a secret
    expires_in: int
