"""The servers of customers: each endpoint has a path, and believes what its secret has signed."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from aiohttp import web

from api.client import Client
from api.client.webhooks import WebhookInvalid, verify_webhook


@dataclass
class Receiver:
    """One server for all endpoints."""

    url: str = ""
    secrets: dict[str, str] = field(default_factory=dict)
    heard: dict[str, dict[str, tuple[str, str]]] = field(default_factory=dict)
    """For each path the subjects and types of events, by `webhook-id`: a message that comes again is no news."""
    unbelieved: int = 0
    """How many messages were not signed by the secret, or at another time than now."""
    unanswered: int = 0
    """How many messages have come since it fell silent."""
    _answering: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._answering.set()

    async def register(self, client: Client, wanted: Sequence[str]) -> str:
        """Ask for some of one's events; return the path that hears of them."""
        path = uuid.uuid4().hex
        self.heard[path] = {}
        endpoint = await client.webhook_endpoints.create(f"{self.url}/{path}", wanted)
        self.secrets[path] = endpoint["secret"]
        return path

    async def receive(self, request: web.Request) -> web.Response:
        """Take a message, if it is signed; one that came in silence is refused afterwards, and must come again."""
        path, body = request.match_info["path"], await request.read()
        if not self._answering.is_set():
            self.unanswered += 1
            await self._answering.wait()
            return web.Response(status=503)
        try:
            event = verify_webhook(body, request.headers, self.secrets[path])
        except WebhookInvalid:
            self.unbelieved += 1
            return web.Response(status=400)
        message_id, told = request.headers["webhook-id"], (event["subject_id"], event["type"])
        assert self.heard[path].setdefault(message_id, told) == told
        return web.Response(status=204)

    @contextmanager
    def silent(self) -> Iterator[None]:
        """Let messages come, and answer none of them for now."""
        self.unanswered = 0
        self._answering.clear()
        try:
            yield
        finally:
            self._answering.set()


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    """Serve on a free port of loopback."""
    receiver, app = Receiver(), web.Application()
    app.router.add_post("/{path}", receiver.receive)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield receiver
    finally:
        await runner.cleanup()
