"""While no money moves: what a payment waits for, when it is looked at again, and when it is given up."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.payments.model import PaymentStatus
from domain.settlement.answers import Absent, CaptureRefused, IntentStatus, Throttled, Unsure
from domain.settlement.decide.charges import ACTION_POLL, CAPTURE_POLL, decide_charge
from domain.settlement.decide.situation import retry_delay
from domain.settlement.model import SettlementPolicy
from tests.builders import NOW
from tests.domain.settlement.charge_situations import LATER, POLICY, at, in_state
from tests.stripe_answers import an_intent, declined


def test_news_of_another_intent_without_money_is_no_news() -> None:
    payment = in_state(PaymentStatus.REQUIRES_ACTION)

    assert decide_charge(at(payment), replace(declined(payment), intent_id="pi_2")) is None


def test_declined_is_remembered_until_its_intent_is_canceled() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    remembered = decide_charge(at(payment), declined(payment, "lost_card"))
    assert remembered is not None
    assert remembered.payment.status is PaymentStatus.PROCESSING
    assert remembered.payment.stripe_intent_id == f"pi_{payment.id}"
    canceled = decide_charge(at(remembered.payment), an_intent(IntentStatus.CANCELED, remembered.payment))

    assert canceled is not None
    assert (canceled.payment.status, canceled.payment.failure_code) == (PaymentStatus.FAILED, "lost_card")
    assert canceled.due_at is None
    assert [(news.type, news.data["failure_code"]) for news in canceled.events] == [
        ("payment.failed", "lost_card")
    ]


def test_decline_is_not_forgotten_while_its_intent_says_nothing_new() -> None:
    payment = replace(in_state(PaymentStatus.PROCESSING), failure_code="lost_card")

    change = decide_charge(at(payment), an_intent(IntentStatus.PROCESSING, payment))

    assert change is not None
    assert change.payment.failure_code == "lost_card"


@pytest.mark.parametrize("status", [PaymentStatus.REQUIRES_ACTION, PaymentStatus.REQUIRES_CAPTURE])
def test_decline_after_which_the_payer_pays_in_another_way_is_forgotten(status: PaymentStatus) -> None:
    """So who cancels the authorization then cancels it, and nothing has failed."""
    payment = in_state(status)
    remembered = decide_charge(at(payment), declined(payment, "payment_intent_authentication_failure"))
    assert remembered is not None
    assert remembered.payment.failure_code == "payment_intent_authentication_failure"

    authorized = decide_charge(at(remembered.payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment))
    assert authorized is not None
    canceled = decide_charge(at(authorized.payment), an_intent(IntentStatus.CANCELED, payment))

    assert canceled is not None
    assert (authorized.payment.failure_code, canceled.payment.failure_code) == (None, None)
    assert canceled.payment.status is PaymentStatus.CANCELED


def test_waiting_for_the_customer_shows_the_client_secret_and_giving_up_hides_it() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    waiting = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_ACTION, payment, client_secret="s"))
    assert waiting is not None
    assert (waiting.payment.client_secret, waiting.due_at) == ("s", LATER + ACTION_POLL)
    over = decide_charge(at(waiting.payment), an_intent(IntentStatus.CANCELED, waiting.payment))

    assert over is not None
    assert over.payment.client_secret is None


def test_reserved_money_waits_for_its_capture() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    change = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment, client_secret="s"))

    assert change is not None
    assert (change.payment.client_secret, change.due_at) == (None, LATER + CAPTURE_POLL)
    assert change.journals == ()


@pytest.mark.parametrize("wish", [{"capture_minor": 1000}, {"cancel_requested": True}])
def test_authorized_payment_on_which_somebody_decided_is_looked_at_soon(wish: dict[str, Any]) -> None:
    for status in (PaymentStatus.PROCESSING, PaymentStatus.REQUIRES_CAPTURE):
        payment = replace(in_state(status), **wish)

        change = decide_charge(at(payment), an_intent(IntentStatus.REQUIRES_CAPTURE, payment))

        assert change is not None
        assert change.due_at == LATER + timedelta(seconds=1)


def test_payer_who_stays_away_is_looked_at_when_the_time_is_over() -> None:
    policy = SettlementPolicy(action_ttl_s=90)
    payment = in_state(PaymentStatus.PROCESSING)

    first = decide_charge(at(payment, policy=policy), an_intent(IntentStatus.REQUIRES_ACTION, payment))
    assert first is not None
    late = LATER + timedelta(seconds=95)
    again = decide_charge(
        at(first.payment, now=late, policy=policy), an_intent(IntentStatus.REQUIRES_ACTION, first.payment)
    )

    assert first.due_at == LATER + timedelta(seconds=90)
    assert again is not None
    assert again.due_at == late


def test_refused_capture_is_told_and_may_be_asked_for_in_another_way() -> None:
    payment = replace(in_state(PaymentStatus.REQUIRES_CAPTURE), capture_minor=10)

    change = decide_charge(at(payment), CaptureRefused("amount_too_small"))

    assert change is not None
    assert (change.payment.capture_minor, change.drops_capture) == (None, True)
    assert change.due_at == LATER + CAPTURE_POLL
    (told,) = change.events
    assert (told.type, dict(told.data)) == (
        "payment.capture_failed",
        {"amount_minor": 10, "failure_code": "amount_too_small"},
    )


def test_refused_capture_of_money_that_is_booked_is_not_told() -> None:
    """Another capture came first, and its fee is still to come."""
    payment = replace(in_state(PaymentStatus.SUCCEEDED), capture_minor=1000, fee_minor=None)

    change = decide_charge(at(payment), CaptureRefused("charge_already_captured"))

    assert change is not None
    assert (change.payment, change.events, change.drops_capture) == (payment, (), False)


def test_payment_that_was_to_be_cancelled_and_never_arrived_is_canceled() -> None:
    payment = replace(in_state(PaymentStatus.UNKNOWN), cancel_requested=True, lookup_only=True)

    change = decide_charge(at(payment, now=NOW + timedelta(days=1)), Absent())

    assert change is not None
    assert (change.payment.status, change.payment.failure_code) == (PaymentStatus.CANCELED, None)


def test_recorded_error_forbids_to_use_the_key_again() -> None:
    payment = in_state(PaymentStatus.UNKNOWN)

    recorded = decide_charge(at(payment), Unsure("replayed 500", lookup_only=True))
    assert recorded is not None
    unsure = decide_charge(at(recorded.payment), Unsure("timeout"))

    assert unsure is not None
    assert recorded.payment.lookup_only
    assert unsure.payment.lookup_only


def test_key_that_turns_out_to_have_been_used_is_given_up_from_then_on() -> None:
    """Its last use may be a moment ago, so the grace begins anew."""
    given_up = replace(in_state(PaymentStatus.UNKNOWN), lookup_only=True)

    recorded = decide_charge(at(given_up), Unsure("replayed 500", lookup_only=True))

    assert recorded is not None
    assert (recorded.payment, recorded.events) == (replace(given_up, updated_at=LATER), ())


def test_look_up_that_fails_does_not_move_when_the_key_was_given_up() -> None:
    """Else the list would be longer each time that it could not be read to its end."""
    given_up = replace(in_state(PaymentStatus.UNKNOWN), lookup_only=True)

    unsure = decide_charge(at(given_up, now=NOW + timedelta(hours=1)), Unsure("timeout"))

    assert unsure is not None
    assert unsure.payment == given_up
    assert unsure.due_at is not None
    assert unsure.events == ()


@pytest.mark.parametrize("status", [PaymentStatus.PROCESSING, PaymentStatus.UNKNOWN])
def test_absent_payment_is_given_up_only_after_the_grace(status: PaymentStatus) -> None:
    """The grace begins at the first absence: an attempt of a moment before may still arrive."""
    long_ago = NOW - timedelta(hours=24)
    payment = replace(in_state(status), first_charged_at=long_ago, created_at=long_ago, updated_at=long_ago)
    grace = timedelta(seconds=POLICY.lookup_grace_s)

    first = decide_charge(at(payment, now=NOW), Absent())
    assert first is not None
    assert (first.payment.status, first.payment.lookup_only) == (PaymentStatus.UNKNOWN, True)
    within = decide_charge(at(first.payment, now=NOW + grace - timedelta(seconds=1)), Absent())
    assert within is not None
    assert within.payment == first.payment
    after = decide_charge(at(within.payment, now=NOW + grace), Absent())

    assert after is not None
    assert (after.payment.status, after.payment.failure_code) == (PaymentStatus.FAILED, "charge_not_made")


def test_absence_says_nothing_once_the_intent_turned_up() -> None:
    """A webhook told of the intent while the list was read."""
    payment = replace(in_state(PaymentStatus.REQUIRES_ACTION), lookup_only=True)

    change = decide_charge(at(payment, now=NOW + timedelta(days=2)), Absent())

    assert change is not None
    assert change.payment == payment


def test_throttling_comes_back_when_stripe_says() -> None:
    payment = in_state(PaymentStatus.PROCESSING)

    patient = decide_charge(at(payment), Throttled("rate limit", retry_after_s=17))
    impatient = decide_charge(at(payment), Throttled("rate limit", retry_after_s=0.1))

    assert patient is not None
    assert patient.due_at == LATER + timedelta(seconds=17)
    assert impatient is not None
    assert impatient.due_at == LATER + timedelta(seconds=1)
    assert patient.payment == payment


@pytest.mark.parametrize(
    ("attempts", "delay_s"), [(0, 1), (1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (10_000, 300)]
)
def test_retries_are_exponential_and_capped(attempts: int, delay_s: int) -> None:
    assert retry_delay(attempts, POLICY) == timedelta(seconds=delay_s)


def test_intent_that_is_over_when_it_is_first_seen_is_remembered() -> None:
    payment = in_state(PaymentStatus.UNKNOWN)

    change = decide_charge(at(payment), an_intent(IntentStatus.CANCELED, payment, failure_code="expired_card"))

    assert change is not None
    assert (change.payment.status, change.payment.failure_code) == (PaymentStatus.FAILED, "expired_card")
    assert change.payment.stripe_intent_id == f"pi_{payment.id}"
