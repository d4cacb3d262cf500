"""Users of the cases: whom they log in as, and how patient they are."""

import uuid

from api.client import Client, Retry

PATIENT = Retry(for_s=60.0, base_s=0.05, cap_s=0.2)


async def log_in_new(client: Client, role: str) -> str:
    """Register a new user, log in as it, and return its id."""
    email, password = f"{role}-{uuid.uuid4().hex}@example.com", uuid.uuid4().hex
    user = await client.users.register(email, password, role)
    await client.log_in(email, password)
    return user["id"]
