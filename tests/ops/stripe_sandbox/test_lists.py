import asyncio
from functools import partial

import pytest
import stripe

DAY_S = 24 * 3600


async def test_pages_run_from_the_newest_to_the_oldest(sandbox, client, pay):
    ids = [(await pay()).id for _ in range(7)][::-1]
    intents = client.v1.payment_intents

    first = await intents.list_async(params={"limit": 3})
    second = await intents.list_async(params={"limit": 3, "starting_after": first.data[-1].id})
    last = await intents.list_async(params={"limit": 3, "starting_after": second.data[-1].id})
    back = await intents.list_async(params={"limit": 3, "ending_before": last.data[0].id})

    pages = [[intent.id for intent in page.data] for page in (first, second, last, back)]
    assert pages == [ids[:3], ids[3:6], ids[6:], ids[3:6]]
    assert [page.has_more for page in (first, second, last, back)] == [True, True, False, True]


async def test_sdk_pages_through_everything(sandbox, client, pay):
    made = await asyncio.gather(*(pay() for _ in range(25)))

    page = await client.v1.payment_intents.list_async(params={"limit": 10})

    assert {intent.id async for intent in page.auto_paging_iter()} == {intent.id for intent in made}


async def test_default_limit_is_ten(sandbox, client, pay):
    await asyncio.gather(*(pay() for _ in range(12)))

    page = await client.v1.payment_intents.list_async()

    assert (len(page.data), page.has_more) == (10, True)


async def test_creation_time_bounds_are_kept(sandbox, client, pay):
    old = await pay()
    await sandbox.set_clock(DAY_S)
    new = await pay()
    listed = client.v1.payment_intents.list_async

    async def ids(**bounds):
        return [intent.id for intent in (await listed(params={"created": bounds})).data]

    assert await ids(gte=new.created) == [new.id]
    assert await ids(gt=new.created) == []
    assert await ids(lt=new.created) == [old.id]
    assert await ids(lte=new.created, gte=old.created) == [new.id, old.id]
    assert [intent.id for intent in (await listed(params={"created": old.created})).data] == [old.id]


async def test_bounds_hold_after_the_clock_was_set_back(sandbox, client, pay):
    await sandbox.set_clock(DAY_S)
    late = await pay()
    await sandbox.set_clock(0)
    early = await pay()

    page = await client.v1.payment_intents.list_async(params={"created": {"lt": late.created}})

    assert [intent.id for intent in page.data] == [early.id]


async def test_intents_are_filtered_by_customer(sandbox, client, pay):
    mine = await pay(customer="cus_1")
    await pay(customer="cus_2")

    page = await client.v1.payment_intents.list_async(params={"customer": "cus_1"})

    assert [intent.id for intent in page.data] == [mine.id]


async def test_listed_objects_can_be_expanded(sandbox, client, pay):
    await pay()

    page = await client.v1.payment_intents.list_async(params={"expand": ["data.latest_charge"]})

    assert page.data[0].latest_charge.object == "charge"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"limit": 0}, "parameter_invalid_integer"),
        ({"limit": 101}, "parameter_invalid_integer"),
        ({"limit": "many"}, "parameter_invalid_integer"),
        ({"starting_after": "pi_absent"}, "resource_missing"),
        ({"starting_after": "pi_1", "ending_before": "pi_2"}, None),
        ({"created": {"around": 5}}, "parameter_unknown"),
        ({"customer": ""}, "parameter_invalid_empty"),
        ({"colour": "red"}, "parameter_unknown"),
    ],
)
async def test_wrong_list_parameters_are_refused(sandbox, client, params, code):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.list_async(params=params)

    assert (caught.value.http_status, caught.value.code) == (400, code)


async def test_search_finds_intents_by_their_metadata(sandbox, client, pay):
    wanted = await pay(metadata={"payment_id": "p-1"})
    await pay(metadata={"payment_id": "p-2"})

    found = await client.v1.payment_intents.search_async(params={"query": "metadata['payment_id']:'p-1'"})

    assert (found.object, [intent.id for intent in found.data]) == ("search_result", [wanted.id])
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payment_intents.search_async(params={"query": "nonsense"})


async def test_charges_are_filtered_by_intent(sandbox, client, pay):
    with pytest.raises(stripe.CardError) as caught:
        await pay(payment_method="pm_card_chargeDeclined")
    intent_id = caught.value.error.payment_intent.id
    await client.v1.payment_intents.confirm_async(intent_id, params={"payment_method": "pm_card_visa"})
    await pay()

    page = await client.v1.charges.list_async(params={"payment_intent": intent_id})

    assert [charge.status for charge in page.data] == ["succeeded", "failed"]


