"""A seller whom Stripe pays out: most of the load's money goes to it, and on from there."""

from dataclasses import dataclass
from typing import Any

import httpx

from api.client import Client
from tests.eventually import eventually
from tests.faults.sessions import PATIENT, log_in_new

_OPEN_S = 120.0


@dataclass(frozen=True, slots=True)
class Payee:
    """The seller, and who it is."""

    client: Client
    user_id: str


async def open_payee(http: httpx.AsyncClient) -> Payee:
    """Register the seller, and let it answer Stripe's questions."""
    client = Client("", http=http, retry=PATIENT)
    user_id = await log_in_new(client, "seller")
    await client.sellers.onboard()

    async def told(name: str) -> Any:
        found = (await client.request("GET", "/v1/sellers/me"))[name]
        assert found, name
        return found

    link = await eventually(lambda: told("link"), _OPEN_S)
    async with httpx.AsyncClient(trust_env=False) as browser:
        await browser.get(link)
    await eventually(lambda: told("payouts_enabled"), _OPEN_S)
    return Payee(client, user_id)
