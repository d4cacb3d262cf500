"""Finance reconciles a running market: the lost is mended, the foreign is decided on, and then all is quiet."""

from datetime import UTC, datetime, timedelta

from tests.e2e.market import Caller, Json, Market, Sandbox
from tests.eventually import eventually


async def reconcile(finance: Caller, to_at: datetime) -> Json:
    """Reconcile the last day, and return the report when it has ended."""
    period = {"from": (to_at - timedelta(days=1)).isoformat(), "to": to_at.isoformat()}
    accepted = await finance.post("/v1/reconciliations", period)
    assert accepted.status_code == 202, accepted.text

    async def ended() -> Json:
        report = (await finance.get(accepted.headers["Location"])).json()
        assert report["status"] == "succeeded", report["status"]
        return dict(report)

    return await eventually(ended)


async def exceptions(finance: Caller, report: Json) -> dict[str, Json]:
    """Return what a reconciliation found, by what caused the movement at Stripe."""
    answer = (await finance.get(f"/v1/reconciliations/{report['id']}/exceptions?limit=100")).json()
    assert answer["next_cursor"] is None
    return {each["stripe"]["source"]: each for each in answer["data"] if each["stripe"] is not None}


async def after_this_second() -> datetime:
    """Return a moment after all that has happened at Stripe, whose times are in whole seconds."""
    now = datetime.now(UTC)

    async def later() -> datetime:
        assert datetime.now(UTC) > now.replace(microsecond=0) + timedelta(seconds=1)
        return datetime.now(UTC).replace(microsecond=0)

    return await eventually(later)


def told(found: dict[str, Json]) -> dict[str, tuple[str, str]]:
    return {source: (each["kind"], each["status"]) for source, each in found.items()}


async def test_breaks_are_found_mended_or_decided_on_and_a_second_run_changes_nothing(
    market: Market, sandbox: Sandbox, buyer: Caller, order: Json
) -> None:
    finance = await market.log_in("finance")
    payment = await market.pay(buyer, order, payment_method="pm_card_bypassPending")
    await market.become(buyer, payment, "succeeded")
    await market.booked(payment, "charge", "stripe_fee")
    await sandbox.order_fault("webhook_drop", "*")
    await sandbox.refund_behind_our_back(payment, 300)
    payout = await sandbox.pay_platform_out()
    foreign = await sandbox.charge_of_nobody(4200)
    (refund,) = await sandbox.refunds(payment)
    to_at = await after_this_second()

    first = await reconcile(finance, to_at)

    found = await exceptions(finance, first)
    sources = refund["id"], payout["id"], foreign["latest_charge"]
    assert {source: told(found)[source] for source in sources} == {
        refund["id"]: ("missing_in_ledger", "healed"),
        payout["id"]: ("missing_in_ledger", "healed"),
        foreign["latest_charge"]: ("unknown_source", "open"),
    }
    assert first["statement"]["ties"]
    await market.booked(payment, "charge", "stripe_fee", "refund")
    page = await finance.get(f"/v1/reconciliations/{first['id']}", Accept="text/html")
    assert "<svg" in page.text
    table = await finance.get(f"/v1/reconciliations/{first['id']}", Accept="text/csv")
    assert foreign["latest_charge"] in table.text

    stranger = found[foreign["latest_charge"]]
    net_minor = stranger["stripe"]["amount_minor"] - stranger["stripe"]["fee_minor"]
    entries = [
        {"account": "stripe_balance", "debit_minor": net_minor},
        {"account": "unapplied_charges", "credit_minor": net_minor},
    ]
    resolution = {"reason": "another shop of ours", "correction": {"currency": "USD", "entries": entries}}
    path = f"/v1/reconciliations/{first['id']}/exceptions/{stranger['id']}/resolution"
    resolved = await finance.post(path, resolution)
    assert (resolved.status_code, resolved.json()["status"]) == (200, "resolved")
    booked = await market.booked_minor()

    second = await reconcile(finance, to_at)

    again = await exceptions(finance, second)
    assert told(again)[foreign["latest_charge"]] == ("unknown_source", "resolved")
    assert not {refund["id"], payout["id"]} & again.keys()
    assert not {"healed", "closed"} & {status for _, status in told(again).values()}
    assert second["statement"]["ties"]
    assert second["statement"]["totals"] == first["statement"]["totals"]
    assert await market.booked_minor() == booked