async def test_balance_transactions_are_filtered_by_source_type_and_currency(sandbox, client, pay):
    intent = await pay()
    await pay(currency="eur")
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id})
    listed = client.v1.balance_transactions.list_async

    by_source = await listed(params={"source": intent.latest_charge})
    by_type = await listed(params={"type": "refund", "expand": ["data.source"]})
    by_currency = await listed(params={"currency": "eur"})
    by_payout = await listed(params={"payout": "po_absent"})

    assert [each.source for each in by_source.data] == [intent.latest_charge]
    assert [each.source.id for each in by_type.data] == [refund.id]
    assert [each.currency for each in by_currency.data] == ["eur"]
    assert by_payout.data == []


async def test_events_are_filtered_by_type(sandbox, client, pay):
    await pay()
    listed = client.v1.events.list_async

    async def types(**params):
        return [event.type for event in (await listed(params=params)).data]

    assert await types(type="charge.succeeded") == ["charge.succeeded"]
    assert await types(type="payment_intent.*") == ["payment_intent.succeeded", "payment_intent.created"]
    assert await types(types=["charge.succeeded", "payment_intent.created"]) == [
        "charge.succeeded",
        "payment_intent.created",
    ]
    assert len(await types()) == 3


async def test_events_of_an_account_are_in_its_own_list(sandbox, client, pay):
    await pay()
    account = await client.v1.accounts.create_async(params={"type": "express"})
    await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json={"payouts_enabled": True})
    options = {"stripe_account": account.id}

    own = (await client.v1.events.list_async(options=options)).data[0]
    of_platform = (await client.v1.events.list_async()).data

    assert (own.type, own.data.object.id) == ("account.updated", account.id)
    assert own.id not in {event.id for event in of_platform}
    assert len(of_platform) == 3
    assert (await client.v1.events.retrieve_async(own.id, options=options)).id == own.id
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.events.retrieve_async(own.id)


async def test_funds_become_available_with_time(sandbox, client, pay):
    intent = await pay(amount=1000, expand=["latest_charge.balance_transaction"])
    transaction = intent.latest_charge.balance_transaction
    balance = await client.v1.balance.retrieve_async()
    assert transaction.status == "pending"
    assert [(each.amount, each.currency) for each in balance.pending] == [(941, "usd")]
    assert [each.amount for each in balance.available] == [0]

    await sandbox.set_clock(2 * DAY_S + 60)

    balance = await client.v1.balance.retrieve_async()
    assert [each.amount for each in balance.available] == [941]
    assert (await client.v1.balance_transactions.retrieve_async(transaction.id)).status == "available"


@pytest.fixture
async def moved(sandbox, client, pay, seller, send):
    """Make three of everything that is listed; return the account and the transfer whose lists have three."""
    account = await seller()
    for _ in range(2):
        await seller()
    for _ in range(3):
        await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    for _ in range(2):
        await send(account)
    for charge in (await client.v1.charges.list_async()).data:
        await client.v1.refunds.create_async(params={"charge": charge.id, "amount": 100})
        await sandbox.call("POST", "/_sandbox/disputes", json={"charge": charge.id})
    for _ in range(3):
        await client.v1.transfers.reversals.create_async(transfer.id, params={"amount": 1})
        params = {"amount": 100, "currency": "usd"}
        await client.v1.payouts.create_async(params=params, options={"stripe_account": account.id})
    return account, transfer


LISTS = [
    "accounts", "balance_transactions", "charges", "disputes", "events", "payment_intents", "refunds", "transfers",
]  # fmt: skip


async def test_every_list_is_paged_and_bounded_in_time(sandbox, client, moved):
    account, transfer = moved
    lists = {name: getattr(client.v1, name).list_async for name in LISTS}
    lists["reversals"] = partial(client.v1.transfers.reversals.list_async, transfer.id)
    lists["payouts"] = partial(client.v1.payouts.list_async, options={"stripe_account": account.id})

    for name, listed in lists.items():
        first = await listed(params={"limit": 2})
        rest = await listed(params={"limit": 100, "starting_after": first.data[-1].id})
        back = await listed(params={"limit": 100, "ending_before": rest.data[0].id})
        assert (len(first.data), first.has_more, rest.has_more) == (2, True, False), name
        assert rest.data, name
        assert [each.id for each in back.data] == [each.id for each in first.data], name
        if name != "reversals":
            later = await listed(params={"created": {"gt": first.data[0].created}})
            assert later.data == [], name
