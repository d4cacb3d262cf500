"""Transferring and taking back against a scripted Stripe: nothing is sent twice, and nothing blindly."""

from typing import Any

import pytest

from domain.payouts.model import Payout, PayoutStatus, Reversal, ReversalStatus
from domain.settlement.answers import Absent, Refusal, Throttled, Unsure
from domain.settlement.decide.payouts import NOT_MADE
from domain.settlement.model import SettlementPolicy
from domain.settlement.payouts import PayoutSender, PayoutSettlement
from domain.settlement.reversals import ReversalSender, ReversalSettlement
from domain.work import Work
from tests.builders import Shop, a_requested_refund
from tests.domain.fakes import FakeClock, Memory, ScriptedGateway
from tests.paid_out import a_stripe_reversal, drafted, earned, paid_out, refund, reversals_of
from tests.stripe_answers import transferred

PENDING, PROCESSING, UNKNOWN = PayoutStatus.PENDING, PayoutStatus.PROCESSING, PayoutStatus.UNKNOWN
IN_TRANSIT, FAILED = PayoutStatus.IN_TRANSIT, PayoutStatus.FAILED


@pytest.fixture
def sender(memory: Memory, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy) -> PayoutSender:
    settlement = PayoutSettlement(memory.begin, clock, policy)
    return PayoutSender(memory.begin, gateway, settlement, clock, policy)


@pytest.fixture
def reversals(
    memory: Memory, gateway: ScriptedGateway, clock: FakeClock, policy: SettlementPolicy
) -> ReversalSender:
    settlement = ReversalSettlement(memory.begin, clock, policy)
    return ReversalSender(memory.begin, gateway, settlement, clock, policy)


@pytest.fixture
async def payout(shop: Shop) -> Payout:
    await earned(shop)
    payout = await drafted(shop)
    assert payout is not None
    return payout


@pytest.fixture
async def reversal(shop: Shop) -> Reversal:
    """What is to be taken back of a payout, for a refund."""
    payment = await earned(shop)
    paid = await paid_out(shop)
    await refund(shop, a_requested_refund(payment, shop))
    (reversal,) = await reversals_of(shop, paid)
    return reversal


async def until_done(sender: Any, row: Any, clock: FakeClock, rounds: int = 12) -> int:
    """Work at a row whenever it is due; return how often."""
    worked = 0
    for _ in range(rounds):
        worked += await sender.process([row.id])
        clock.advance(300)
    return worked


