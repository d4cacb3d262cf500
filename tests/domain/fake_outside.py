"""Stand-ins for what webhooks meet outside: the box of the secrets, and the clients' endpoints."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass

from domain.errors import Unavailable
from domain.notifications.model import Answer, Answered


class PlainBox:
    """A box that anybody can open, if it is asked at all."""

    def __init__(self) -> None:
        self.is_lost = False

    def seal(self, secret: str) -> str:
        return f"sealed {secret}"

    def open(self, sealed: str) -> str:
        if self.is_lost:
            raise Unavailable("the key of this secret is not among the settings", code="encryption_key_missing")
        return sealed.removeprefix("sealed ")

    def reseal(self, sealed: str) -> str:
        if self.is_lost:
            raise Unavailable("the key of this secret is not among the settings", code="encryption_key_missing")
        return self.seal(self.open(sealed).removeprefix("once "))


@dataclass(frozen=True)
class SentWebhook:
    """A request that was made."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedEndpoints:
    """The outside: each URL gives the answers it was told to, then 200, or does not answer until it is let."""

    def __init__(self) -> None:
        self.sent: list[SentWebhook] = []
        self.black_holes: set[str] = set()
        self.most_at_once: Counter[str] = Counter()
        self._at_once: Counter[str] = Counter()
        self._open = asyncio.Event()
        self._script: defaultdict[str, deque[Answer]] = defaultdict(deque)

    def will(self, url: str, *answers: Answer) -> None:
        self._script[url].extend(answers)

    def let_answer(self) -> None:
        self._open.set()

    def to(self, url: str) -> list[SentWebhook]:
        return [sent for sent in self.sent if sent.url == url]

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.sent.append(SentWebhook(url, headers, body))
        self._at_once[url] += 1
        self.most_at_once[url] = max(self.most_at_once[url], self._at_once[url])
        try:
            if url in self.black_holes:
                await self._open.wait()
            else:
                await asyncio.sleep(0)
            return self._script[url].popleft() if self._script[url] else Answered(200, 5, "ok")
        finally:
            self._at_once[url] -= 1
