"""After a change of keys no secret needs the old one any more, and every one signs as before."""

from datetime import timedelta

import pytest

from domain.notifications.model import DisabledReason, EndpointStatus, FormerSecret, WebhookEndpoint
from domain.notifications.resealing import reseal
from tests.builders import NOW, an_endpoint
from tests.domain.fake_outside import PlainBox
from tests.domain.fakes import Memory


@pytest.fixture
def box() -> PlainBox:
    return PlainBox()


async def stored(memory: Memory, *endpoints: WebhookEndpoint) -> None:
    async with memory.begin() as tx:
        for endpoint in endpoints:
            await tx.webhook_endpoints.add(endpoint, most=1_000)
        await tx.commit()


async def secrets(memory: Memory, endpoint: WebhookEndpoint) -> tuple[str | None, ...]:
    async with memory.begin() as tx:
        found = (await tx.webhook_endpoints.lock([endpoint.id]))[endpoint.id]
    return found.secret, found.previous_secret, *(former.sealed for former in found.older)


async def test_secrets_of_all_endpoints_are_sealed_anew(memory: Memory, box: PlainBox) -> None:
    disabled = {"status": EndpointStatus.DISABLED, "disabled_reason": DisabledReason.GONE}
    many = [an_endpoint(secret=f"sealed once {number}") for number in range(250)]
    rotating = an_endpoint(
        secret="sealed once a",
        previous_secret="sealed once b",
        previous_expires_at=NOW + timedelta(hours=1),
        older=(FormerSecret("sealed once e", NOW), FormerSecret("sealed f", NOW)),
    )
    others = [an_endpoint(secret="sealed once c", **disabled), an_endpoint(secret="sealed d")]
    await stored(memory, *many, rotating, *others)

    done = await reseal(memory.begin, box)

    assert (done.looked_at, done.resealed, done.unreadable) == (253, 252, ())
    assert [(await secrets(memory, each))[0] for each in many] == [f"sealed {number}" for number in range(250)]
    assert await secrets(memory, rotating) == ("sealed a", "sealed b", "sealed e", "sealed f")
    assert [(await secrets(memory, each))[0] for each in others] == ["sealed c", "sealed d"]
    assert (await reseal(memory.begin, box)).resealed == 0


async def test_deleted_endpoint_has_no_secret_to_seal(memory: Memory, box: PlainBox) -> None:
    await stored(memory, an_endpoint(secret="", status=EndpointStatus.DELETED))

    assert (await reseal(memory.begin, box)).looked_at == 0


async def test_secret_that_no_key_opens_is_named_and_left(memory: Memory, box: PlainBox) -> None:
    endpoint = an_endpoint(secret="sealed once a")
    await stored(memory, endpoint)
    box.is_lost = True

    done = await reseal(memory.begin, box)

    assert (done.resealed, done.unreadable) == (0, (endpoint.id,))
    assert await secrets(memory, endpoint) == ("sealed once a", None)
