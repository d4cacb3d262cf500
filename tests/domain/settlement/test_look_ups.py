"""Which payments are looked up together, and between which times."""

from datetime import timedelta

from domain.payments.model import Payment, PaymentStatus
from domain.settlement.look_ups import LookUp, look_ups
from domain.settlement.model import SettlementPolicy
from tests.builders import NOW, a_payment

POLICY = SettlementPolicy()
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def tried(since: timedelta, until: timedelta) -> Payment:
    """A payment that was charged first at one time, and whose key was given up at another."""
    return a_payment(
        status=PaymentStatus.UNKNOWN, lookup_only=True, first_charged_at=NOW + since, updated_at=NOW + until
    )


def test_payments_of_a_short_time_are_looked_up_together() -> None:
    second, first = tried(5 * MINUTE, 29 * MINUTE), tried(0 * MINUTE, 1 * MINUTE)

    assert look_ups([second, first], POLICY) == [LookUp((first, second), NOW, NOW + 29 * MINUTE)]


def test_payment_of_another_day_makes_nobody_wait() -> None:
    old, new, newer = tried(-24 * HOUR, -24 * HOUR), tried(0 * MINUTE, 0 * MINUTE), tried(MINUTE, MINUTE)

    assert [each.payments for each in look_ups([new, old, newer], POLICY)] == [(old,), (new, newer)]


def test_span_of_half_an_hour_is_the_longest_that_payments_share() -> None:
    first, last_in, too_late = tried(0 * HOUR, 0 * HOUR), tried(MINUTE, 30 * MINUTE), tried(MINUTE, 31 * MINUTE)

    assert [each.payments for each in look_ups([first, last_in], POLICY)] == [(first, last_in)]
    assert [each.payments for each in look_ups([first, too_late], POLICY)] == [(first,), (too_late,)]


def test_payment_that_was_tried_for_hours_is_looked_up_by_itself() -> None:
    long, within = tried(0 * HOUR, 20 * HOUR), tried(HOUR, HOUR)

    assert look_ups([within, long], POLICY) == [
        LookUp((long,), NOW, NOW + 20 * HOUR),
        LookUp((within,), NOW + HOUR, NOW + HOUR),
    ]


def test_no_charge_is_made_after_stripe_may_have_forgotten_its_key() -> None:
    given_up_late = tried(0 * HOUR, 96 * HOUR)

    (look_up,) = look_ups([given_up_late], POLICY)

    lasts = timedelta(seconds=POLICY.stripe_key_lifetime_s + POLICY.lease_s)
    assert (look_up.since, look_up.until) == (NOW, NOW + lasts)


def test_payment_whose_first_charge_was_cut_off_is_looked_for_around_it() -> None:
    """Nothing was written of it since it was accepted."""
    cut_off = a_payment(status=PaymentStatus.PROCESSING, updated_at=NOW, first_charged_at=NOW + HOUR)

    (look_up,) = look_ups([cut_off], POLICY)

    assert (look_up.since, look_up.until) == (NOW + HOUR, NOW + HOUR)


def test_payment_of_which_no_charge_is_noted_is_looked_for_since_it_was_accepted() -> None:
    unnoted = a_payment(status=PaymentStatus.UNKNOWN, first_charged_at=None, updated_at=NOW + HOUR)

    (look_up,) = look_ups([unnoted], POLICY)

    assert (look_up.since, look_up.until) == (unnoted.created_at, NOW + HOUR)


def test_nothing_is_looked_for_where_nothing_is_missing() -> None:
    assert look_ups([], POLICY) == []
