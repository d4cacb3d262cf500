"""The seller to whom most of the load's money goes, and on from there where Stripe pays it out."""

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


async def register_payee(http: httpx.AsyncClient) -> Payee:
    """Register the seller; nobody pays it out."""
    client = Client("", http=http, retry=PATIENT)
    return Payee(client, await log_in_new(client, "seller"))


async def open_payee(http: httpx.AsyncClient) -> Payee:
    """Register the seller, and let it answer Stripe's questions: then it is paid out."""
    payee = await register_payee(http)
    client = payee.client
    await client.sellers.onboard()

    async def told(name: str) -> Any:
        found = (await client.request("GET", "/v1/sellers/me"))[name]
        assert found, name
        return found

    link = await eventually(lambda: told("link"), _OPEN_S)
    async with httpx.AsyncClient(trust_env=False) as browser:
        await browser.get(link)
    await eventually(lambda: told("payouts_enabled"), _OPEN_S)
    return payee
