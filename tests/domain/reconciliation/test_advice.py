"""What a person is advised to do depends on what moved, and on whether anything is left to be mended."""

from typing import Any

import pytest

from domain.ids import ExceptionId, uuid7
from domain.reconciliation.model import BreakKind, ExceptionStatus, ReconciliationException
from domain.reconciliation.rules import RULES
from tests.builders import NOW


def advice(kind: BreakKind, category: str, **sides: Any) -> str:
    names = ("amount_minor", "fee_minor", "currency", "created_at")
    values: dict[str, Any] = {f"{side}_{name}": None for side in ("stripe", "ledger") for name in names}
    values |= {"stripe_transaction_id": "txn_1", "stripe_source": "ch_1", "journal_ids": (), "payment_id": None}
    values |= {"opened_at": NOW, "updated_at": NOW, **sides}
    exception_id = ExceptionId(uuid7())
    return ReconciliationException(
        id=exception_id, kind=kind, status=ExceptionStatus.OPEN, category=category, **values
    ).suggested_action


@pytest.mark.parametrize("kind", BreakKind)
@pytest.mark.parametrize("category", [*RULES, "topup"])
def test_there_is_an_advice_for_whatever_is_found(kind: BreakKind, category: str) -> None:
    assert advice(kind, category).endswith(".")


def test_webhook_is_replayed_for_a_payment_and_not_for_a_transfer_that_is_lost() -> None:
    assert "replay its webhook" in advice(BreakKind.MISSING_IN_LEDGER, "charge")
    lost = advice(BreakKind.MISSING_IN_LEDGER, "transfer")
    assert "replay" not in lost
    assert "debit seller_payable" in lost


def test_correction_of_what_agrees_is_to_be_taken_back() -> None:
    stripe = {"stripe_amount_minor": 1999, "stripe_fee_minor": 88, "stripe_currency": "USD"}
    ledger = {"ledger_amount_minor": 1999, "ledger_fee_minor": 88, "ledger_currency": "USD"}

    assert "the reverse of what its corrections come to" in advice(
        BreakKind.DUPLICATE, "charge", **stripe, **ledger
    )
    assert "refund or report the second movement" in advice(BreakKind.DUPLICATE, "charge", **stripe)
