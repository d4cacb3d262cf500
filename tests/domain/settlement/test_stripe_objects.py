import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ids import PayoutId, ReversalId, UserId
from domain.payouts.model import PayoutStatus
from domain.settlement.answers import (
    BankPayout,
    Intent,
    IntentStatus,
    OwnPayout,
    StripeAccount,
    StripeReversal,
    StripeTransaction,
)
from domain.settlement.stripe_objects import (
    read_account,
    read_bank_payout,
    read_dispute,
    read_event_object,
    read_failure_code,
    read_intent,
    read_own_payout,
    read_payment_id,
    read_refund,
    read_reversal,
    read_transaction,
)
from tests.builders import a_payment

TRANSACTION = {"id": "txn_1", "amount": 1999, "fee": 88, "currency": "usd", "exchange_rate": None}
CHARGE = {"id": "ch_1", "balance_transaction": TRANSACTION}
REFUND = {
    "id": "re_1",
    "status": "succeeded",
    "amount": 1000,
    "currency": "usd",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "metadata": {},
    "balance_transaction": TRANSACTION,
}
DISPUTE = {
    "id": "dp_1",
    "status": "needs_response",
    "amount": 1999,
    "currency": "usd",
    "charge": "ch_1",
    "payment_intent": "pi_1",
    "created": 1_795_000_000,
    "reason": "fraudulent",
    "evidence_details": {"due_by": 1_795_700_000},
    "balance_transactions": [TRANSACTION],
}
RAW: dict[str, Any] = {"id": "pi_1", "status": "succeeded", "currency": "usd", "amount_received": 1999}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def test_intent_with_its_charge_and_fee_expanded() -> None:
    assert read_intent({**RAW, "latest_charge": CHARGE, "client_secret": "s"}) == Intent(
        intent_id="pi_1",
        status=IntentStatus.SUCCEEDED,
        currency="USD",
        received_minor=1999,
        charge_id="ch_1",
        client_secret="s",
        transaction=StripeTransaction("txn_1", 1999, 88, "USD"),
    )


@pytest.mark.parametrize(("rate", "read"), [(1.234, "1.234"), (0.0065, "0.0065"), (1e-07, "1E-7"), (2, "2")])
def test_rate_is_read_as_stripe_wrote_it(rate: float, read: str) -> None:
    assert read_transaction({**TRANSACTION, "exchange_rate": rate}).exchange_rate == Decimal(read)


def test_movement_that_takes_back_what_was_not_captured_says_so() -> None:
    assert read_transaction({**TRANSACTION, "reporting_category": "partial_capture_reversal"}).is_release
    assert not read_transaction({**TRANSACTION, "reporting_category": "refund"}).is_release


@pytest.mark.parametrize("rate", ["much", 0, -1, float("nan"), float("inf"), [], "1,2"])
def test_rate_that_is_none_cannot_be_read(rate: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the promise is the kind
        read_transaction({**TRANSACTION, "exchange_rate": rate})


@pytest.mark.parametrize(
    ("charge", "charge_id"),
    [
        ("ch_1", "ch_1"),
        (None, None),
        ({"id": "ch_1"}, "ch_1"),
        ({"id": "ch_1", "balance_transaction": None}, "ch_1"),
        ({"id": "ch_1", "balance_transaction": "txn_1"}, "ch_1"),
    ],
)
def test_intent_without_its_fee(charge: object, charge_id: str | None) -> None:
    intent = read_intent({**RAW, "latest_charge": charge})

    assert intent.charge_id == charge_id
    assert intent.transaction is None


def test_declined_intent_tells_why() -> None:
    raw = {"id": "pi_1", "status": "requires_payment_method", "currency": "usd", "amount_received": None}

    intent = read_intent({**raw, "last_payment_error": {"decline_code": "lost_card", "code": "card_declined"}})

    assert (intent.status, intent.failure_code) == (IntentStatus.REQUIRES_PAYMENT_METHOD, "lost_card")
    assert intent.received_minor == 0


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, None),
        ({}, None),
        ("words", None),
        ({"decline_code": "insufficient_funds", "code": "card_declined"}, "insufficient_funds"),
        ({"decline_code": "generic_decline", "code": "card_declined"}, "card_declined"),
        ({"code": "expired_card", "type": "card_error"}, "expired_card"),
        ({"type": "api_error"}, "api_error"),
        ({"message": "?"}, "unknown_error"),
    ],
)
def test_most_telling_failure_code(error: Any, code: str | None) -> None:
    assert read_failure_code(error) == code


