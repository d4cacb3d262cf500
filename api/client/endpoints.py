"""Where webhooks go, and what became of them."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

from .models import Delivery, NewWebhookEndpoint, Redelivery, WebhookEndpoint
from .noun import Noun, given

_ENDPOINTS = "/v1/webhook-endpoints"


class WebhookEndpoints(Noun):
    """`/v1/webhook-endpoints`."""

    async def create(self, url: str, events: Sequence[str] = ("*",)) -> NewWebhookEndpoint:
        """Have events sent there: types, a kind (`payment.*`) or everything (`*`); `secret` is shown this once."""
        answer = await self._ask("POST", _ENDPOINTS, {"url": url, "events": list(events)})
        return cast("NewWebhookEndpoint", answer)

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """Return an endpoint."""
        return cast("WebhookEndpoint", await self._ask("GET", f"{_ENDPOINTS}/{endpoint_id}"))

    def list(self, **filters: Any) -> AsyncIterator[WebhookEndpoint]:
        """Yield the caller's endpoints, or to an admin all or those of one `user_id`; newest first."""
        return self._pages(_ENDPOINTS, filters)

    async def delete(self, endpoint_id: str) -> None:
        """Have nothing sent there any more."""
        await self._ask("DELETE", f"{_ENDPOINTS}/{endpoint_id}")

    async def rotate_secret(self, endpoint_id: str, *, overlap_s: int | None = None) -> NewWebhookEndpoint:
        """Return the endpoint with a new secret; the old one signs as well for so long, a day if not given."""
        answer = await self._ask("POST", f"{_ENDPOINTS}/{endpoint_id}/secret", given(overlap_s=overlap_s))
        return cast("NewWebhookEndpoint", answer)

    async def activate(self, endpoint_id: str) -> WebhookEndpoint:
        """Bring a disabled endpoint back, with what waits for it; `redeliver` sends what it missed."""
        answer = await self._ask("POST", f"{_ENDPOINTS}/{endpoint_id}/activation", repeatable=True)
        return cast("WebhookEndpoint", answer)

    def deliveries(self, endpoint_id: str, **filters: Any) -> AsyncIterator[Delivery]:
        """Yield what was sent there, or is to be, the newest event first; of one `status`, if it is given."""
        return self._pages(f"{_ENDPOINTS}/{endpoint_id}/deliveries", filters)

    async def redeliver(
        self,
        endpoint_id: str,
        since: str,
        until: str | None = None,
        *,
        only_failed: bool = True,
        cursor: str | None = None,
    ) -> Redelivery:
        """Have the events of a span of time sent again, and those that the endpoint missed.

        Ask for the rest with `next_cursor`, if that is there.
        """
        body = {"since": since, **given(until=until, cursor=cursor), "only_failed": only_failed}
        return cast("Redelivery", await self._ask("POST", f"{_ENDPOINTS}/{endpoint_id}/redeliveries", body))

    async def redeliver_events(self, endpoint_id: str, event_ids: Sequence[str]) -> Redelivery:
        """Have these events sent again, whatever became of them; at most 100."""
        body = {"event_ids": list(event_ids)}
        return cast("Redelivery", await self._ask("POST", f"{_ENDPOINTS}/{endpoint_id}/redeliveries", body))


class Deliveries(Noun):
    """`/v1/deliveries`."""

    async def retry(self, delivery_id: str) -> Delivery:
        """Have a delivery sent again now, whatever became of it."""
        return cast("Delivery", await self._ask("POST", f"/v1/deliveries/{delivery_id}/retry"))
