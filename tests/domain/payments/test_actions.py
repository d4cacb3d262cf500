"""Deciding on payments that are not captured: who may, when, and once."""

from dataclasses import replace

import pytest

from domain.errors import Conflict, DomainError, Forbidden, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import PaymentId, UserId, uuid7
from domain.payments.actions import PaymentActions
from domain.payments.model import DEAD, Capture, Payment, PaymentStatus
from domain.settlement.model import PaymentChange
from domain.work import Work
from tests.builders import Shop, principal
from tests.captured import captured, stored
from tests.domain.fakes import FakeClock, Memory, RecordingAnnouncer

FINANCE = Principal(UserId(uuid7()), Role.FINANCE)
ADMIN = Principal(UserId(uuid7()), Role.ADMIN)
STRANGER = Principal(UserId(uuid7()), Role.BUYER)


@pytest.fixture
def actions(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock) -> PaymentActions:
    return PaymentActions(memory.begin, announcer, clock, republish_after_s=30)


@pytest.fixture
async def payment(shop: Shop, memory: Memory) -> Payment:
    """An authorized payment of an order of 19.99 of the shop's seller."""
    return await standing(shop, await shop.payment(await shop.order(), capture=Capture.MANUAL))


async def standing(
    shop: Shop, payment: Payment, status: PaymentStatus = PaymentStatus.REQUIRES_CAPTURE
) -> Payment:
    """Bring a payment to a state."""
    failure_code = "x" if status is PaymentStatus.FAILED else None
    known = replace(payment, status=status, stripe_intent_id="pi_1", failure_code=failure_code)
    async with shop.begin() as tx:
        await tx.payment_work.save([PaymentChange(known, None)])
        await tx.commit()
    return known


def told(memory: Memory) -> list[tuple[str, object]]:
    return [(event.type, event.data.get("amount_minor")) for event in memory.state.events]


@pytest.mark.parametrize(("asked", "wanted"), [(None, 1999), (1000, 1000)])
async def test_capture_is_durable_told_and_announced(
    actions: PaymentActions,
    memory: Memory,
    announcer: RecordingAnnouncer,
    clock: FakeClock,
    shop: Shop,
    payment: Payment,
    asked: int | None,
    wanted: int,
) -> None:
    clock.advance(5)

    answer = await actions.capture(principal(shop.seller), payment.id, asked)

    assert answer == replace(payment, capture_minor=wanted) == await stored(shop, payment)
    assert not answer.is_settled
    assert announcer.announced[Work.CHARGES] == [payment.id]
    assert memory.state.due[Work.CHARGES][payment.id].due_at == clock.now()
    assert told(memory)[-1] == ("payment.capture_requested", wanted)


async def test_cancellation_is_durable_told_and_announced(
    actions: PaymentActions, memory: Memory, announcer: RecordingAnnouncer, shop: Shop, payment: Payment
) -> None:
    answer = await actions.cancel(principal(shop.buyer), payment.id)

    assert answer == replace(payment, cancel_requested=True) == await stored(shop, payment)
    assert announcer.announced[Work.CHARGES] == [payment.id]
    assert told(memory)[-1][0] == "payment.cancellation_requested"


async def test_repeated_wish_changes_nothing_also_when_it_is_done(
    actions: PaymentActions, memory: Memory, announcer: RecordingAnnouncer, shop: Shop, payment: Payment
) -> None:
    other = await standing(shop, await shop.payment(capture=Capture.MANUAL))
    await actions.capture(FINANCE, payment.id, 1000)
    await actions.cancel(FINANCE, other.id)
    events = len(memory.state.events)

    for _ in range(2):
        assert (await actions.capture(principal(shop.seller), payment.id, 1000)).capture_minor == 1000
        assert (await actions.cancel(principal(shop.buyer), other.id)).cancel_requested
        await standing(shop, await stored(shop, other), PaymentStatus.CANCELED)

    assert len(memory.state.events) == events
    assert announcer.announced[Work.CHARGES] == [payment.id, other.id]


@pytest.mark.parametrize("first", ["capture", "cancel"])
async def test_one_wish_excludes_the_other(
    actions: PaymentActions, shop: Shop, payment: Payment, first: str
) -> None:
    if first == "capture":
        await actions.capture(FINANCE, payment.id, 1000)
        others = [actions.cancel(FINANCE, payment.id), actions.capture(FINANCE, payment.id, 999)]
    else:
        await actions.cancel(FINANCE, payment.id)
        others = [actions.capture(FINANCE, payment.id, None)]

    for other in others:
        with pytest.raises(Conflict) as refusal:
            await other
        assert refusal.value.code == ("capture_requested" if first == "capture" else "cancellation_requested")


