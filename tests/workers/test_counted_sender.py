"""Operators see how many webhooks to clients do not arrive."""

from collections.abc import Mapping

import pytest
from prometheus_client import REGISTRY

from domain.notifications.model import Answer, Answered, Unanswered
from workers.counted_sender import CountedSender


class AnsweringSender:
    """A sender whose every request ends in the same way."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return self._answer


def counted(outcome: str) -> tuple[float, float]:
    """How many, and how many seconds in all."""
    labels = {"outcome": outcome}
    figures = [
        REGISTRY.get_sample_value(f"marketflow_delivery_seconds_{kind}", labels) for kind in ("count", "sum")
    ]
    return (figures[0] or 0, figures[1] or 0)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (Answered(204, 250), "delivered"),
        (Answered(301, 250), "refused"),
        (Answered(503, 250), "refused"),
        (Unanswered("timeout", 250), "unanswered"),
    ],
)
async def test_each_end_of_a_request_is_counted_with_its_duration(answer: Answer, outcome: str) -> None:
    count, total_s = counted(outcome)

    assert await CountedSender(AnsweringSender(answer)).send("https://shop.example", {}, b"{}") is answer

    assert counted(outcome) == (count + 1, pytest.approx(total_s + 0.25))
