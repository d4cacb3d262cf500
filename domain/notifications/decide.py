"""The rules of delivering: what an answer means for the delivery and for its endpoint. Pure; no I/O.

By the Standard Webhooks specification: 2xx alone is success, 410 means to stop, 429, 502 and 504 to slow down.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from domain.notifications.model import (
    FAILING_FROM,
    Answer,
    Answered,
    Attempt,
    Conclusion,
    DeliveryPolicy,
    DeliveryStatus,
    DisabledReason,
    EndpointStatus,
    LeasedDelivery,
    WebhookEndpoint,
)

_SUCCESS = range(200, 300)
_THROTTLING = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.GATEWAY_TIMEOUT})


def conclude(
    delivery: LeasedDelivery, answer: Answer, now: datetime, policy: DeliveryPolicy, draw: float
) -> Conclusion:
    """Return what an answer leaves of a delivery. `draw` is drawn evenly from 0 to 1, for the jitter.

    The waits grow by the schedule; an answer that says when to come back is not asked before.
    """
    attempt = _attempt(delivery, answer, now)
    if is_success(answer):
        return Conclusion(delivery, DeliveryStatus.DELIVERED, None, attempt)
    if delivery.tries >= len(policy.schedule_s) or _is_gone(answer):
        return Conclusion(delivery, DeliveryStatus.FAILED, None, attempt)
    wait_s = policy.schedule_s[delivery.tries] * (1 + policy.jitter * (2 * draw - 1))
    wait_s = max(wait_s, _retry_after_s(answer, policy))
    return Conclusion(delivery, DeliveryStatus.PENDING, now + timedelta(seconds=wait_s), attempt)


def judge(endpoint: WebhookEndpoint, answer: Answer, now: datetime, policy: DeliveryPolicy) -> WebhookEndpoint:
    """Return what an answer makes of its endpoint; one that is not enabled stays as it is."""
    if endpoint.status is not EndpointStatus.ENABLED:
        return endpoint
    if is_success(answer):
        if not endpoint.failures:
            return endpoint
        return replace(endpoint, failures=0, failing_since=None, updated_at=now)
    failed = replace(
        endpoint,
        failures=endpoint.failures + 1,
        failing_since=endpoint.failing_since or now,
        resume_at=_later(endpoint.resume_at, now + timedelta(seconds=_rest_s(endpoint, answer, policy))),
        updated_at=now,
    )
    if _is_gone(answer):
        return _disabled(failed, DisabledReason.GONE)
    too_long = now - (failed.failing_since or now) >= timedelta(seconds=policy.disable_after_s)
    if too_long and failed.failures >= policy.disable_after_failures:
        return _disabled(failed, DisabledReason.FAILING)
    return failed


def is_success(answer: Answer) -> bool:
    """Tell whether the endpoint took the delivery."""
    return isinstance(answer, Answered) and answer.status in _SUCCESS


def _is_gone(answer: Answer) -> bool:
    return isinstance(answer, Answered) and answer.status == HTTPStatus.GONE


def _rest_s(endpoint: WebhookEndpoint, answer: Answer, policy: DeliveryPolicy) -> float:
    """Return how long an endpoint is left alone: longer the longer it fails, and at once when it says so."""
    throttled = isinstance(answer, Answered) and answer.status in _THROTTLING
    failures = endpoint.failures + 1
    exponent = failures - (1 if throttled else FAILING_FROM)
    rest_s = min(2.0 ** min(exponent, 16), policy.rest_cap_s) if exponent >= 0 else 0.0
    return max(rest_s, _retry_after_s(answer, policy))


def _retry_after_s(answer: Answer, policy: DeliveryPolicy) -> float:
    asked_s = answer.retry_after_s if isinstance(answer, Answered) else None
    return min(max(asked_s or 0.0, 0.0), policy.retry_after_cap_s)


def _disabled(endpoint: WebhookEndpoint, reason: DisabledReason) -> WebhookEndpoint:
    return replace(endpoint, status=EndpointStatus.DISABLED, disabled_reason=reason, resume_at=None)


def _later(one: datetime | None, other: datetime) -> datetime:
    return max(one, other) if one is not None else other


def _attempt(delivery: LeasedDelivery, answer: Answer, now: datetime) -> Attempt:
    if isinstance(answer, Answered):
        return Attempt(
            number=delivery.attempts,
            at=now,
            latency_ms=answer.latency_ms,
            response_status=answer.status,
            response_start=answer.body_start,
        )
    return Attempt(number=delivery.attempts, at=now, latency_ms=answer.latency_ms, error=answer.reason)
