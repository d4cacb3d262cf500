"""Who calls: checks a bearer credential, and puts the principal on the request."""

from falcon.asgi import Request, Response

from api.identity.authenticator import Authenticator
from api.middleware.rate_limit import RateLimit
from api.operations import Operation, Routes
from domain.errors import Forbidden, Unauthenticated
from domain.identity.model import Principal
from domain.identity.tokens import API_KEY

_SCHEME = "bearer "


class Authentication:
    """Requires an access token or an API key where an operation is not public; reads it where it is optional."""

    def __init__(self, routes: Routes, authenticator: Authenticator, limits: RateLimit) -> None:
        """Keep the routes with their operations, what checks credentials, and what counts wrong ones."""
        self._routes = routes
        self._authenticator = authenticator
        self._limits = limits

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, object]
    ) -> None:
        """Put the principal on the request.

        Errors: Unauthenticated `token_missing`, `token_invalid`, `api_key_invalid`; Forbidden `scope_missing`.
        """
        operation = self._routes.find(req.uri_template, req.method)
        req.context.operation = operation
        req.context.principal = None
        greeted = operation is not None and operation.greets and req.get_header("Authorization")
        if operation is None or (operation.public and not greeted):
            return
        credential = read_bearer(req)
        principal = self._authenticator.known(credential) or await self._prove(req, resp, credential)
        if principal.scopes is not None and not operation.public:
            _check_scope(principal, operation)
        # What an operation tells those alone whom it greets is for a key with its scope.
        elif principal.scopes is not None and operation.scope not in principal.scopes:
            return
        req.context.principal = principal

    async def _prove(self, req: Request, resp: Response, credential: str) -> Principal:
        """Check a credential that is not known yet, and count wrong ones by address, so that nobody can try many.

        An API key is counted before it is checked, because that takes a query.
        """
        if credential.startswith(API_KEY):
            await self._limits.count_address(req, resp)
        try:
            return await self._authenticator.prove(credential)
        except Unauthenticated:
            if not credential.startswith(API_KEY):
                await self._limits.count_address(req, resp)
            raise


def read_bearer(req: Request) -> str:
    """Return the credential of a request. Errors: Unauthenticated `token_missing`."""
    header = req.get_header("Authorization") or ""
    if header[: len(_SCHEME)].lower() != _SCHEME:
        raise Unauthenticated("a bearer token is needed", code="token_missing")
    return header[len(_SCHEME) :].strip()


def _check_scope(principal: Principal, operation: Operation) -> None:
    """Refuse an API key without the operation's scope. Errors: Forbidden `scope_missing`, `session_needed`."""
    if operation.scope is None:
        raise Forbidden("this needs a session, not an API key", code="session_needed")
    if operation.scope not in (principal.scopes or ()):
        raise Forbidden(
            f"this needs an API key with the scope {operation.scope}", code="scope_missing", scope=operation.scope
        )