async def test_payout_is_transferred_under_its_key(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", transferred(payout))

    assert await until_done(sender, payout, clock) == 1

    assert memory.state.payouts[payout.id].status is IN_TRANSIT
    assert (gateway.questions, gateway.keys) == (["transfer"], [f"payout-{payout.id}"])
    assert memory.state.due[Work.PAYOUTS][payout.id].due_at is None


async def test_payout_waits_while_payouts_are_paused(
    sender: PayoutSender,
    gateway: ScriptedGateway,
    memory: Memory,
    payout: Payout,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> None:
    gateway.will("transfer", transferred(payout))
    settlement = PayoutSettlement(memory.begin, clock, policy)
    paused = PayoutSender(memory.begin, gateway, settlement, clock, policy, is_paused=True)

    assert await until_done(paused, payout, clock) == 0

    assert gateway.questions == []
    assert await until_done(sender, payout, clock) == 1


async def test_transfer_whose_answer_was_lost_is_looked_up_and_not_sent_again(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", Unsure("cut"))
    gateway.will("find_transfer", Throttled("busy", 1), transferred(payout))

    await until_done(sender, payout, clock)

    assert gateway.questions == ["transfer", "find_transfer", "find_transfer"]
    assert memory.state.payouts[payout.id].status is IN_TRANSIT


async def test_transfer_that_never_arrived_fails_after_a_grace(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", Unsure("cut"))
    gateway.will("find_transfer", Absent(), Absent())

    await sender.process([payout.id])
    clock.advance(10)
    await sender.process([payout.id])
    assert memory.state.payouts[payout.id].status is UNKNOWN
    clock.advance(300)
    await sender.process([payout.id])

    after = memory.state.payouts[payout.id]
    assert (after.status, after.failure_code) == (FAILED, NOT_MADE)
    assert memory.state.payout_entries == {}


async def test_transfer_that_was_not_processed_is_sent_again_later(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", Throttled("busy", 60), transferred(payout))

    await sender.process([payout.id])
    assert memory.state.payouts[payout.id].status is PROCESSING
    clock.advance(59)
    assert await sender.process([payout.id]) == 0
    clock.advance(1)
    await sender.process([payout.id])

    assert gateway.keys == [f"payout-{payout.id}"] * 2
    assert memory.state.payouts[payout.id].status is IN_TRANSIT


async def test_worker_that_died_is_followed_by_the_same_key_while_stripe_remembers_it(
    sender: PayoutSender,
    gateway: ScriptedGateway,
    memory: Memory,
    payout: Payout,
    policy: SettlementPolicy,
    clock: FakeClock,
) -> None:
    gateway.will("transfer", RuntimeError("killed"))
    await _die(sender, payout)
    clock.advance(policy.lease_s)
    gateway.will("transfer", Refusal("amount_too_large"))
    gateway.will("find_transfer", transferred(payout))

    await sender.process([payout.id])

    assert gateway.questions == ["transfer", "transfer", "find_transfer"]
    assert memory.state.payouts[payout.id].status is IN_TRANSIT


async def test_key_that_stripe_may_have_forgotten_is_not_used_again(
    sender: PayoutSender,
    gateway: ScriptedGateway,
    memory: Memory,
    payout: Payout,
    policy: SettlementPolicy,
    clock: FakeClock,
) -> None:
    gateway.will("transfer", RuntimeError("killed"))
    await _die(sender, payout)
    clock.advance(policy.stripe_key_lifetime_s)
    gateway.will("find_transfer", Absent(), Absent())

    await until_done(sender, payout, clock)

    assert gateway.questions == ["transfer", "find_transfer", "find_transfer"]
    assert memory.state.payouts[payout.id].failure_code == NOT_MADE


async def _die(sender: PayoutSender, payout: Payout) -> None:
    with pytest.raises(AttributeError):  # the answer is no answer: as if the process had ended there
        await sender.process([payout.id])


async def test_first_refusal_is_final(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", Refusal("balance_insufficient"))

    assert await until_done(sender, payout, clock) == 1

    assert memory.state.payouts[payout.id].failure_code == "balance_insufficient"


async def test_payout_that_does_not_exist_is_no_news(
    memory: Memory, clock: FakeClock, policy: SettlementPolicy, payout: Payout
) -> None:
    memory.state.payouts.clear()

    assert not await PayoutSettlement(memory.begin, clock, policy).settle(payout.id, transferred(payout))
    assert not await ReversalSettlement(memory.begin, clock, policy).settle(payout.id, Absent())  # type: ignore[arg-type]  # no such id either


async def test_reversal_is_sent_under_its_key(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", a_stripe_reversal(reversal))

    assert await until_done(reversals, reversal, clock) == 1

    assert memory.state.reversals[reversal.id].status is ReversalStatus.SUCCEEDED
    assert gateway.keys == [f"reversal-{reversal.id}"]
    assert memory.state.events[-1].type == "payout.reversal_succeeded"


async def test_reversal_whose_answer_was_lost_is_repeated_under_its_key(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", Unsure("cut"), Throttled("busy", None), a_stripe_reversal(reversal))

    await until_done(reversals, reversal, clock)

    assert gateway.keys == [f"reversal-{reversal.id}"] * 3
    assert memory.state.reversals[reversal.id].status is ReversalStatus.SUCCEEDED


async def test_reversal_with_a_burnt_key_is_looked_up_and_sent_under_a_new_one(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", Unsure("recorded", lookup_only=True), a_stripe_reversal(reversal))
    gateway.will("reversals_of", Unsure("cut"), [])

    await until_done(reversals, reversal, clock)

    assert gateway.keys == [f"reversal-{reversal.id}", f"reversal-{reversal.id}-1"]
    assert memory.state.reversals[reversal.id].status is ReversalStatus.SUCCEEDED


async def test_reversal_waits_a_grace_before_it_is_sent_anew(
    reversals: ReversalSender,
    gateway: ScriptedGateway,
    memory: Memory,
    reversal: Reversal,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> None:
    gateway.will("reverse", Unsure("recorded", lookup_only=True))
    gateway.will("reversals_of", [], [])
    await reversals.process([reversal.id])
    clock.advance(policy.lookup_grace_s / 2)
    await reversals.process([reversal.id])
    assert memory.state.reversals[reversal.id].key_number == 0
    clock.advance(policy.lookup_grace_s)

    await reversals.process([reversal.id])

    assert memory.state.reversals[reversal.id].key_number == 1


async def test_repeated_refusal_of_a_reversal_is_looked_up(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", Unsure("cut"), Refusal("already reversed"))
    by_hand = a_stripe_reversal(reversal, stripe_reversal_id="trr_by_hand", reversal_id=None)
    gateway.will("reversals_of", [by_hand, a_stripe_reversal(reversal)])

    await until_done(reversals, reversal, clock)

    after = memory.state.reversals[reversal.id]
    assert (after.status, after.stripe_reversal_id) == (ReversalStatus.SUCCEEDED, f"trr_{reversal.id}")


async def test_refusal_of_a_repeated_reversal_stands_when_none_arrived(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", Unsure("cut"), Refusal("insufficient_funds"))
    gateway.will("reversals_of", [])

    assert await until_done(reversals, reversal, clock) == 2

    after = memory.state.reversals[reversal.id]
    assert (after.status, after.failure_code) == (ReversalStatus.FAILED, "insufficient_funds")


async def test_refusal_of_a_first_attempt_is_not_looked_up(
    sender: PayoutSender,
    reversals: ReversalSender,
    gateway: ScriptedGateway,
    memory: Memory,
    payout: Payout,
    reversal: Reversal,
) -> None:
    gateway.will("transfer", Refusal("insufficient_funds"))
    gateway.will("reverse", Refusal("insufficient_funds"))

    await sender.process([payout.id])
    await reversals.process([reversal.id])

    assert memory.state.payouts[payout.id].status is FAILED
    assert memory.state.reversals[reversal.id].status is ReversalStatus.FAILED


async def test_refusal_of_a_repeated_transfer_stands_when_none_arrived(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", Throttled("busy", None), Refusal("insufficient_funds"))
    gateway.will("find_transfer", Absent())

    assert await until_done(sender, payout, clock) == 2

    after = memory.state.payouts[payout.id]
    assert (after.status, after.failure_code) == (FAILED, "insufficient_funds")


async def test_reversal_with_an_old_key_is_looked_up(
    reversals: ReversalSender,
    gateway: ScriptedGateway,
    memory: Memory,
    reversal: Reversal,
    clock: FakeClock,
    policy: SettlementPolicy,
) -> None:
    gateway.will("reverse", Unsure("cut"), a_stripe_reversal(reversal))
    gateway.will("reversals_of", [], [])
    await reversals.process([reversal.id])
    clock.advance(policy.stripe_key_lifetime_s)

    await until_done(reversals, reversal, clock)

    assert gateway.keys == [f"reversal-{reversal.id}", f"reversal-{reversal.id}-1"]


async def test_transfer_that_no_rule_can_book_is_quarantined(
    sender: PayoutSender, gateway: ScriptedGateway, memory: Memory, payout: Payout, clock: FakeClock
) -> None:
    gateway.will("transfer", transferred(payout, amount_minor=1))

    assert await until_done(sender, payout, clock) == 1

    assert memory.state.payouts[payout.id].status is PayoutStatus.PROCESSING
    assert memory.state.quarantined_payouts == {payout.id: "Stripe transferred something else"}
    told = memory.state.events[-1]
    assert (told.type, told.subject_id, told.audience) == ("payout.quarantined", payout.id, (payout.seller_id,))


async def test_reversal_that_no_rule_can_book_is_quarantined(
    reversals: ReversalSender, gateway: ScriptedGateway, memory: Memory, reversal: Reversal, clock: FakeClock
) -> None:
    gateway.will("reverse", a_stripe_reversal(reversal, amount_minor=1))

    assert await until_done(reversals, reversal, clock) == 1

    assert memory.state.reversals[reversal.id].status is ReversalStatus.PENDING
    assert memory.state.quarantined_payouts == {reversal.id: "Stripe took back another amount"}
    told, payout = memory.state.events[-1], memory.state.payouts[reversal.payout_id]
    assert (told.type, told.subject_id, told.audience) == (
        "payout.reversal_quarantined",
        payout.id,
        (payout.seller_id,),
    )
