from dataclasses import replace
from datetime import timedelta

import pytest

from domain.payments.model import Capture, PaymentStatus
from domain.refunds.model import Refund
from domain.settlement.model import SettlementPolicy
from domain.settlement.steps import RefundStep, Step, next_refund_step, next_step
from tests.builders import NOW, a_payment, a_refund

POLICY = SettlementPolicy()
KEY_LIFETIME = timedelta(seconds=POLICY.stripe_key_lifetime_s)
ACTION_TTL = timedelta(seconds=POLICY.action_ttl_s)
A_MOMENT = timedelta(seconds=1)

FRESH = a_payment(status=PaymentStatus.PROCESSING, first_charged_at=NOW)
KNOWN = replace(FRESH, stripe_intent_id="pi_1")
WAITING = replace(KNOWN, status=PaymentStatus.REQUIRES_ACTION)
RESERVED = replace(KNOWN, status=PaymentStatus.REQUIRES_CAPTURE, capture=Capture.MANUAL)


@pytest.mark.parametrize(
    ("payment", "age", "step"),
    [
        (replace(FRESH, first_charged_at=None), 2 * KEY_LIFETIME, Step.CHARGE),
        (FRESH, timedelta(), Step.CHARGE),
        (replace(FRESH, status=PaymentStatus.UNKNOWN), KEY_LIFETIME - A_MOMENT, Step.CHARGE),
        (FRESH, KEY_LIFETIME, Step.LOOK_UP),
        (replace(FRESH, lookup_only=True), timedelta(), Step.LOOK_UP),
        (KNOWN, timedelta(), Step.RETRIEVE),
        (replace(KNOWN, lookup_only=True), KEY_LIFETIME, Step.RETRIEVE),
        (replace(KNOWN, status=PaymentStatus.SUCCEEDED), 2 * ACTION_TTL, Step.RETRIEVE),
        (replace(KNOWN, status=PaymentStatus.REQUIRES_CAPTURE), 2 * ACTION_TTL, Step.RETRIEVE),
        (WAITING, ACTION_TTL - A_MOMENT, Step.RETRIEVE),
        (WAITING, ACTION_TTL, Step.CANCEL),
        (replace(RESERVED, capture_minor=1), timedelta(), Step.CAPTURE),
        (replace(WAITING, capture_minor=1), timedelta(), Step.RETRIEVE),
        (replace(RESERVED, cancel_requested=True), timedelta(), Step.CANCEL),
        (replace(WAITING, cancel_requested=True), timedelta(), Step.CANCEL),
        (replace(KNOWN, cancel_requested=True), timedelta(), Step.CANCEL),
        (replace(RESERVED, capture_minor=1, captured_minor=1), timedelta(), Step.RETRIEVE),
        (replace(KNOWN, status=PaymentStatus.CANCELED), timedelta(), Step.CANCEL),
        (replace(KNOWN, status=PaymentStatus.FAILED), timedelta(), Step.CANCEL),
        (replace(KNOWN, status=PaymentStatus.FAILED, captured_minor=1), timedelta(), Step.RETRIEVE),
        (replace(FRESH, cancel_requested=True, attempts=1), timedelta(), Step.WITHDRAW),
        (replace(FRESH, cancel_requested=True, attempts=2), timedelta(), Step.LOOK_UP),
    ],
)
def test_next_step_never_charges_twice(payment: object, age: timedelta, step: Step) -> None:
    assert next_step(payment, NOW + age, POLICY) is step


SENT = a_refund(FRESH, first_sent_at=NOW)


@pytest.mark.parametrize(
    ("refund", "age", "step"),
    [
        (replace(SENT, first_sent_at=None), 2 * KEY_LIFETIME, RefundStep.SEND),
        (SENT, KEY_LIFETIME - A_MOMENT, RefundStep.SEND),
        (SENT, KEY_LIFETIME, RefundStep.LOOK_UP),
        (replace(SENT, key_burnt_at=NOW), timedelta(), RefundStep.LOOK_UP),
        (replace(SENT, key_burnt_at=NOW, stripe_refund_id="re_1"), 2 * KEY_LIFETIME, RefundStep.RETRIEVE),
    ],
)
def test_next_step_never_refunds_twice(refund: Refund, age: timedelta, step: RefundStep) -> None:
    assert next_refund_step(refund, NOW + age, POLICY) is step