def test_payment_id_stands_in_the_metadata() -> None:
    payment_id = a_payment().id

    assert read_payment_id({"metadata": {"payment_id": str(payment_id)}}) == payment_id


@pytest.mark.parametrize("raw", [{}, {"metadata": None}, {"metadata": {}}, {"metadata": {"payment_id": "pay_1"}}])
def test_object_of_somebody_else_has_no_payment_id(raw: dict[str, Any]) -> None:
    assert read_payment_id(raw) is None


def test_lines_of_a_refund_stand_in_its_metadata() -> None:
    assert read_refund({**REFUND, "metadata": {"lines": "2:501,10:1"}}).lines == ((2, 501), (10, 1))


@pytest.mark.parametrize(
    "lines",
    ["", ",", "2", "2:", ":1", "2:501,", "2:501;3:1", "2:-1", "0:1", "2:0", "2:1.5", "2: 1", "٢:1", "2:1\n",
     "2:" + "9" * 13, "100000:1", "1:1," * 200 + "1:1", 7, None, ["2:501"]],
)  # fmt: skip
def test_lines_that_are_not_well_formed_are_none(lines: Any) -> None:
    assert read_refund({**REFUND, "metadata": {"lines": lines}}).lines == ()


@given(metadata=json_values | st.fixed_dictionaries({"lines": st.text() | st.from_regex(r"[0-9:,]{0,20}")}))
def test_garbage_for_metadata_names_no_impossible_line(metadata: Any) -> None:
    lines = read_refund({**REFUND, "metadata": metadata}).lines

    assert all(line > 0 and amount_minor > 0 for line, amount_minor in lines)


def test_event_tells_of_an_object() -> None:
    assert read_event_object(json.dumps({"data": {"object": RAW}})) == RAW


OURS = "01a22001-a580-7de2-b9f8-4d724b1f2a47"


def test_movement_says_from_when_on_its_money_can_be_used() -> None:
    moved = read_transaction({**TRANSACTION, "available_on": 1_795_000_000})

    assert moved.available_on == datetime.fromtimestamp(1_795_000_000, UTC)
    assert read_transaction(TRANSACTION).available_on is None


def test_refund_with_both_of_its_movements_expanded() -> None:
    back = {**TRANSACTION, "id": "txn_2"}
    raw = {**REFUND, "status": "failed", "failure_balance_transaction": back, "metadata": {"refund_id": OURS}}

    refund = read_refund(raw)

    assert (refund.refund_id, refund.failure_code) == (UUID(OURS), "failed")
    assert (refund.transaction_id, refund.transaction) == ("txn_1", read_transaction(TRANSACTION))
    assert (refund.failure_transaction_id, refund.failure_transaction) == ("txn_2", read_transaction(back))


@pytest.mark.parametrize(
    ("can_be_paid_out", "transfers", "enabled"),
    [(True, "active", True), (True, "pending", False), (True, None, False), (False, "active", False)],
)
def test_account_is_paid_out_that_takes_transfers_and_has_a_bank(
    *, can_be_paid_out: bool, transfers: str | None, enabled: bool
) -> None:
    capabilities = {"transfers": transfers} if transfers else None
    raw = {"object": "account", "id": "acct_1", "payouts_enabled": can_be_paid_out, "capabilities": capabilities}

    assert read_account({**raw, "metadata": {"seller_id": OURS}}) == StripeAccount(
        "acct_1", enabled, UserId(UUID(OURS))
    )
    assert read_account(raw).seller_id is None
    with pytest.raises(ValueError, match="no account"):
        read_account({**raw, "object": "person"})


