import pytest
import stripe

DAY_S = 24 * 3600


@pytest.fixture
async def account(sandbox, pay, seller, send):
    """Return an account that has 10.00 USD available."""
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    await send(account)
    return account


async def _available(client, account):
    balance = await client.v1.balance.retrieve_async(options={"stripe_account": account.id})
    return balance.available[0].amount


async def _pay_out(sandbox, account):
    status, body = await sandbox.call("POST", f"/_sandbox/accounts/{account.id}/payouts")
    assert status == 200
    return body["data"]


async def _move(sandbox, payout_id, status):
    return await sandbox.call("POST", f"/_sandbox/payouts/{payout_id}", json={"status": status})


async def test_accounts_are_paid_out_every_day(sandbox, client, account, receiver, wait_until):
    await sandbox.set_clock(DAY_S)

    (payout,) = (await client.v1.payouts.list_async(options={"stripe_account": account.id})).data

    assert payout.id.startswith("po_")
    assert (payout.amount, payout.currency, payout.automatic, payout.status) == (1000, "usd", True, "pending")
    assert payout.destination.startswith("ba_")
    assert await _available(client, account) == 0
    (event,) = await wait_until(lambda: receiver.events("payout.created"))
    assert (event["account"], event["data"]["object"]["id"]) == (account.id, payout.id)


async def test_payout_arrives_with_time(sandbox, client, account, receiver, wait_until):
    (payout,) = await _pay_out(sandbox, account)

    await sandbox.set_clock(DAY_S + 60)

    (event,) = await wait_until(lambda: receiver.events("payout.paid"))
    assert (event["account"], event["data"]["object"]["id"]) == (account.id, payout["id"])
    options = {"stripe_account": account.id}
    assert (await client.v1.payouts.retrieve_async(payout["id"], options=options)).status == "paid"


async def test_automatic_payout_names_all_that_is_in_it(sandbox, client, account, send):
    await send(account, amount=500)
    (payout,) = await _pay_out(sandbox, account)
    await send(account, amount=70)

    listed = await client.v1.balance_transactions.list_async(
        params={"payout": payout["id"]}, options={"stripe_account": account.id}
    )

    assert [(each.type, each.net) for each in listed.data] == [
        ("payout", -1500),
        ("payment", 500),
        ("payment", 1000),
    ]


async def test_manual_schedule_pays_nothing_out(sandbox, client, account):
    settings = {"payouts": {"schedule": {"interval": "manual"}}}
    await client.v1.accounts.update_async(account.id, params={"settings": settings})

    await sandbox.set_clock(3 * DAY_S)

    assert await _available(client, account) == 1000


async def test_account_without_payouts_keeps_its_money(sandbox, client, account):
    await sandbox.call("POST", f"/_sandbox/accounts/{account.id}", json={"payouts_enabled": False})

    assert await _pay_out(sandbox, account) == []
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payouts.create_async(
            params={"amount": 500, "currency": "usd"}, options={"stripe_account": account.id}
        )

    assert caught.value.code == "payouts_not_allowed"
    assert await _available(client, account) == 1000


@pytest.mark.parametrize("after", ["pending", "in_transit", "paid"])
async def test_failed_payout_brings_the_money_back(sandbox, client, account, receiver, wait_until, after):
    (payout,) = await _pay_out(sandbox, account)
    if after != "pending":
        await _move(sandbox, payout["id"], after)

    status, failed = await _move(sandbox, payout["id"], "failed")

    assert (status, failed["status"], failed["failure_code"]) == (200, "failed", "account_closed")
    (event,) = await wait_until(lambda: receiver.events("payout.failed"))
    assert event["account"] == account.id
    assert await _available(client, account) == 1000
    transaction = await client.v1.balance_transactions.retrieve_async(
        failed["failure_balance_transaction"], options={"stripe_account": account.id}
    )
    assert (transaction.type, transaction.reporting_category) == ("payout_failure", "payout_reversal")
    assert (transaction.net, transaction.source) == (1000, payout["id"])


@pytest.mark.parametrize("status", ["paid", "canceled", "in_transit"])
async def test_failed_payout_is_over(sandbox, account, status):
    (payout,) = await _pay_out(sandbox, account)
    await _move(sandbox, payout["id"], "failed")

    code, _ = await _move(sandbox, payout["id"], status)

    assert code == 409


async def test_money_of_a_failed_payout_goes_out_again(sandbox, client, account):
    (first,) = await _pay_out(sandbox, account)
    await _move(sandbox, first["id"], "failed")

    (second,) = await _pay_out(sandbox, account)

    assert second["amount"] == 1000
    listed = await client.v1.balance_transactions.list_async(
        params={"payout": second["id"]}, options={"stripe_account": account.id}
    )
    assert [(each.type, each.net) for each in listed.data] == [("payout", -1000), ("payout_failure", 1000)]


