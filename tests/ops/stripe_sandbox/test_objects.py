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
async def objects(sandbox, client, pay, seller, send):
    """Return one object of each kind, by the kind's name."""
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    payout = await client.v1.payouts.create_async(
        params={"amount": 500, "currency": "usd"}, options={"stripe_account": account.id}
    )
    reversal = await client.v1.transfers.reversals.create_async(transfer.id, params={"amount": 100})
    transfer = await client.v1.transfers.retrieve_async(transfer.id)
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
        "account": account.to_dict(),
        "transfer": transfer.to_dict(),
        "transfer_reversal": reversal.to_dict(),
        "payout": payout.to_dict(),
        "balance": (await client.v1.balance.retrieve_async()).to_dict(),
    }


KINDS = [
    "account",
    "balance",
    "balance_transaction",
    "charge",
    "dispute",
    "event",
    "payment_intent",
    "payout",
    "refund",
    "transfer",
    "transfer_reversal",
]


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
        ("account", "acct_"),
        ("transfer", "tr_"),
        ("transfer_reversal", "trr_"),
        ("payout", "po_"),
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


async def test_ended_movements_have_the_types_of_the_fixtures(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    await send(account)
    _, paid_out = await sandbox.call("POST", f"/_sandbox/accounts/{account.id}/payouts")
    _, payout = await sandbox.call(
        "POST", f"/_sandbox/payouts/{paid_out['data'][0]['id']}", json={"status": "failed"}
    )
    intent = await pay()
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})
    _, failed = await sandbox.call("POST", f"/_sandbox/refunds/{refund.id}", json={"status": "failed"})

    assert payout.keys() == FIXTURES["payout"].keys()
    assert_like(payout, FIXTURES["payout"], "payout")
    assert_like(failed, FIXTURES["refund"], "refund")


async def test_each_movement_has_a_balance_transaction_like_the_fixture(sandbox, objects):
    state = await sandbox.state()
    connected = [row for each in state["connected"].values() for row in each["balance_transactions"]]

    for row in [*state["balance_transactions"], *connected]:
        assert row.keys() == FIXTURES["balance_transaction"].keys()
        assert_like(row, FIXTURES["balance_transaction"], row["type"])
        assert row["net"] == row["amount"] - row["fee"]
    types = {row["type"] for row in state["balance_transactions"]}
    assert types == {"charge", "refund", "adjustment", "transfer", "transfer_refund"}
    assert {row["type"] for row in connected} == {"payment", "payment_refund", "payout"}
