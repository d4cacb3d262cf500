import pytest
import stripe


async def _rate(sandbox, currency, settlement_currency, rate=1.0):
    body = {"from": currency, "to": settlement_currency, "rate": rate}
    status, _ = await sandbox.call("POST", "/_sandbox/exchange_rates", json=body)
    assert status == 200


async def _pay_in_euro(sandbox, pay):
    await _rate(sandbox, "eur", "usd", 1.234)
    return await pay(amount=1000, currency="eur", expand=["latest_charge.balance_transaction"])


async def test_charge_is_held_in_the_currency_that_it_is_settled_in(sandbox, client, pay):
    intent = await _pay_in_euro(sandbox, pay)

    transaction = intent.latest_charge.balance_transaction
    assert (intent.amount, intent.currency) == (1000, "eur")
    assert (transaction.amount, transaction.currency, transaction.exchange_rate) == (1234, "usd", 1.234)
    assert (transaction.fee, transaction.net) == (66, 1168)
    balance = await client.v1.balance.retrieve_async()
    assert [(each.amount, each.currency) for each in balance.pending] == [(1168, "usd")]


async def test_own_currency_has_no_exchange_rate(sandbox, pay):
    await _rate(sandbox, "eur", "usd", 1.234)

    intent = await pay(expand=["latest_charge.balance_transaction"])

    assert intent.latest_charge.balance_transaction.exchange_rate is None


async def test_refund_is_converted_at_the_rate_of_its_day(sandbox, client, pay):
    intent = await _pay_in_euro(sandbox, pay)
    await _rate(sandbox, "eur", "usd", 1.3)

    refund = await client.v1.refunds.create_async(
        params={"payment_intent": intent.id, "amount": 500, "expand": ["balance_transaction"]}
    )

    assert (refund.amount, refund.currency) == (500, "eur")
    transaction = refund.balance_transaction
    assert (transaction.amount, transaction.currency, transaction.exchange_rate) == (-650, "usd", 1.3)


async def test_refund_leaves_the_currency_that_the_charge_was_held_in(sandbox, client, pay):
    intent = await _pay_in_euro(sandbox, pay)
    await _rate(sandbox, "eur", None)

    refund = await client.v1.refunds.create_async(
        params={"payment_intent": intent.id, "expand": ["balance_transaction"]}
    )

    assert (refund.balance_transaction.amount, refund.balance_transaction.currency) == (-1234, "usd")


async def test_refund_of_a_charge_that_was_not_converted_stays_so(sandbox, client, pay):
    intent = await pay(amount=1000, currency="eur")
    await _rate(sandbox, "eur", "usd", 1.234)

    refund = await client.v1.refunds.create_async(
        params={"payment_intent": intent.id, "expand": ["balance_transaction"]}
    )

    assert (refund.balance_transaction.amount, refund.balance_transaction.currency) == (-1000, "eur")


async def test_disputed_money_is_withdrawn_in_the_settlement_currency(sandbox, pay):
    intent = await _pay_in_euro(sandbox, pay)

    _, dispute = await sandbox.call("POST", "/_sandbox/disputes", json={"charge": intent.latest_charge.id})

    assert (dispute["amount"], dispute["currency"]) == (1000, "eur")
    (transaction,) = dispute["balance_transactions"]
    assert (transaction["net"], transaction["currency"]) == (-1234 - 1500, "usd")


async def test_transfer_from_a_converted_charge_is_in_the_settlement_currency(sandbox, pay, seller, send):
    account = await seller()
    intent = await _pay_in_euro(sandbox, pay)

    transfer = await send(account, amount=1168, currency="usd", source_transaction=intent.latest_charge.id)

    assert transfer.currency == "usd"
    with pytest.raises(stripe.InvalidRequestError):
        await send(account, amount=1, currency="eur", source_transaction=intent.latest_charge.id)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"from": "eur", "to": "xyz"},
        {"from": "EUR", "to": "usd"},
        {"from": "eur", "to": "usd", "rate": 0},
        {"from": "eur", "to": "usd", "rate": True},
        {"from": "eur", "to": "usd", "colour": "red"},
    ],
)
async def test_senseless_exchange_rates_are_refused(sandbox, body):
    assert (await sandbox.call("POST", "/_sandbox/exchange_rates", json=body))[0] == 422


async def test_three_decimal_amounts_end_in_zero_wherever_money_moves(sandbox, client, pay):
    intent = await pay(amount=10_000, currency="kwd", capture_method="manual")

    with pytest.raises(stripe.InvalidRequestError) as caught:
        await client.v1.payment_intents.capture_async(intent.id, params={"amount_to_capture": 5005})
    await client.v1.payment_intents.capture_async(intent.id, params={"amount_to_capture": 5000})
    with pytest.raises(stripe.InvalidRequestError):
        await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 1001})

    assert caught.value.code == "parameter_invalid_integer"
    refund = await client.v1.refunds.create_async(params={"payment_intent": intent.id, "amount": 1000})
    assert refund.status == "succeeded"