async def test_payout_can_be_made_and_cancelled_by_a_call(sandbox, client, account, receiver, wait_until):
    options = {"stripe_account": account.id}
    payout = await client.v1.payouts.create_async(
        params={"amount": 400, "currency": "usd", "metadata": {"a": "1"}}, options=options
    )
    assert (payout.automatic, payout.status, payout.metadata["a"]) == (False, "pending", "1")
    assert await _available(client, account) == 600

    canceled = await client.v1.payouts.cancel_async(payout.id, options=options)

    assert canceled.status == "canceled"
    assert await _available(client, account) == 1000
    await wait_until(lambda: receiver.events("payout.canceled"))


async def test_paid_payout_can_be_reversed(sandbox, client, account):
    options = {"stripe_account": account.id}
    (payout,) = await _pay_out(sandbox, account)
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.payouts.reverse_async(payout["id"], options=options)
    await _move(sandbox, payout["id"], "paid")

    back = await client.v1.payouts.reverse_async(payout["id"], options=options)

    assert (back.amount, back.original_payout) == (-1000, payout["id"])
    assert (await client.v1.payouts.retrieve_async(payout["id"], options=options)).reversed_by == back.id
    assert await _available(client, account) == 1000


async def test_payout_above_the_available_balance_is_refused(sandbox, client, account):
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payouts.create_async(
            params={"amount": 1001, "currency": "usd"}, options={"stripe_account": account.id}
        )

    assert caught.value.code == "balance_insufficient"


async def test_each_account_has_idempotency_keys_of_its_own(sandbox, client, account, send, seller):
    other = await seller()
    await send(other)
    params = {"amount": 400, "currency": "usd"}

    payouts = [
        await client.v1.payouts.create_async(
            params=params, options={"stripe_account": each.id, "idempotency_key": "key"}
        )
        for each in (account, other, account)
    ]

    assert payouts[0].id == payouts[2].id != payouts[1].id


async def test_platform_has_payouts_of_its_own(sandbox, client, account):
    payout = await client.v1.payouts.create_async(params={"amount": 500, "currency": "usd"})

    assert [each.id for each in (await client.v1.payouts.list_async()).data] == [payout.id]
    assert (await client.v1.payouts.list_async(options={"stripe_account": account.id})).data == []
    assert {each["id"] for each in (await sandbox.state())["payouts"]} == {payout.id}


async def test_payouts_are_listed_by_status_and_arrival(sandbox, client, account, send):
    options = {"stripe_account": account.id}
    (first,) = await _pay_out(sandbox, account)
    await _move(sandbox, first["id"], "paid")
    await send(account)
    await sandbox.set_clock(60)
    (second,) = await _pay_out(sandbox, account)
    listed = client.v1.payouts.list_async

    async def ids(**params):
        return [each.id for each in (await listed(params=params, options=options)).data]

    assert await ids(status="paid") == [first["id"]]
    assert await ids(arrival_date={"gt": first["arrival_date"]}) == [second["id"]]
    assert await ids(arrival_date={"lte": first["arrival_date"]}) == [first["id"]]
    assert await ids() == [second["id"], first["id"]]


@pytest.mark.parametrize("body", [{}, {"status": "lost"}, {"status": ["paid"]}, {"status": "paid", "why": 1}])
async def test_senseless_payout_statuses_are_refused(sandbox, account, body):
    (payout,) = await _pay_out(sandbox, account)

    assert (await sandbox.call("POST", f"/_sandbox/payouts/{payout['id']}", json=body))[0] == 422
    assert (await _move(sandbox, "po_absent", "paid"))[0] == 404


async def test_platform_is_paid_out_when_it_is_told_to(sandbox, client, pay, receiver, wait_until):
    await pay(amount=10_000, payment_method="pm_card_bypassPending")

    status, body = await sandbox.call("POST", "/_sandbox/payouts")

    (payout,) = body["data"]
    assert (status, payout["amount"], payout["automatic"]) == (200, 10_000 - 320, True)
    balance = await client.v1.balance.retrieve_async()
    assert balance.available[0].amount == 0
    (event,) = await wait_until(lambda: receiver.events("payout.created"))
    assert (event.get("account"), event["data"]["object"]["id"]) == (None, payout["id"])
    listed = await client.v1.balance_transactions.list_async(params={"payout": payout["id"]})
    assert [(each.type, each.net) for each in listed.data] == [("payout", -9680), ("charge", 9680)]


async def test_what_is_in_a_payout_made_by_a_call_is_not_listed(client, pay):
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    payout = await client.v1.payouts.create_async(params={"amount": 500, "currency": "usd"})

    with pytest.raises(stripe.InvalidRequestError, match="automatic"):
        await client.v1.balance_transactions.list_async(params={"payout": payout.id})
