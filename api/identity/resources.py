"""`/v1/users`, `/v1/tokens`."""

from http import HTTPStatus

from falcon.asgi import Request, Response

from api.identity.schemas import Credentials, NewUser, TokenAnswer, UserAnswer
from api.identity.tokens import TokenCodec
from api.operations import operation
from api.rendering import render
from domain.identity.service import IdentityService


class Users:
    """The users."""

    def __init__(self, identity: IdentityService) -> None:
        """Keep the service."""
        self._identity = identity

    @operation(
        "Register a buyer or a seller",
        "identity",
        UserAnswer,
        status=HTTPStatus.CREATED,
        body=NewUser,
        public=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Register."""
        body: NewUser = req.context.body
        user = await self._identity.register(body.email, body.password, body.role)
        render(resp, UserAnswer.of(user), HTTPStatus.CREATED)


class Tokens:
    """The access tokens."""

    def __init__(self, identity: IdentityService, tokens: TokenCodec) -> None:
        """Keep the service and the codec."""
        self._identity = identity
        self._tokens = tokens

    @operation("Get an access token", "identity", TokenAnswer, body=Credentials, public=True)
    async def on_post(self, req: Request, resp: Response) -> None:
        """Prove who one is."""
        body: Credentials = req.context.body
        user = await self._identity.authenticate(body.email, body.password)
        token = self._tokens.issue(user)
        render(resp, TokenAnswer(access_token=token, expires_in=self._tokens.ttl_s))
