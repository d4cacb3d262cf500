"""Every way in which a movement at Stripe and our journals agree or do not. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import PaymentId, uuid7
from domain.ledger.model import JournalKind
from domain.reconciliation.matching import Known, journal_keys, judge, judge_journals
from domain.reconciliation.model import BookedJournal, BreakKind, Finding, StripeLine
from domain.reconciliation.rules import CATEGORY_OF, RULES
from tests.builders import NOW, a_booked_journal, a_line_of_stripe

GRACE = timedelta(hours=1)
PAYMENT = PaymentId(uuid7())


def known(journals: Sequence[BookedJournal] = (), *owned: StripeLine) -> Known:
    return Known(
        {(journal.kind, journal.source): journal for journal in journals},
        {line.id: PAYMENT for line in owned},
        NOW,
        GRACE,
    )


def booked(line: StripeLine, **changes: Any) -> list[BookedJournal]:
    """The journals of a charge and its fee, as settlement posts them."""
    assert line.source is not None
    charge = a_booked_journal(JournalKind.CHARGE, line.source, line.amount_minor, payment_id=PAYMENT)
    fee = a_booked_journal(JournalKind.STRIPE_FEE, line.id, -line.fee_minor, payment_id=PAYMENT)
    return [replace(charge, **changes), fee]


def kinds(findings: Sequence[Finding]) -> list[BreakKind | None]:
    return [finding.kind for finding in findings]


def test_charge_with_its_fee_matches() -> None:
    line = a_line_of_stripe()

    (finding,) = judge([line], known(booked(line)))

    assert finding.kind is None
    assert (finding.ledger.amount_minor, finding.ledger.fee_minor, finding.ledger.currency) == (1999, 88, "USD")


@pytest.mark.parametrize(
    ("category", "main", "is_named_by_source"),
    [
        ("charge", JournalKind.UNAPPLIED_CHARGE, True),
        ("refund", JournalKind.REFUND, True),
        ("refund", JournalKind.UNAPPLIED_REFUND, True),
        ("refund_failure", JournalKind.REFUND_FAILED, True),
        ("dispute", JournalKind.DISPUTE_OPENED, False),
        ("dispute_reversal", JournalKind.DISPUTE_WON, False),
    ],
)
def test_each_category_matches_its_journals(category: str, main: JournalKind, *, is_named_by_source: bool) -> None:
    line = a_line_of_stripe(category=category, amount_minor=-700, fee_minor=1500)
    fee_kind = RULES[category].fee_kind
    assert fee_kind is not None
    name = line.source if is_named_by_source else line.id
    journals = [a_booked_journal(main, name or "", -700), a_booked_journal(fee_kind, line.id, -1500)]

    assert kinds(judge([line], known(journals))) == [None]
    assert {(journal.kind, journal.source) for journal in journals} <= set(journal_keys([line]))


@pytest.mark.parametrize(
    ("category", "main"),
    [("transfer", JournalKind.PAYOUT), ("transfer_reversal", JournalKind.PAYOUT_REVERSED)],
)
def test_payouts_match_their_transfers_and_lack_a_journal_without(category: str, main: JournalKind) -> None:
    line = a_line_of_stripe(category=category, amount_minor=-700, fee_minor=0)
    journal = a_booked_journal(main, line.source or "", -700, payment_id=None)

    assert kinds(judge([line], known([journal]))) == [None]
    assert kinds(judge([line], known())) == [BreakKind.MISSING_IN_LEDGER]
    assert kinds(judge([replace(line, created_at=NOW)], known())) == [BreakKind.LATE]


def test_journals_are_looked_for_under_the_names_that_a_line_has() -> None:
    transfer = a_line_of_stripe(category="transfer", id="txn_1", source="tr_1")
    exchanges = [(JournalKind.CONVERSION_CHARGED, "txn_1"), (JournalKind.CONVERSION_SETTLED, "txn_1")]

    assert set(journal_keys([transfer])) == {(JournalKind.PAYOUT, "tr_1"), *exchanges}
    assert set(journal_keys([replace(transfer, source=None)])) == set(exchanges)
    assert journal_keys([replace(transfer, category="topup")]) == []


@pytest.mark.parametrize(
    ("category", "main", "amount_minor"),
    [("payout", JournalKind.BANK_PAYOUT, -700), ("payout_reversal", JournalKind.BANK_PAYOUT_RETURNED, 700)],
)
def test_payouts_to_our_own_bank_match_and_lack_a_journal_without(
    category: str, main: JournalKind, amount_minor: int
) -> None:
    line = a_line_of_stripe(category=category, amount_minor=amount_minor, fee_minor=7)
    journal = a_booked_journal(main, line.source or "", amount_minor, payment_id=None)
    fee = a_booked_journal(JournalKind.BANK_PAYOUT_FEE, line.id, -7, payment_id=None)

    assert kinds(judge([line], known([journal, fee]))) == [None]
    assert kinds(judge([line], known([journal]))) == [BreakKind.FEE_MISMATCH]
    assert kinds(judge([line], known())) == [BreakKind.MISSING_IN_LEDGER]


@pytest.mark.parametrize(("contents_minor", "kind"), [(700, None), (699, BreakKind.AMOUNT_MISMATCH)])
def test_payout_pays_out_what_its_transactions_come_to(contents_minor: int, kind: BreakKind | None) -> None:
    line = a_line_of_stripe(category="payout", amount_minor=-700, fee_minor=0)
    journal = a_booked_journal(JournalKind.BANK_PAYOUT, line.source or "", -700, payment_id=None)

    (finding,) = judge([line], replace(known([journal]), contents={line.id: contents_minor}))

    assert (finding.kind, finding.contents_minor) == (kind, contents_minor)


def test_payout_that_lacks_its_fee_says_so_before_its_transactions_are_compared() -> None:
    line = a_line_of_stripe(category="payout", amount_minor=-700, fee_minor=7)
    journal = a_booked_journal(JournalKind.BANK_PAYOUT, line.source or "", -700, payment_id=None)

    findings = judge([line], replace(known([journal]), contents={line.id: 699}))

    assert kinds(findings) == [BreakKind.FEE_MISMATCH]


def test_movement_of_nothing_needs_no_journal() -> None:
    line = a_line_of_stripe(amount_minor=0, fee_minor=0)

    assert kinds(judge([line], known())) == [None]


def test_exchange_counts_in_the_currency_that_stripe_settled_in() -> None:
    line = a_line_of_stripe(currency="EUR", amount_minor=1840, fee_minor=70)
    journals = [
        a_booked_journal(JournalKind.CHARGE, line.source or "", 1999),
        a_booked_journal(JournalKind.CONVERSION_CHARGED, line.id, -1999),
        a_booked_journal(JournalKind.CONVERSION_SETTLED, line.id, 1840, currency="EUR"),
        a_booked_journal(JournalKind.STRIPE_FEE, line.id, -70, currency="EUR"),
    ]

    (finding,) = judge([line], known(journals))

    assert (finding.kind, finding.ledger.amount_minor, finding.ledger.currency) == (None, 1840, "EUR")


def test_own_charge_that_is_not_booked_is_missing_in_the_ledger() -> None:
    line = a_line_of_stripe()

    assert kinds(judge([line], known((), line))) == [BreakKind.MISSING_IN_LEDGER]


def test_own_charge_of_a_moment_ago_is_late() -> None:
    line = a_line_of_stripe(created_at=NOW - timedelta(minutes=5))

    assert kinds(judge([line], known((), line))) == [BreakKind.LATE]


def test_own_charge_is_late_no_longer_once_the_grace_has_passed() -> None:
    line = a_line_of_stripe(created_at=NOW - GRACE)

    assert kinds(judge([line], known((), line))) == [BreakKind.MISSING_IN_LEDGER]


@pytest.mark.parametrize("category", ["charge", "refund", "topup", "fee", "payout_minimum_balance_hold"])
def test_what_no_payment_caused_has_an_unknown_source(category: str) -> None:
    line = a_line_of_stripe(category=category)

    assert kinds(judge([line], known())) == [BreakKind.UNKNOWN_SOURCE]


def test_another_amount_is_a_mismatch() -> None:
    line = a_line_of_stripe()

    (finding,) = judge([line], known(booked(line, balance_minor=1998)))

    assert (finding.kind, finding.ledger.amount_minor) == (BreakKind.AMOUNT_MISMATCH, 1998)


def test_another_currency_is_a_mismatch() -> None:
    line = a_line_of_stripe()
    journals = [replace(journal, currency="EUR") for journal in booked(line)]

    assert kinds(judge([line], known(journals))) == [BreakKind.CURRENCY_MISMATCH]


def test_fee_in_another_currency_than_its_charge_is_a_mismatch() -> None:
    line = a_line_of_stripe()
    charge, fee = booked(line)

    (finding,) = judge([line], known([charge, replace(fee, currency="EUR")]))

    assert (finding.kind, finding.ledger.amount_minor) == (BreakKind.CURRENCY_MISMATCH, None)


def test_another_fee_is_a_mismatch() -> None:
    line = a_line_of_stripe()
    charge, fee = booked(line)

    assert kinds(judge([line], known([charge, replace(fee, balance_minor=-87)]))) == [BreakKind.FEE_MISMATCH]
    assert kinds(judge([line], known([charge]))) == [BreakKind.FEE_MISMATCH]


def test_fee_of_a_moment_ago_may_still_come() -> None:
    line = a_line_of_stripe(created_at=NOW - timedelta(minutes=5))
    charge, fee = booked(line)

    assert kinds(judge([line], known([charge]))) == [BreakKind.LATE]
    assert kinds(judge([line], known([charge, replace(fee, balance_minor=-87)]))) == [BreakKind.FEE_MISMATCH]


def test_exchange_of_a_moment_ago_may_still_come() -> None:
    line = a_line_of_stripe(currency="EUR", amount_minor=1840, fee_minor=70, created_at=NOW)
    charge = a_booked_journal(JournalKind.CHARGE, line.source or "", 1999)

    assert kinds(judge([line], known([charge]))) == [BreakKind.LATE]


def test_amount_is_not_waited_for_and_neither_is_a_fee_where_there_is_none() -> None:
    line = a_line_of_stripe(fee_minor=0, created_at=NOW)
    charge, _ = booked(line)
    transfer = replace(line, category="transfer")
    payout = a_booked_journal(JournalKind.PAYOUT, line.source or "", 1999, currency="EUR")

    assert kinds(judge([line], known([charge]))) == [None]
    assert kinds(judge([line], known([replace(charge, balance_minor=1998)]))) == [BreakKind.AMOUNT_MISMATCH]
    assert kinds(judge([transfer], known([payout]))) == [BreakKind.CURRENCY_MISMATCH]


def test_second_movement_of_an_own_cause_is_a_duplicate_though_none_is_booked() -> None:
    line = a_line_of_stripe()
    second = replace(line, id="txn_second", created_at=line.created_at + timedelta(seconds=1))

    found = kinds(judge([second, line], known((), line, second)))

    assert found == [BreakKind.DUPLICATE, BreakKind.MISSING_IN_LEDGER]


def test_movements_of_a_cause_that_is_not_ours_are_of_unknown_source_each() -> None:
    line = a_line_of_stripe()

    assert kinds(judge([line, replace(line, id="txn_second")], known())) == [BreakKind.UNKNOWN_SOURCE] * 2


def test_own_movements_that_name_no_cause_are_no_duplicates() -> None:
    one, other = a_line_of_stripe(source=None), a_line_of_stripe(source=None)

    assert kinds(judge([one, other], known((), one, other))) == [BreakKind.MISSING_IN_LEDGER] * 2


def test_second_movement_of_one_cause_is_a_duplicate() -> None:
    line = a_line_of_stripe()
    second = replace(line, id="txn_second", created_at=line.created_at + timedelta(seconds=1))

    assert kinds(judge([second, line], known(booked(line), line, second))) == [BreakKind.DUPLICATE, None]


def test_the_movement_whose_fee_is_booked_is_the_true_one() -> None:
    line = a_line_of_stripe()
    earlier = replace(line, id="txn_earlier", created_at=line.created_at - timedelta(seconds=1))

    assert kinds(judge([earlier, line], known(booked(line)))) == [BreakKind.DUPLICATE, None]


def test_two_journals_of_one_movement_are_a_duplicate() -> None:
    line = a_line_of_stripe()
    twice = a_booked_journal(JournalKind.UNAPPLIED_CHARGE, line.source or "", 1999)

    assert kinds(judge([line], known([*booked(line), twice]))) == [BreakKind.DUPLICATE]


def test_movements_of_one_dispute_are_no_duplicates() -> None:
    taken = a_line_of_stripe(category="dispute", source="dp_1", amount_minor=-1999, fee_minor=0)
    again = replace(taken, id="txn_again")
    journals = [a_booked_journal(JournalKind.DISPUTE_OPENED, line.id, -1999) for line in (taken, again)]

    assert kinds(judge([taken, again], known(journals))) == [None, None]


def test_journals_that_stripe_does_not_list_are_one_exception_a_movement() -> None:
    line = a_line_of_stripe()
    other = a_booked_journal(JournalKind.CHARGE, "ch_other", 500)

    findings = judge_journals([*booked(line), other], known())

    assert kinds(findings) == [BreakKind.MISSING_AT_STRIPE] * 2
    assert [(each.ledger.amount_minor, each.ledger.fee_minor) for each in findings] == [(1999, 88), (500, 0)]
    assert findings[0].key == str(findings[0].ledger.journals[0].id)


def test_fee_that_stands_alone_is_an_exception_of_its_own() -> None:
    charge = a_booked_journal(JournalKind.CHARGE, "ch_1", 1999)
    fee = a_booked_journal(JournalKind.STRIPE_FEE, "txn_1", -88)

    assert [finding.ledger.fee_minor for finding in judge_journals([charge, fee], known())] == [0, 88]


def test_fee_that_no_payment_caused_is_an_exception_of_its_own() -> None:
    payout = a_booked_journal(JournalKind.BANK_PAYOUT, "po_1", -700, payment_id=None)
    fee = a_booked_journal(JournalKind.BANK_PAYOUT_FEE, "txn_1", -7, payment_id=None)

    assert [finding.ledger.fee_minor for finding in judge_journals([payout, fee], known())] == [0, 7]


def test_fee_of_a_refund_goes_with_the_refund_and_an_exchange_with_the_charge() -> None:
    names = {"payment_id": PAYMENT}
    refund = a_booked_journal(JournalKind.REFUND, "re_1", -700, **names)
    refund_fee = a_booked_journal(JournalKind.REFUND_FEE, "txn_2", -15, **names)
    charge = a_booked_journal(JournalKind.CHARGE, "ch_1", 1999, **names)
    exchanged = a_booked_journal(JournalKind.CONVERSION_CHARGED, "txn_1", -1999, **names)

    findings = judge_journals([charge, refund, refund_fee, exchanged], known())

    assert [finding.ledger.journals for finding in findings] == [(charge, exchanged), (refund, refund_fee)]


def test_journal_of_a_moment_ago_is_late() -> None:
    journal = a_booked_journal(JournalKind.CHARGE, "ch_1", 1999, created_at=NOW)

    assert kinds(judge_journals([journal], known())) == [BreakKind.LATE]


def test_charge_whose_fee_is_of_a_moment_ago_is_late() -> None:
    charge, fee = booked(a_line_of_stripe())

    assert kinds(judge_journals([charge, replace(fee, created_at=NOW)], known())) == [BreakKind.LATE]


def test_no_kind_of_journal_belongs_to_two_categories() -> None:
    assert len(CATEGORY_OF) == sum(len(rule.kinds) for rule in RULES.values())


@given(
    amount=st.integers(1, 10**8),
    fee=st.integers(0, 10**6),
    off=st.integers(-100, 100),
    fee_off=st.integers(-50, 50),
)
def test_a_charge_matches_exactly_when_amount_and_fee_are_equal(
    amount: int, fee: int, off: int, fee_off: int
) -> None:
    line = a_line_of_stripe(amount_minor=amount, fee_minor=fee)
    charge, fee_journal = booked(line)
    journals = [
        replace(charge, balance_minor=amount + off),
        replace(fee_journal, balance_minor=-(fee + fee_off)),
    ]

    (finding,) = judge([line], known(journals))

    assert (finding.kind is None) == (off == 0 and fee_off == 0)
