"""What the sandbox returns is held against Stripe's published fixtures."""

import json
from pathlib import Path

import pytest

import ops.stripe_sandbox

FIXTURES = json.loads(Path(ops.stripe_sandbox.__file__).with_name("fixtures.json").read_text())
# Fields that the pinned API version returns only on expansion.
NOT_RETURNED = {"charge": {"refunds"}}


def assert_like(got, fixture, where):
    """Hold the JSON types of an object against the fixture's, wherever both say something."""
    if got is None or fixture is None:
        return
    if isinstance(fixture, dict):
        assert isinstance(got, dict), where
        for name, value in got.items():
            if name in fixture:
                assert_like(value, fixture[name], f"{where}.{name}")
        return
    assert type(got) is type(fixture), f"{where}: {got!r} is not like {fixture!r}"


@pytest.fixture
async def objects(sandbox, client, pay):
    """Return one object of each kind, by the kind's name."""
    intent = await pay(payment_method="pm_card_visa", expand=["latest_charge.balance_transaction"])
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 100})
    _, dispute = await sandbox.call("POST", "/_sandbox/disputes", json={"charge": intent.latest_charge.id})
    event = (await client.v1.events.list_async(params={"type": "charge.succeeded"})).data[0]
    unexpanded = await client.v1.payment_intents.retrieve_async(intent.id)
    charge = await client.v1.charges.retrieve_async(intent.latest_charge.id)
    return {
        "payment_intent": unexpanded.to_dict(),
        "charge": charge.to_dict(),
        "balance_transaction": intent.latest_charge.balance_transaction.to_dict(),
        "refund": refund.to_dict(),
        "dispute": dispute,
        "event": event.to_dict(),
        "balance": (await client.v1.balance.retrieve_async()).to_dict(),
    }


KINDS = ["payment_intent", "charge", "balance_transaction", "refund", "dispute", "event", "balance"]


@pytest.mark.parametrize("kind", KINDS)
async def test_objects_have_the_fields_of_the_fixtures(objects, kind):
    expected = FIXTURES[kind].keys() - NOT_RETURNED.get(kind, set())

    assert objects[kind].keys() == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_fields_have_the_types_of_the_fixtures(objects, kind):
    assert_like(objects[kind], FIXTURES[kind], kind)


@pytest.mark.parametrize(
    ("kind", "prefix"),
    [
        ("payment_intent", "pi_"),
        ("charge", "ch_"),
        ("balance_transaction", "txn_"),
        ("refund", "re_"),
        ("dispute", "dp_"),
        ("event", "evt_"),
    ],
)
async def test_ids_have_stripes_prefixes(objects, kind, prefix):
    assert objects[kind]["id"].startswith(prefix)
    assert objects[kind]["object"] == kind


async def test_failed_intents_have_the_types_of_the_fixtures(sandbox, pay, client):
    intent = await pay(payment_method="pm_card_authenticationRequired", capture_method="manual")
    assert_like(intent.to_dict(), FIXTURES["payment_intent"], "payment_intent")

    await sandbox.call("POST", f"/_sandbox/payment_intents/{intent.id}/authentication", json={"succeed": False})

    failed = await client.v1.payment_intents.retrieve_async(intent.id)
    assert_like(failed.to_dict(), FIXTURES["payment_intent"], "payment_intent")
    assert_like(failed.last_payment_error.payment_method.to_dict(), FIXTURES["payment_method"], "payment_method")
