import pytest
import stripe

DAY_S = 24 * 3600


async def _balance(client, account=None):
    options = {"stripe_account": account.id} if account else {}
    balance = await client.v1.balance.retrieve_async(options=options)
    (available,), (pending,) = balance.available, balance.pending
    return available.amount, pending.amount


async def test_transfer_moves_available_money_to_the_account(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")

    transfer = await send(
        account, transfer_group="order-1", metadata={"payout_id": "p"}, expand=["balance_transaction"]
    )

    assert transfer.id.startswith("tr_")
    assert (transfer.destination, transfer.transfer_group, transfer.metadata["payout_id"]) == (
        account.id,
        "order-1",
        "p",
    )
    assert (transfer.amount, transfer.amount_reversed, transfer.reversed) == (1000, 0, False)
    transaction = transfer.balance_transaction
    assert (transaction.type, transaction.reporting_category) == ("transfer", "transfer")
    assert (transaction.amount, transaction.fee, transaction.net) == (-1000, 0, -1000)
    assert transaction.source == transfer.id
    assert await _balance(client) == (10_000 - 320 - 1000, 0)
    assert await _balance(client, account) == (1000, 0)


async def test_account_sees_the_transfer_as_a_payment(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    options = {"stripe_account": account.id}

    listed = await client.v1.balance_transactions.list_async(
        params={"expand": ["data.source.source_transfer"]}, options=options
    )

    (transaction,) = listed.data
    assert (transaction.type, transaction.reporting_category, transaction.net) == ("payment", "charge", 1000)
    assert transaction.source.id == transfer.destination_payment
    assert transaction.source.source_transfer.id == transfer.id
    payment = await client.v1.charges.retrieve_async(transfer.destination_payment, options=options)
    assert (payment.amount, payment.paid, payment.source_transfer) == (1000, True, transfer.id)


async def test_of_several_kinds_in_a_list_those_are_expanded_that_can_be(client, pay, send, seller):
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    await send(await seller())

    listed = await client.v1.balance_transactions.list_async(params={"expand": ["data.source.payment_intent"]})

    transfer, charge = (transaction.source for transaction in listed.data)
    assert (transfer.object, charge.payment_intent.object) == ("transfer", "payment_intent")
    with pytest.raises(stripe.InvalidRequestError, match="cannot be expanded"):
        await client.v1.balance_transactions.list_async(params={"expand": ["data.source.nonsense"]})


async def test_transfer_above_the_available_balance_is_refused_for_ever_under_its_key(
    sandbox, client, pay, seller, send
):
    account = await seller()
    await pay(amount=10_000)  # its funds are pending

    for _ in range(2):
        with pytest.raises(stripe.InvalidRequestError) as caught:
            await send(account, "payout-1")
        assert (caught.value.http_status, caught.value.code) == (400, "balance_insufficient")

    assert caught.value.headers["Idempotent-Replayed"] == "true"
    assert (await sandbox.state())["transfers"] == []
    await sandbox.set_clock(2 * DAY_S + 60)
    assert (await send(account, "payout-2")).amount == 1000


async def test_transfer_is_made_once_per_key(sandbox, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")

    first, again = [await send(account, "payout-1") for _ in range(2)]

    assert first.id == again.id
    assert len((await sandbox.state())["transfers"]) == 1


async def test_transfer_of_a_charge_is_available_with_it(sandbox, client, pay, seller, send):
    account = await seller(settings={"payouts": {"schedule": {"interval": "manual"}}})
    intent = await pay(amount=10_000, transfer_group="order-1")

    transfer = await send(account, source_transaction=intent.latest_charge, expand=["source_transaction"])

    assert (transfer.source_transaction.id, transfer.transfer_group) == (intent.latest_charge, "order-1")
    assert await _balance(client) == (0, 10_000 - 320 - 1000)
    assert await _balance(client, account) == (0, 1000)
    await sandbox.set_clock(2 * DAY_S + 60)
    assert await _balance(client, account) == (1000, 0)


async def test_transfers_of_a_charge_cannot_exceed_it(sandbox, pay, seller, send):
    account = await seller()
    intent = await pay(amount=1000)
    await send(account, amount=600, source_transaction=intent.latest_charge)

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await send(account, amount=401, source_transaction=intent.latest_charge)

    assert caught.value.param == "amount"


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"amount": 0}, "parameter_invalid_integer", "amount"),
        ({"currency": "xyz"}, None, "currency"),
        ({"currency": "kwd", "amount": 1001}, "parameter_invalid_integer", "amount"),
        ({"destination": "acct_absent"}, "resource_missing", "destination"),
        ({"source_transaction": "ch_absent"}, "resource_missing", "source_transaction"),
        ({"source_type": "gold"}, None, "source_type"),
        ({"colour": "red"}, "parameter_unknown", "colour"),
    ],
)
async def test_wrong_transfers_are_refused(sandbox, seller, send, changes, code, param):
    account = await seller()

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await send(account, **changes)

    assert (caught.value.http_status, caught.value.code, caught.value.param) == (400, code, param)


async def test_transfer_from_a_charge_of_another_currency_or_group_is_refused(sandbox, pay, seller, send):
    account = await seller()
    intent = await pay(amount=1000, currency="eur", transfer_group="order-1")

    for changes in ({}, {"currency": "eur", "transfer_group": "order-2"}):
        with pytest.raises(stripe.InvalidRequestError):
            await send(account, source_transaction=intent.latest_charge, **changes)


