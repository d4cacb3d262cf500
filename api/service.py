"""`/health`, `/metrics`, `/openapi.json`, `/docs`: what operators and developers look at."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import cached_property
from http import HTTPStatus
from typing import Any, Literal

from falcon.asgi import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from pydantic import Field

from api.docs_page import page
from api.operations import operation
from api.rendering import render
from api.schemas import AnswerModel
from domain.coalescer import Coalescer

_CHECK_TIMEOUT_S = 1.5
_MAX_TOGETHER = 1_000
"""Who asks for the same at the same time gets the same answer, up to so many."""


class HealthAnswer(AnswerModel):
    """How the service is, and each part it stands on."""

    status: Literal["ok", "degraded", "unavailable"]
    checks: dict[str, Literal["ok", "unavailable"]] = Field(default_factory=dict)


class Health:
    """Liveness and readiness."""

    def __init__(
        self,
        *,
        vital: dict[str, Callable[[], Awaitable[object]]],
        helpful: dict[str, Callable[[], Awaitable[object]]],
    ) -> None:
        """Keep the checks: without a vital part nothing is served, without a helpful one things are slower."""
        self._vital = vital
        self._helpful = helpful
        # Anybody may ask, and the broker is asked in the one thread that publishes: who asks meanwhile shares the
        # next look.
        self._looks: Coalescer[None, Mapping[str, bool]] = Coalescer(self._look, max_batch=_MAX_TOGETHER)

    @operation("Is the process alive?", "service", HealthAnswer, public=True, limited=False)
    async def on_get_live(self, req: Request, resp: Response) -> None:
        """Answer at all."""
        render(resp, HealthAnswer(status="ok"))

    @operation("Can requests be served?", "service", HealthAnswer, public=True, limited=False)
    async def on_get_ready(self, req: Request, resp: Response) -> None:
        """Check each part; 503 without a vital one, `degraded` without a helpful one."""
        passed = await self._looks.submit(None)
        if not all(passed[name] for name in self._vital):
            status: Literal["ok", "degraded", "unavailable"] = "unavailable"
        else:
            status = "ok" if all(passed.values()) else "degraded"
        states: dict[str, Literal["ok", "unavailable"]] = {
            name: "ok" if good else "unavailable" for name, good in passed.items()
        }
        code = HTTPStatus.SERVICE_UNAVAILABLE if status == "unavailable" else HTTPStatus.OK
        render(resp, HealthAnswer(status=status, checks=states), code)

    async def _look(self, asked: Sequence[None]) -> Sequence[Mapping[str, bool]]:
        checks = {**self._vital, **self._helpful}
        results = await asyncio.gather(*(_passes(check) for check in checks.values()))
        return [dict(zip(checks, results, strict=True))] * len(asked)


async def _passes(check: Callable[[], Awaitable[object]]) -> bool:
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await check()
    except Exception:  # noqa: BLE001 - whatever goes wrong, the part is not there
        return False
    return True


class Metrics:
    """Prometheus' page."""

    def __init__(self, registry: CollectorRegistry, shared: Sequence[Callable[[], Awaitable[bytes]]]) -> None:
        """Keep the registry that adds up all processes, and what renders what they share, if it can be reached."""
        self._registry = registry
        self._shared = shared
        # PERF: adding up takes many milliseconds: it holds up no request, and who asks meanwhile shares the next.
        self._pages: Coalescer[None, bytes] = Coalescer(self._add_up, max_batch=_MAX_TOGETHER)

    @operation(
        "Metrics for Prometheus", "service", public=True, limited=False, media_type="text/plain; version=1.0.0"
    )
    async def on_get(self, req: Request, resp: Response) -> None:
        """Render the metrics of all processes, and the state that they share, as far as somebody knows it."""
        pages = await asyncio.gather(self._pages.submit(None), *(render_page() for render_page in self._shared))
        resp.content_type = CONTENT_TYPE_LATEST
        resp.data = b"".join(pages)

    async def _add_up(self, scrapes: Sequence[None]) -> Sequence[bytes]:
        page = await asyncio.to_thread(generate_latest, self._registry)
        return [page] * len(scrapes)


class Documents:
    """The description of this API, for programs and for people."""

    def __init__(self, describe: Callable[[], dict[str, Any]]) -> None:
        """Keep what describes all routes, this one among them.

        PERF: it is asked when somebody wants to read, so that no start waits for it, and in a thread, for it takes
        a fifth of a second.
        """
        self._describe = describe

    @cached_property
    def _openapi(self) -> bytes:
        return json.dumps(self._describe()).encode()

    @cached_property
    def _page(self) -> str:
        return page(self._describe())

    @operation("This API as OpenAPI 3.1", "service", public=True)
    async def on_get(self, req: Request, resp: Response) -> None:
        """Serve the OpenAPI document."""
        resp.content_type = "application/json"
        resp.data = await asyncio.to_thread(lambda: self._openapi)

    @operation("This API as a page", "service", public=True, media_type="text/html")
    async def on_get_page(self, req: Request, resp: Response) -> None:
        """Serve the reference page."""
        resp.content_type = "text/html; charset=utf-8"
        resp.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        resp.text = await asyncio.to_thread(lambda: self._page)
