"""What lies between us and Stripe: calls and answers are lost or late, and webhooks come as they like."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from domain.settlement.answers import Throttled, Unsure
from domain.settlement.model import StripeEvent
from tests.builders import a_stripe_event
from tests.domain.simulation.turns import Turns

Said = TypeVar("Said")

PERHAPS = (0, 1, 1, 2)
"""How often an event comes that is lost now and then."""
SURELY = (1, 1, 2)
"""How often one comes of which nothing else would tell: Stripe sends it until it has arrived."""


@dataclass
class Network:
    """The one way to Stripe and back."""

    turns: Turns
    rng: Random
    fault_rate: float = 0.4
    webhooks: list[StripeEvent] = field(default_factory=list)
    """Those that are still to come."""
    _told: int = 0

    async def carry(self, question: str, answer: Callable[[], Said]) -> Said | Unsure | Throttled:
        """Carry a question there and its answer back; either may be lost, or take very long."""
        await self.turns.take(f"{question} arrives")
        if self.breaks():
            return self.rng.choice([Unsure("cut before"), Throttled("rate limit", 2)])
        said = answer()
        await self.turns.take(f"{question} is answered")
        return Unsure("cut after") if self.breaks() else said

    def breaks(self) -> bool:
        """Draw whether something goes wrong."""
        return self.rng.random() < self.fault_rate / 2

    def tell(self, kind: str, about: Mapping[str, object], times: Sequence[int]) -> None:
        """Send an event as often as is drawn: the same again, or another one that tells the same."""
        body = json.dumps({"data": {"object": about}})
        self._told += 1
        for _ in range(self.rng.choice(times)):
            self._told += self.rng.randrange(2)
            self.webhooks.append(a_stripe_event(kind, body, id=f"evt_{self._told}"))

    def take_webhook(self) -> StripeEvent:
        """Return one that comes now, in whatever order."""
        return self.webhooks.pop(self.rng.randrange(len(self.webhooks)))
