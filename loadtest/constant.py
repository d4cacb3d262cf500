"""A constant, served by Falcon: what the server and the framework take for themselves."""

from falcon.asgi import App, Request, Response

_BODY = b'{"id":"019ac000-0000-7000-8000-000000000000","status":"succeeded","amount_minor":1999,"currency":"USD"}'


class Constant:
    """Answers without looking."""

    async def on_get(self, _: Request, resp: Response) -> None:
        """Answer."""
        resp.content_type = "application/json"
        resp.data = _BODY


def create() -> App[Request, Response]:
    """Return the application for gunicorn."""
    app: App[Request, Response] = App()
    app.add_route("/", Constant())
    return app
