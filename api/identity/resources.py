"""`/v1/users`, `/v1/tokens`, `/v1/api-keys`."""

from http import HTTPStatus
from uuid import UUID

from falcon.asgi import Request, Response

from api.identity.authenticator import Authenticator
from api.identity.schemas import (
    ApiKeyAnswer,
    ApiKeyPage,
    Credentials,
    KeyQuery,
    NewApiKeyAnswer,
    NewKey,
    NewUser,
    PasswordChange,
    Refresh,
    TokenAnswer,
    UserAnswer,
    UserPage,
    UserQuery,
)
from api.identity.tokens import TokenCodec
from api.middleware.addresses import client_address
from api.operations import operation
from api.rendering import render, render_nothing
from domain.identity.api_keys import ApiKeyService
from domain.identity.service import IdentityService
from domain.identity.sessions import Grant, SessionService
from domain.ids import ApiKeyId, UserId


class Users:
    """The users."""

    def __init__(
        self,
        identity: IdentityService,
        sessions: SessionService,
        authenticator: Authenticator,
        *,
        trusted_proxies: int,
    ) -> None:
        """Keep the services, what remembers credentials, and how many proxies are ours."""
        self._identity = identity
        self._sessions = sessions
        self._authenticator = authenticator
        self._trusted_proxies = trusted_proxies

    @operation(
        "Register a buyer or a seller",
        "identity",
        UserAnswer,
        status=HTTPStatus.CREATED,
        body=NewUser,
        public=True,
        location=True,
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Register."""
        body: NewUser = req.context.body
        user = await self._identity.register(body.email, body.password, body.role)
        render(resp, UserAnswer.of(user), HTTPStatus.CREATED)
        resp.set_header("Location", f"/v1/users/{user.id}")

    @operation("List users, for admins", "identity", UserPage, query=UserQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List all users, newest first, or find one by its address."""
        query: UserQuery = req.context.query
        page = await self._identity.page(req.context.principal, query.request(), email=query.email)
        render(resp, UserPage.of(page, UserAnswer.of))

    @operation("Get a user: oneself, or for admins anybody", "identity", UserAnswer)
    async def on_get_one(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Get a user."""
        render(resp, UserAnswer.of(await self._identity.get(req.context.principal, UserId(user_id))))

    @operation(
        "Change one's password; all sessions end", "identity", status=HTTPStatus.NO_CONTENT, body=PasswordChange
    )
    async def on_post_password(self, req: Request, resp: Response) -> None:
        """Change the caller's password."""
        body: PasswordChange = req.context.body
        await self._sessions.change_password(
            req.context.principal,
            body.current_password,
            body.new_password,
            address=client_address(req, trusted_proxies=self._trusted_proxies),
        )
        self._authenticator.forget([req.context.principal.user_id])
        render_nothing(resp)

    @operation("Suspend a user: its sessions and API keys end; for admins", "identity", UserAnswer)
    async def on_post_suspension(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Keep a user out."""
        user = await self._identity.suspend(req.context.principal, UserId(user_id))
        self._authenticator.forget([user_id])
        render(resp, UserAnswer.of(user))

    @operation("Let a suspended user in again, for admins", "identity", UserAnswer)
    async def on_delete_suspension(self, req: Request, resp: Response, user_id: UUID) -> None:
        """Let a user in again."""
        render(resp, UserAnswer.of(await self._identity.reinstate(req.context.principal, UserId(user_id))))


class Tokens:
    """The tokens of a session."""

    def __init__(
        self,
        sessions: SessionService,
        tokens: TokenCodec,
        authenticator: Authenticator,
        *,
        trusted_proxies: int,
    ) -> None:
        """Keep the service, what makes and what remembers access tokens, and how many proxies are ours."""
        self._sessions = sessions
        self._tokens = tokens
        self._authenticator = authenticator
        self._trusted_proxies = trusted_proxies

    @operation("Log in", "identity", TokenAnswer, body=Credentials, public=True)
    async def on_post(self, req: Request, resp: Response) -> None:
        """Begin a session."""
        body: Credentials = req.context.body
        address = client_address(req, trusted_proxies=self._trusted_proxies)
        grant = await self._sessions.log_in(body.email, body.password, address=address)
        render(resp, self._answer(grant))

    @operation("Refresh the tokens of a session", "identity", TokenAnswer, body=Refresh, public=True)
    async def on_post_refresh(self, req: Request, resp: Response) -> None:
        """Exchange a refresh token for an access token and the next refresh token."""
        body: Refresh = req.context.body
        render(resp, self._answer(await self._sessions.refresh(body.refresh_token)))

    @operation("Log out", "identity", status=HTTPStatus.NO_CONTENT)
    async def on_delete(self, req: Request, resp: Response) -> None:
        """End the caller's session; other processes hear of it, in some seconds at most."""
        principal = req.context.principal
        await self._sessions.log_out(principal)
        self._authenticator.forget([principal.session_id])
        render_nothing(resp)

    def _answer(self, grant: Grant) -> TokenAnswer:
        return TokenAnswer(
            access_token=self._tokens.issue(grant.user, grant.session_id),
            refresh_token=grant.refresh_token,
            expires_in=self._tokens.ttl_s,
        )


class ApiKeys:
    """The API keys."""

    def __init__(self, keys: ApiKeyService, authenticator: Authenticator) -> None:
        """Keep the service, and what remembers keys."""
        self._keys = keys
        self._authenticator = authenticator

    @operation(
        "Make an API key", "identity", NewApiKeyAnswer, status=HTTPStatus.CREATED, body=NewKey, location=True
    )
    async def on_post(self, req: Request, resp: Response) -> None:
        """Make a key of the caller; it is shown this once."""
        body: NewKey = req.context.body
        new = await self._keys.create(req.context.principal, body.name, body.scopes)
        render(resp, NewApiKeyAnswer.of_new(new), HTTPStatus.CREATED)
        resp.set_header("Location", f"/v1/api-keys/{new.key.id}")

    @operation("List one's API keys, or for admins anybody's", "identity", ApiKeyPage, query=KeyQuery)
    async def on_get(self, req: Request, resp: Response) -> None:
        """List keys, newest first."""
        query: KeyQuery = req.context.query
        user_id = UserId(query.user_id) if query.user_id else None
        page = await self._keys.page(req.context.principal, query.request(), user_id=user_id)
        render(resp, ApiKeyPage.of(page, ApiKeyAnswer.of))

    @operation("Revoke an API key", "identity", status=HTTPStatus.NO_CONTENT)
    async def on_delete_one(self, req: Request, resp: Response, key_id: UUID) -> None:
        """End a key; other processes hear of it, in some seconds at most."""
        await self._keys.revoke(req.context.principal, ApiKeyId(key_id))
        self._authenticator.forget([key_id])
        render_nothing(resp)
