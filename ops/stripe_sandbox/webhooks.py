"""Signed webhooks: every event is POSTed until the endpoint answers with a 2xx, for three days."""

import asyncio
import contextlib
import heapq
import hmac
import logging
import time
from collections import Counter

from ops.http_client import HttpClient, HttpClientError
from ops.stripe_sandbox.objects import Obj
from ops.stripe_sandbox.sandbox import Call, Sandbox, encode_event

GIVE_UP_S = 3 * 24 * 3600
LONGEST_PAUSE_S = 3600
_REORDER_WINDOW_S = 0.2
_log = logging.getLogger(__name__)


class Dispatcher:
    """Delivers events over a few keep-alive connections, beside the API calls."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self._config = sandbox.config
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._later: list[tuple[float, str]] = []
        """Events that wait for their time on the sandbox's clock, soonest first."""
        self._attempts: Counter[str] = Counter()
        self._held_back: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self.delivered = 0
        self.failed_attempts = 0
        self.dropped = 0

    async def start(self) -> None:
        """Begin to deliver, first what an earlier process left undelivered."""
        for event_id, _ in self._sandbox.store.deliveries.live():
            self._queue.put_nowait(event_id)
        if self._config.webhook_url:
            self._tasks = [asyncio.create_task(self._deliver_all())]

    async def stop(self) -> None:
        """Stop delivering; what is pending stays in the state."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def submit(self, event: Obj, origin: Call | None = None) -> None:
        """Take over a new event, subject to the webhook faults in force for it or for the call that caused it."""
        event_id, cause = event["id"], (event["type"], *((origin.method, origin.path) if origin else ()))
        faults = self._sandbox.faults
        if not faults.active:
            self._queue.put_nowait(event_id)
            return
        if faults.draw_webhook("webhook_drop", *cause):
            self._sandbox.store.deliveries.remove(event_id)
            self.dropped += 1
            return
        if faults.draw_webhook("webhook_duplicate", *cause):
            self._queue.put_nowait(event_id)
        delay = faults.draw_webhook("webhook_delay_ms", *cause)
        if delay is not None:
            heapq.heappush(self._later, (self._sandbox.now() + delay.argument_ms / 1000, event_id))
        elif faults.draw_webhook("webhook_reorder", *cause):
            self._hold_back(event_id)
        else:
            self._queue.put_nowait(event_id)

    def redeliver(self, event: Obj) -> None:
        """Deliver an event once more, whether or not it was acknowledged."""
        self._sandbox.store.deliveries.put(event["id"], event["type"])
        self._queue.put_nowait(event["id"])

    def tick(self) -> None:
        """Put the events whose time has come into the queue."""
        now = self._sandbox.now()
        while self._later and self._later[0][0] <= now:
            self._queue.put_nowait(heapq.heappop(self._later)[1])

    def clear(self) -> None:
        """Forget every event and count."""
        while not self._queue.empty():
            self._queue.get_nowait()
        self._later.clear()
        self._attempts.clear()
        self._held_back.clear()
        self.delivered = self.failed_attempts = self.dropped = 0

    def _hold_back(self, event_id: str) -> None:
        """Gather events for a moment and deliver the newest first."""
        if not self._held_back:
            asyncio.get_running_loop().call_later(_REORDER_WINDOW_S, self._release)
        self._held_back.append(event_id)

    def _release(self) -> None:
        while self._held_back:
            self._queue.put_nowait(self._held_back.pop())

    async def _deliver_all(self) -> None:
        http = HttpClient(timeout_s=self._config.webhook_timeout_s)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._config.webhook_concurrency):
                    group.create_task(self._deliver_some(http))
        finally:
            await http.close()

    async def _deliver_some(self, http: HttpClient) -> None:
        while True:
            event_id = await self._queue.get()
            event = self._sandbox.store.events.get(event_id)
            if event is None:
                continue
            if await self._post(http, event):
                self._sandbox.store.deliveries.remove(event_id)
                self._attempts.pop(event_id, None)
                self.delivered += 1
            else:
                self._retry(event)

    async def _post(self, http: HttpClient, event: Obj) -> bool:
        body = encode_event(self._sandbox, event).encode("ascii")
        # By the real clock, whatever was set here: receivers know no other, and refuse what was not signed now.
        stamp_s = int(time.time())
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "Stripe-Signature": sign(body, self._secret(event), stamp_s),
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
        }
        with contextlib.suppress(HttpClientError, TimeoutError):
            answer = await http.request("POST", self._config.webhook_url, headers, body)
            return 200 <= answer.status < 300
        return False

    def _secret(self, event: Obj) -> str:
        """Return the secret of the endpoint that an event is for: Connect events have one of their own."""
        connect_secret = self._config.connect_webhook_secret if "account" in event else ""
        return connect_secret or self._config.webhook_secret

    def _retry(self, event: Obj) -> None:
        event_id = event["id"]
        self.failed_attempts += 1
        self._attempts[event_id] += 1
        now = self._sandbox.now()
        if now - event["created"] > GIVE_UP_S:
            _log.warning("webhook given up: %s %s", event["type"], event_id)
            self._sandbox.store.deliveries.remove(event_id)
            del self._attempts[event_id]
            return
        doublings = min(self._attempts[event_id] - 1, 20)
        pause_s = min(self._config.webhook_retry_base_s * 2**doublings, LONGEST_PAUSE_S)
        heapq.heappush(self._later, (now + pause_s, event_id))


def sign(body: bytes, secret: str, timestamp_s: int) -> str:
    """Return the `Stripe-Signature` header (https://docs.stripe.com/webhooks#verify-manually)."""
    digest = hmac.digest(secret.encode(), b"%d.%b" % (timestamp_s, body), "sha256")
    return f"t={timestamp_s},v1={digest.hex()}"