def test_reversal_names_its_transfer_and_ours() -> None:
    raw = {"id": "trr_1", "transfer": {"id": "tr_1"}, "amount": 500, "currency": "usd"}

    ours = read_reversal({**raw, "metadata": {"reversal_id": OURS}})

    assert ours == StripeReversal("trr_1", "tr_1", 500, "USD", ReversalId(UUID(OURS)))
    assert read_reversal(raw).reversal_id is None
    with pytest.raises(ValueError, match="no transfer"):
        read_reversal({**raw, "transfer": None})


@pytest.mark.parametrize(
    ("status", "means", "failure_code"),
    [
        ("pending", PayoutStatus.IN_TRANSIT, None),
        ("in_transit", PayoutStatus.IN_TRANSIT, None),
        ("paid", PayoutStatus.PAID, None),
        ("canceled", PayoutStatus.FAILED, "canceled"),
        ("failed", PayoutStatus.FAILED, "failed"),
    ],
)
def test_payout_to_a_bank_says_what_became_of_it(
    status: str, means: PayoutStatus, failure_code: str | None
) -> None:
    assert read_bank_payout({"id": "po_1", "status": status}, []) == BankPayout("po_1", means, failure_code)


def test_payout_to_a_bank_names_what_is_in_it_and_what_came_back_before() -> None:
    expanded = {"id": "tr_1", "metadata": {"payout_id": OURS}}
    movements: list[dict[str, Any]] = [
        {"type": "payment", "source": {"id": "py_1", "source_transfer": expanded}},
        {"type": "payment", "source": {"id": "py_2", "source_transfer": "tr_2"}},
        {"type": "payment", "source": {"id": "py_3", "source_transfer": None}},
        {"type": "payout_failure", "source": "po_0"},
        {"type": "payout_cancel", "source": {"id": "po_00"}},
        {"type": "payout_failure", "source": "po_1"},
        {"type": "payout_failure", "source": None},
        {"type": "payout", "source": "po_1"},
    ]

    bank = read_bank_payout({"id": "po_1", "status": "failed", "failure_code": "account_closed"}, movements)

    assert bank == BankPayout(
        "po_1",
        PayoutStatus.FAILED,
        "account_closed",
        transfer_ids=("tr_1", "tr_2"),
        earlier_ids=("po_0", "po_00"),
        payout_ids=(PayoutId(UUID(OURS)),),
    )


def test_payout_of_the_platform_brings_its_movements_along() -> None:
    back = {**TRANSACTION, "id": "txn_2"}
    raw = {
        "object": "payout",
        "id": "po_1",
        "balance_transaction": TRANSACTION,
        "failure_balance_transaction": back,
    }

    own = read_own_payout(raw)

    assert own == OwnPayout("po_1", read_transaction(TRANSACTION), read_transaction(back))
    with pytest.raises(ValueError, match="no payout"):
        read_own_payout({**raw, "object": "transfer"})


@given(st.text() | json_values.map(json.dumps) | json_values.map(lambda v: json.dumps({"data": {"object": v}})))
def test_garbage_for_an_event_is_an_object_or_one_of_three_errors(body: str) -> None:
    try:
        assert isinstance(read_event_object(body), dict)
    except (KeyError, ValueError, TypeError):
        return


def test_bottomless_event_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="too deep"):
        read_event_object("[" * 60_000)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys((*RAW, "latest_charge", "last_payment_error"), json_values))
)
def test_garbage_for_an_intent_is_one_of_three_errors(changes: dict[str, Any]) -> None:
    try:
        read_intent({**RAW, **changes})
        read_intent({**RAW, "latest_charge": {**CHARGE, "balance_transaction": {**TRANSACTION, **changes}}})
    except (KeyError, ValueError, TypeError):
        return


@pytest.mark.parametrize(("read", "raw"), [(read_refund, REFUND), (read_dispute, DISPUTE)])
@given(data=st.data())
def test_garbage_for_a_refund_or_a_dispute_is_one_of_three_errors(
    read: Callable[[Mapping[str, Any]], object], raw: dict[str, Any], data: st.DataObject
) -> None:
    assert read(raw)
    changes = data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys((*raw, *TRANSACTION), json_values)))
    nested = {**TRANSACTION, **changes}
    for more in ({}, {"balance_transaction": nested, "balance_transactions": [nested]}):
        try:
            read({**raw, **changes, **more})
        except (KeyError, ValueError, TypeError):
            continue
