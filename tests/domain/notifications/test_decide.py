"""What an answer means for a delivery and for its endpoint."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.notifications.decide import conclude, judge
from domain.notifications.model import (
    ENDPOINT_TRANSITIONS,
    Answer,
    Answered,
    DeliveryPolicy,
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    Unanswered,
    WebhookEndpoint,
)
from tests.builders import NOW, a_leased_delivery, an_endpoint

POLICY = DeliveryPolicy()
TIMEOUT = Unanswered("timeout", 15_000)


def wait_s(answer: Answer, *, tries: int = 1, draw: float = 0.5) -> float | None:
    delivery = a_leased_delivery(an_endpoint(), tries=tries, attempts=tries)
    due_at = conclude(delivery, answer, NOW, POLICY, draw).due_at
    return (due_at - NOW).total_seconds() if due_at else None


def rest_s(endpoint: WebhookEndpoint) -> float:
    return (endpoint.resume_at - NOW).total_seconds() if endpoint.resume_at else 0.0


def after(answers: list[Answer], endpoint: WebhookEndpoint | None = None, at: datetime = NOW) -> WebhookEndpoint:
    judged = endpoint or an_endpoint()
    for answer in answers:
        judged = judge(judged, answer, at, POLICY)
    return judged


@given(status=st.integers(200, 299))
def test_2xx_is_success(status: int) -> None:
    delivery = a_leased_delivery(an_endpoint())

    conclusion = conclude(delivery, Answered(status, 12, "ok"), NOW, POLICY, 0.5)

    assert (conclusion.status, conclusion.due_at) == (DeliveryStatus.DELIVERED, None)
    attempt = conclusion.attempt
    assert (attempt.number, attempt.at, attempt.latency_ms) == (1, NOW, 12)
    assert (attempt.response_status, attempt.response_start, attempt.error) == (status, "ok", None)


@given(status=st.integers(100, 599).filter(lambda status: status not in range(200, 300) and status != 410))
def test_any_other_status_is_tried_again(status: int) -> None:
    conclusion = conclude(a_leased_delivery(an_endpoint()), Answered(status, 12), NOW, POLICY, 0.5)

    assert (conclusion.status, conclusion.due_at) == (DeliveryStatus.PENDING, NOW + timedelta(seconds=5))


def test_no_answer_is_tried_again_and_logged_with_its_reason() -> None:
    conclusion = conclude(a_leased_delivery(an_endpoint()), TIMEOUT, NOW, POLICY, 0.5)

    assert conclusion.status is DeliveryStatus.PENDING
    assert (conclusion.attempt.error, conclusion.attempt.response_status) == ("timeout", None)


def test_schedule_is_that_of_the_specification_and_then_the_delivery_has_failed() -> None:
    waits = [wait_s(TIMEOUT, tries=tries) for tries in range(1, 11)]

    assert waits == [5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400, None]
    failed = conclude(a_leased_delivery(an_endpoint(), tries=10, attempts=10), TIMEOUT, NOW, POLICY, 0.5)
    assert failed.status is DeliveryStatus.FAILED


@given(draw=st.floats(0, 1), tries=st.integers(1, 9))
def test_jitter_spreads_the_waits_by_a_tenth(draw: float, tries: int) -> None:
    wait = wait_s(TIMEOUT, tries=tries, draw=draw)

    assert wait == pytest.approx(POLICY.schedule_s[tries], rel=0.1 + 1e-9)
    assert wait_s(TIMEOUT, tries=tries, draw=0) != wait_s(TIMEOUT, tries=tries, draw=1)


@pytest.mark.parametrize(("asked_s", "expected_s"), [(3, 5), (120, 120), (10**9, 86_400), (None, 5), (-5, 5)])
def test_endpoint_is_not_asked_before_it_says(asked_s: float | None, expected_s: float) -> None:
    answer = Answered(503, 1, retry_after_s=asked_s)

    assert wait_s(answer) == expected_s
    assert rest_s(after([answer])) == (0 if (asked_s or 0) < 1 else min(asked_s or 0, 86_400))


def test_gone_disables_at_once_and_ends_the_delivery() -> None:
    endpoint = after([Answered(410, 1)])

    assert (endpoint.status, endpoint.disabled_reason) == (EndpointStatus.DISABLED, DisabledReason.GONE)
    assert (
        conclude(a_leased_delivery(endpoint), Answered(410, 1), NOW, POLICY, 0.5).status is DeliveryStatus.FAILED
    )


@pytest.mark.parametrize("status", [429, 502, 504])
def test_throttling_answer_makes_the_endpoint_rest(status: int) -> None:
    rests = [rest_s(after([Answered(status, 1)] * count)) for count in range(1, 10)]

    assert rests == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_other_failures_make_it_rest_from_the_third_in_a_row() -> None:
    judged = [after([TIMEOUT] * count) for count in range(1, 11)]

    assert [rest_s(endpoint) for endpoint in judged] == [0, 0, 1, 2, 4, 8, 16, 32, 60, 60]
    assert [endpoint.is_failing for endpoint in judged[:4]] == [False, False, True, True]


def test_success_forgets_the_failures_but_not_what_was_asked_for() -> None:
    throttled = after([Answered(429, 1, retry_after_s=50)])

    well = judge(throttled, Answered(200, 1), NOW, POLICY)

    assert (well.failures, well.failing_since) == (0, None)
    assert rest_s(well) == 50
    assert judge(well, Answered(200, 1), NOW, POLICY) is well


def test_endpoint_that_fails_for_days_is_disabled() -> None:
    later = NOW + timedelta(seconds=POLICY.disable_after_s)
    failing = after([TIMEOUT] * (POLICY.disable_after_failures - 1))

    assert judge(failing, TIMEOUT, later - timedelta(seconds=1), POLICY).status is EndpointStatus.ENABLED
    disabled = judge(failing, TIMEOUT, later, POLICY)

    assert (disabled.status, disabled.disabled_reason) == (EndpointStatus.DISABLED, DisabledReason.FAILING)
    assert disabled.failing_since == NOW


def test_few_failures_disable_nothing_however_old() -> None:
    once = after([TIMEOUT])

    assert judge(once, TIMEOUT, NOW + timedelta(days=365), POLICY).status is EndpointStatus.ENABLED


@pytest.mark.parametrize("status", [EndpointStatus.DISABLED, EndpointStatus.DELETED])
def test_late_answer_changes_nothing_of_an_endpoint_that_is_over(status: EndpointStatus) -> None:
    over = an_endpoint(status=status, disabled_reason=DisabledReason.GONE)

    for answer in (Answered(200, 1), Answered(410, 1), TIMEOUT):
        assert judge(over, answer, NOW, POLICY) is over


ANSWERS = st.one_of(
    st.builds(Answered, st.integers(100, 599), st.integers(0, 15_000), st.just(""), st.none() | st.floats(0, 1e6)),
    st.builds(Unanswered, st.just("timeout"), st.integers(0, 15_000)),
)


@given(answers=st.lists(st.tuples(ANSWERS, st.integers(0, 200_000)), max_size=40))
def test_endpoint_keeps_its_invariants_whatever_it_answers(answers: list[tuple[Answer, int]]) -> None:
    endpoint, now = an_endpoint(), NOW
    for answer, pause_s in answers:
        now += timedelta(seconds=pause_s)
        judged = judge(endpoint, answer, now, POLICY)
        moved = judged.status is not endpoint.status
        assert not moved or judged.status in ENDPOINT_TRANSITIONS[endpoint.status]
        assert (judged.failures == 0) == (judged.failing_since is None)
        assert (judged.status is EndpointStatus.DISABLED) == (judged.disabled_reason is not None)
        rest = (judged.resume_at or now) - now
        assert rest <= timedelta(seconds=max(POLICY.rest_cap_s, POLICY.retry_after_cap_s))
        endpoint = replace(judged)
