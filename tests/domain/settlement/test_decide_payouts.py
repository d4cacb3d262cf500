"""What Stripe's answers mean for payouts and reversals: each is booked once, and nothing that is not ours."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import Refused
from domain.ids import ReversalId, uuid7
from domain.ledger.model import STRIPE_BALANCE, Entry, JournalKind, seller_payable
from domain.payouts.model import UNDER_WAY, Payout, PayoutStatus, Reversal, ReversalStatus
from domain.settlement.answers import (
    Absent,
    BankPayout,
    Refusal,
    ReversalAnswer,
    Throttled,
    TransferAnswer,
    Unsure,
)
from domain.settlement.decide.payouts import NOT_MADE, PayoutSituation, decide_bank_payout, decide_payout
from domain.settlement.decide.reversals import ReversalSituation, decide_reversal
from domain.settlement.model import PayoutChange, ReversalChange, SettlementPolicy
from tests.builders import NOW, a_payout
from tests.paid_out import a_stripe_reversal
from tests.stripe_answers import transferred

POLICY = SettlementPolicy()
LATER = NOW + timedelta(seconds=1)
UNKNOWN, IN_TRANSIT, PAID = PayoutStatus.UNKNOWN, PayoutStatus.IN_TRANSIT, PayoutStatus.PAID
FAILED = PayoutStatus.FAILED
BOOKED = sorted(set(PayoutStatus) - UNDER_WAY)
WITHOUT_NEWS = [Refusal("insufficient_funds"), Unsure("timeout"), Absent(), Throttled("rate limit", 2)]


def decided(payout: Payout, answer: TransferAnswer) -> PayoutChange:
    return decide_payout(PayoutSituation(payout, LATER, POLICY), answer)


def a_reversal(payout: Payout, status: ReversalStatus = ReversalStatus.PENDING, **changes: Any) -> Reversal:
    reversal = Reversal(
        ReversalId(uuid7()), payout.id, 500, "USD", status, created_at=NOW, updated_at=NOW, attempts=1
    )
    return replace(reversal, **changes)


def taken(payout: Payout, reversal: Reversal, answer: ReversalAnswer) -> ReversalChange:
    return decide_reversal(ReversalSituation(reversal, payout, LATER, POLICY), answer)


@pytest.mark.parametrize("status", sorted(UNDER_WAY))
def test_transfer_is_booked_once(status: PayoutStatus) -> None:
    payout = a_payout(status=status, failure_code="an earlier one")

    change = decided(payout, transferred(payout))

    sent = change.payout
    assert sent == replace(
        payout, status=IN_TRANSIT, stripe_transfer_id=f"tr_{payout.id}", failure_code=None, updated_at=LATER
    )
    (journal,) = change.journals
    assert (journal.kind, journal.source) == (JournalKind.PAYOUT, f"tr_{payout.id}")
    assert journal.entries == (Entry(seller_payable(payout.seller_id), 1949), Entry(STRIPE_BALANCE, -1949))
    assert (change.closes, change.due_at) == (True, None)
    assert decided(sent, transferred(sent)) == PayoutChange(sent, None)


@pytest.mark.parametrize("status", BOOKED)
@pytest.mark.parametrize("answer", WITHOUT_NEWS, ids=lambda answer: type(answer).__name__)
def test_payout_that_is_booked_or_given_up_is_not_let_go_again(
    status: PayoutStatus, answer: TransferAnswer
) -> None:
    """Else its shares would be paid out a second time."""
    payout = a_payout(status=status, stripe_transfer_id=None if status is FAILED else "tr_1")

    assert decided(payout, answer) == PayoutChange(payout, None)


def test_transfer_closes_what_stripe_could_not_move_and_leaves_it_owed() -> None:
    payout = a_payout(carried_minor=9)
    owed = seller_payable(payout.seller_id)

    change = decided(payout, transferred(payout))

    (journal,) = change.journals
    assert journal.entries == (Entry(owed, 1958), Entry(STRIPE_BALANCE, -1949), Entry(owed, -9))


def test_transfer_of_a_payout_that_was_given_up_takes_no_shares_with_it() -> None:
    payout = a_payout(status=FAILED, failure_code=NOT_MADE, carried_minor=10)

    change = decided(payout, transferred(payout))

    assert (change.payout.status, change.payout.failure_code, change.closes) == (IN_TRANSIT, None, False)
    (journal,) = change.journals
    assert journal.entries == (Entry(seller_payable(payout.seller_id), 1949), Entry(STRIPE_BALANCE, -1949))


@pytest.mark.parametrize("known", ["tr_1", None])
@pytest.mark.parametrize("other", [{"amount_minor": 1950}, {"currency": "EUR"}, {"destination": "acct_other"}])
def test_transfer_of_something_else_is_refused(other: dict[str, Any], known: str | None) -> None:
    payout = a_payout(status=IN_TRANSIT if known else UNKNOWN, stripe_transfer_id=known)

    with pytest.raises(Refused):
        decided(payout, transferred(payout, **other))


def test_second_transfer_of_one_payout_is_refused() -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")

    with pytest.raises(Refused, match="second transfer"):
        decided(payout, transferred(payout, transfer_id="tr_2"))


def test_grace_begins_with_the_key_that_is_given_up_and_ends_with_the_payout() -> None:
    change = decided(a_payout(), Unsure("timeout"))
    unsure = change.payout
    assert [news.type for news in change.events] == ["payout.unknown"]
    assert (unsure.status, unsure.key_burnt_at, unsure.updated_at) == (UNKNOWN, LATER, LATER)
    grace = timedelta(seconds=POLICY.lookup_grace_s)

    def absent_after(waited: timedelta) -> PayoutChange:
        return decide_payout(PayoutSituation(unsure, LATER + waited, POLICY), Absent())

    waiting, over = absent_after(grace - timedelta(seconds=1)), absent_after(grace)

    assert (waiting.payout, waiting.lets_go) == (unsure, False)
    assert (over.payout.status, over.payout.failure_code, over.lets_go) == (FAILED, NOT_MADE, True)
    again = decide_payout(PayoutSituation(unsure, LATER + grace, POLICY), Unsure("timeout"))
    assert (again.payout.key_burnt_at, again.events) == (LATER, ())


def test_payout_that_stripe_refuses_lets_its_shares_go() -> None:
    payout = a_payout()

    change = decided(payout, Refusal("insufficient_funds"))

    assert change.payout == replace(payout, status=FAILED, failure_code="insufficient_funds", updated_at=LATER)
    assert (change.lets_go, change.due_at, change.journals) == (True, None, ())
    assert [(news.type, news.data["failure_code"]) for news in change.events] == [
        ("payout.failed", "insufficient_funds")
    ]


def test_throttling_comes_back_when_stripe_says() -> None:
    payout = a_payout(attempts=1)
    reversal = a_reversal(payout)

    for retry_after_s, wait_s in ((17, 17), (0.1, 1), (None, 1)):
        answer = Throttled("rate limit", retry_after_s)
        due_at = LATER + timedelta(seconds=wait_s)
        assert decided(payout, answer) == PayoutChange(payout, due_at)
        assert taken(payout, reversal, answer) == ReversalChange(reversal, due_at)


def test_bank_says_once_what_became_of_a_payout() -> None:
    sent = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    failed = BankPayout("po_1", FAILED, "account_closed")

    change = decide_bank_payout(sent, failed, LATER)

    assert change is not None
    assert change.payout == replace(
        sent, status=FAILED, failure_code="account_closed", stripe_payout_id="po_1", updated_at=LATER
    )
    assert [news.type for news in change.events] == ["payout.failed"]
    assert (change.journals, change.lets_go) == ((), False), "it is at the seller's account, and not ours"
    assert decide_bank_payout(change.payout, failed, LATER) is None
    later = decide_bank_payout(change.payout, BankPayout("po_2", PAID, earlier_ids=("po_1",)), LATER)
    assert later is not None
    assert (later.payout.status, later.payout.failure_code) == (PAID, None)
    assert decide_bank_payout(later.payout, failed, LATER) is None


def test_bank_leads_a_payout_forward_alone() -> None:
    sent = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")

    under_way = decide_bank_payout(sent, BankPayout("po_1", IN_TRANSIT), NOW)
    assert under_way is not None
    paid = decide_bank_payout(under_way.payout, BankPayout("po_1", PAID), LATER)

    assert paid is not None
    assert paid.payout == replace(sent, status=PAID, stripe_payout_id="po_1", updated_at=LATER)
    assert decide_bank_payout(paid.payout, BankPayout("po_1", IN_TRANSIT), LATER) is None


@pytest.mark.parametrize("bank", [BankPayout("po_1", PAID), BankPayout("po_1", FAILED, "account_closed")])
def test_bank_says_nothing_of_a_payout_that_is_not_transferred(bank: BankPayout) -> None:
    unsent = a_payout(status=UNKNOWN)

    change = decide_bank_payout(unsent, bank, LATER)

    assert change is not None
    assert change.payout == replace(unsent, stripe_payout_id="po_1", updated_at=LATER)
    assert change.events == ()


def test_reversal_is_booked_once() -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    reversal = a_reversal(payout)

    change = taken(payout, reversal, a_stripe_reversal(reversal))

    (journal,) = change.journals
    assert (journal.kind, journal.source) == (JournalKind.PAYOUT_REVERSED, f"trr_{reversal.id}")
    assert journal.entries == (Entry(STRIPE_BALANCE, 500), Entry(seller_payable(payout.seller_id), -500))
    assert (change.reversal.status, change.reversal.updated_at) == (ReversalStatus.SUCCEEDED, LATER)
    assert taken(payout, change.reversal, a_stripe_reversal(reversal)) == ReversalChange(change.reversal, None)


def test_reversal_that_never_turned_up_is_sent_under_a_new_key_after_a_grace() -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    burnt = a_reversal(payout, first_sent_at=NOW, key_burnt_at=LATER)
    grace = timedelta(seconds=POLICY.lookup_grace_s)

    def absent_after(waited: timedelta) -> ReversalChange:
        return decide_reversal(ReversalSituation(burnt, payout, LATER + waited, POLICY), Absent())

    assert absent_after(grace - timedelta(seconds=1)).reversal == burnt
    assert absent_after(grace) == ReversalChange(
        replace(burnt, key_number=1, first_sent_at=None, key_burnt_at=None), LATER + grace
    )


def test_reversal_that_stripe_refuses_leaves_the_seller_to_owe_it() -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    reversal = a_reversal(payout)

    change = taken(payout, reversal, Refusal("insufficient_funds"))

    assert change.reversal == replace(
        reversal, status=ReversalStatus.FAILED, failure_code="insufficient_funds", updated_at=LATER
    )
    assert (change.due_at, change.journals) == (None, ())
    (told,) = change.events
    assert (told.type, told.data["failure_code"]) == ("payout.reversal_failed", "insufficient_funds")


@pytest.mark.parametrize("status", [ReversalStatus.SUCCEEDED, ReversalStatus.FAILED])
@pytest.mark.parametrize("answer", WITHOUT_NEWS, ids=lambda answer: type(answer).__name__)
def test_reversal_that_is_over_stays_so(status: ReversalStatus, answer: ReversalAnswer) -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    reversal = a_reversal(payout, status)

    assert taken(payout, reversal, answer) == ReversalChange(reversal, None)


@pytest.mark.parametrize("other", [{"amount_minor": 501}, {"currency": "EUR"}, {"stripe_reversal_id": "trr_2"}])
def test_reversal_of_something_else_is_refused(other: dict[str, Any]) -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    reversal = a_reversal(payout, stripe_reversal_id="trr_1")

    with pytest.raises(Refused):
        taken(payout, reversal, a_stripe_reversal(reversal, **{"stripe_reversal_id": "trr_1", **other}))


def test_reversal_that_stripe_refused_is_not_booked_by_one_that_is_found() -> None:
    payout = a_payout(status=IN_TRANSIT, stripe_transfer_id="tr_1")
    reversal = a_reversal(payout, ReversalStatus.FAILED)

    assert taken(payout, reversal, a_stripe_reversal(reversal)) == ReversalChange(reversal, None)
