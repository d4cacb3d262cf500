"""How many webhooks to clients arrive, and how long they take."""

from collections.abc import Mapping

from domain.notifications.decide import is_success
from domain.notifications.model import Answer, Answered
from domain.notifications.ports import WebhookSender
from workers.metrics import DELIVERY_SECONDS


class CountedSender:
    """`domain.notifications.ports.WebhookSender` that counts how the requests of another one end.

    By outcome alone: endpoints are clients' own, and as many as they like.
    """

    def __init__(self, sender: WebhookSender) -> None:
        """Keep who sends."""
        self._sender = sender

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Post a body, once, and return how it ended; as of the sender."""
        answer = await self._sender.send(url, headers, body)
        DELIVERY_SECONDS.labels(_outcome(answer)).observe(answer.latency_ms / 1000)
        return answer


def _outcome(answer: Answer) -> str:
    if is_success(answer):
        return "delivered"
    return "refused" if isinstance(answer, Answered) else "unanswered"