async def test_transfer_needs_the_capability(sandbox, client, send):
    account = await client.v1.accounts.create_async(params={"type": "express"})

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await send(account)

    assert caught.value.code == "insufficient_capabilities_for_transfer"


async def test_reversal_takes_a_part_back_and_then_the_rest(
    sandbox, client, pay, seller, send, receiver, wait_until
):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    reversals = client.v1.transfers.reversals

    first = await reversals.create_async(
        transfer.id, params={"amount": 300, "metadata": {"refund_id": "r"}, "expand": ["balance_transaction"]}
    )
    rest = await reversals.create_async(transfer.id)

    assert first.id.startswith("trr_")
    assert (first.amount, rest.amount, first.metadata["refund_id"]) == (300, 700, "r")
    transaction = first.balance_transaction
    assert (transaction.type, transaction.reporting_category) == ("transfer_refund", "transfer_reversal")
    assert (transaction.net, transaction.source) == (300, first.id)
    changed = await client.v1.transfers.retrieve_async(transfer.id)
    assert (changed.amount_reversed, changed.reversed) == (1000, True)
    assert [each.id for each in changed.reversals.data] == [rest.id, first.id]
    assert [each.id for each in (await reversals.list_async(transfer.id)).data] == [rest.id, first.id]
    assert (await reversals.retrieve_async(transfer.id, first.id)).amount == 300
    assert await _balance(client) == (10_000 - 320, 0)
    assert await _balance(client, account) == (0, 0)
    own = await client.v1.balance_transactions.list_async(
        params={"type": "payment_refund", "expand": ["data.source"]}, options={"stripe_account": account.id}
    )
    assert [each.net for each in own.data] == [-700, -300]
    assert own.data[0].source.transfer_reversal == rest.id
    await wait_until(lambda: len(receiver.events("transfer.reversed")) == 2)


async def test_reversal_above_what_is_left_is_refused(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    reversals = client.v1.transfers.reversals

    with pytest.raises(stripe.InvalidRequestError):
        await reversals.create_async(transfer.id, params={"amount": 1001})
    await reversals.create_async(transfer.id)
    with pytest.raises(stripe.InvalidRequestError):
        await reversals.create_async(transfer.id)

    assert (await client.v1.transfers.retrieve_async(transfer.id)).amount_reversed == 1000


async def test_reversal_puts_an_account_below_zero_only_where_the_platform_answers_for_it(
    sandbox, client, pay, seller, send
):
    covered, alone = await seller(), await seller(controller={"losses": {"payments": "stripe"}})
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfers = [await send(covered), await send(alone)]
    for account in (covered, alone):
        await sandbox.call("POST", f"/_sandbox/accounts/{account.id}/payouts")

    await client.v1.transfers.reversals.create_async(transfers[0].id)
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.transfers.reversals.create_async(transfers[1].id)

    assert caught.value.code == "balance_insufficient"
    assert await _balance(client, covered) == (-1000, 0)
    assert await _balance(client, alone) == (0, 0)


async def test_transfer_can_be_reversed_behind_our_back(sandbox, client, pay, seller, send, receiver, wait_until):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    path = f"/_sandbox/transfers/{transfer.id}/reversals"

    status, reversal = await sandbox.call("POST", path, json={"amount": 400})

    assert (status, reversal["amount"]) == (200, 400)
    await wait_until(lambda: receiver.events("transfer.reversed"))
    assert (await sandbox.call("POST", path, json={"amount": 601}))[0] == 409
    assert (await sandbox.call("POST", path, json={"amount": "all"}))[0] == 422
    assert (await sandbox.call("POST", "/_sandbox/transfers/tr_absent/reversals", json={}))[0] == 404


async def test_transfers_are_listed_by_destination_and_group(sandbox, client, pay, seller, send):
    one, other = await seller(), await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    mine = await send(one, transfer_group="order-1")
    theirs = await send(other, transfer_group="order-1")
    last = await send(one)
    listed = client.v1.transfers.list_async

    async def ids(**params):
        return [each.id for each in (await listed(params=params)).data]

    assert await ids(destination=one.id) == [last.id, mine.id]
    assert await ids(transfer_group="order-1") == [theirs.id, mine.id]
    assert await ids(limit=1, starting_after=last.id) == [theirs.id]


async def test_transfer_whose_answer_is_lost_is_found_in_the_list(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    await sandbox.fault("POST /v1/transfers", "drop_after", count=1)

    with pytest.raises(stripe.APIConnectionError):
        await send(account, "payout-1", metadata={"payout_id": "p-1"})

    listed = await client.v1.transfers.list_async(params={"destination": account.id})
    assert [each.metadata["payout_id"] for each in listed.data] == ["p-1"]
    assert (await send(account, "payout-1", metadata={"payout_id": "p-1"})).id == listed.data[0].id


async def test_metadata_of_transfers_and_reversals_can_be_changed(sandbox, client, pay, seller, send):
    account = await seller()
    await pay(amount=10_000, payment_method="pm_card_bypassPending")
    transfer = await send(account)
    reversal = await client.v1.transfers.reversals.create_async(transfer.id, params={"amount": 1})

    changed = await client.v1.transfers.update_async(
        transfer.id, params={"metadata": {"a": "1"}, "description": "shares"}
    )
    back = await client.v1.transfers.reversals.update_async(
        transfer.id, reversal.id, params={"metadata": {"b": "2"}}
    )

    assert (changed.metadata["a"], changed.description, back.metadata["b"]) == ("1", "shares", "2")
    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.transfers.reversals.retrieve_async(transfer.id, "trr_absent")
    assert caught.value.http_status == 404
