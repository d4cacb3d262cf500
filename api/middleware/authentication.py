"""Who calls: a bearer token is checked, and the principal put on the request."""

from falcon.asgi import Request, Response

from api.identity.tokens import TokenCodec
from api.operations import Routes
from domain.errors import Unauthenticated

_SCHEME = "bearer "


class Authentication:
    """Requires a valid token on every operation that is not public, and reads it where it may come along."""

    def __init__(self, routes: Routes, tokens: TokenCodec) -> None:
        """Keep what tells public from private, and what reads tokens."""
        self._routes = routes
        self._tokens = tokens

    async def process_resource(
        self, req: Request, resp: Response, resource: object, params: dict[str, object]
    ) -> None:
        """Put the principal on the request. Errors: Unauthenticated `token_missing`, `token_invalid`."""
        operation = self._routes.find(req.uri_template, req.method)
        req.context.operation = operation
        req.context.principal = None
        header = req.get_header("Authorization") or ""
        if operation is None or (operation.public and not (operation.greets and header)):
            return
        if header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthenticated("a bearer token is needed", code="token_missing")
        req.context.principal = self._tokens.read(header[len(_SCHEME) :].strip())