@pytest.mark.parametrize("status", sorted(set(PaymentStatus) - {PaymentStatus.REQUIRES_CAPTURE}))
async def test_only_an_authorized_payment_is_captured(
    actions: PaymentActions, shop: Shop, status: PaymentStatus
) -> None:
    payment = await shop.payment(capture=Capture.MANUAL)
    if status is not PaymentStatus.PENDING:
        await standing(shop, payment, status)

    with pytest.raises(Conflict) as refusal:
        await actions.capture(FINANCE, payment.id, None)

    assert (refusal.value.code, refusal.value.facts) == (
        "payment_not_capturable",
        {"payment_status": str(status)},
    )


@pytest.mark.parametrize("status", sorted(PaymentStatus))
async def test_payment_is_cancelled_before_it_is_captured(
    actions: PaymentActions, shop: Shop, status: PaymentStatus
) -> None:
    payment = await shop.payment()
    if status is not PaymentStatus.PENDING:
        await standing(shop, payment, status)

    if status in {PaymentStatus.SUCCEEDED, PaymentStatus.FAILED}:
        with pytest.raises(Conflict) as refusal:
            await actions.cancel(principal(shop.buyer), payment.id)
        assert refusal.value.code == "payment_not_cancelable"
    else:
        answer = await actions.cancel(principal(shop.buyer), payment.id)
        assert answer.cancel_requested == (status not in DEAD)


@pytest.mark.parametrize("amount_minor", [2000, 10**12])
async def test_capture_cannot_exceed_what_is_authorized(
    actions: PaymentActions, payment: Payment, amount_minor: int
) -> None:
    with pytest.raises(Invalid) as refusal:
        await actions.capture(FINANCE, payment.id, amount_minor)

    assert refusal.value.code == "capture_exceeds_authorized"


async def test_dinars_are_captured_in_steps_of_ten(actions: PaymentActions, shop: Shop) -> None:
    payment = await standing(shop, await shop.payment(capture=Capture.MANUAL, currency="KWD", amount_minor=5000))

    with pytest.raises(Invalid) as refusal:
        await actions.capture(FINANCE, payment.id, 1234)
    assert refusal.value.code == "amount_not_chargeable"
    await actions.capture(FINANCE, payment.id, 1230)


async def test_seller_decides_on_what_is_its_own_alone(actions: PaymentActions, shop: Shop) -> None:
    order = await shop.order(shop.product, shop.other_product)
    payment = await standing(shop, await shop.payment(order, capture=Capture.MANUAL))

    for wish in (
        actions.capture(principal(shop.seller), payment.id, None),
        actions.cancel(principal(shop.seller), payment.id),
    ):
        with pytest.raises(Forbidden):
            await wish
    assert (await actions.capture(FINANCE, payment.id, None)).capture_minor == 2500


async def test_direct_payment_is_decided_on_by_its_seller(actions: PaymentActions, shop: Shop) -> None:
    payment = await standing(shop, await shop.payment(capture=Capture.MANUAL))

    assert (await actions.capture(principal(shop.seller), payment.id, 5)).capture_minor == 5


@pytest.mark.parametrize(
    ("who", "error"),
    [("buyer", Forbidden), ("admin", Forbidden), ("stranger", NotFound), ("other seller", NotFound)],
)
async def test_others_do_not_capture(
    actions: PaymentActions, shop: Shop, payment: Payment, who: str, error: type[DomainError]
) -> None:
    callers = {
        "buyer": principal(shop.buyer),
        "admin": ADMIN,
        "stranger": STRANGER,
        "other seller": principal(shop.other_seller),
    }

    with pytest.raises(error):
        await actions.capture(callers[who], payment.id, None)
    if who != "buyer":
        with pytest.raises(error):
            await actions.cancel(callers[who], payment.id)


async def test_payment_of_nobody_is_not_found(actions: PaymentActions) -> None:
    with pytest.raises(NotFound):
        await actions.cancel(FINANCE, PaymentId(uuid7()))


async def test_captured_payment_is_settled_whatever_was_asked(shop: Shop) -> None:
    payment = await captured(shop)

    assert replace(payment, cancel_requested=True).is_settled
    assert replace(payment, capture_minor=1).is_settled
