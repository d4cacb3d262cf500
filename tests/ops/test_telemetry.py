"""Logs: for programs in production, for people in development, and joined by the ids of what they are about."""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import pytest
import structlog

from domain.ids import UserId, uuid7
from domain.notifications.model import Origin
from ops import tracing
from ops.telemetry import PAYMENT_ID, REQUEST_ID, configure_logs
from tests.builders import a_leased_delivery, a_payment, a_payout, a_refund, a_seller_account, an_endpoint
from tests.otlp import collecting
from workers.following import follow_account, follow_delivery, follow_payment, follow_payout, follow_refund

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAYMENT = a_payment(traceparent=TRACEPARENT, request_id="request-1")
REFUND = a_refund(PAYMENT, request_id="request-2")
PAYOUT = a_payout(request_id="request-2")
ACCOUNT = a_seller_account(request_id="request-2")
ORIGIN = Origin(PAYMENT.id, TRACEPARENT, "request-1")


@pytest.fixture
def as_before() -> Iterator[None]:
    """What a process logs with, unchanged by the test."""
    root = logging.getLogger()
    handlers, level, configuration = root.handlers, root.level, structlog.get_config()
    yield
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**configuration)


def logged(capsys: pytest.CaptureFixture[str], **facts: Any) -> str:
    structlog.get_logger("test").warning("card_lost", **facts)
    return capsys.readouterr().err


@pytest.mark.usefixtures("as_before")
def test_line_of_the_domain_bears_the_id_of_its_payment_and_nothing_else_of_the_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("json", "INFO")

    logging.getLogger("domain").error("payment_odd", extra={"payment_id": "pay-1", "card": "4242"})

    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"], line["payment_id"]) == ("payment_odd", "error", "pay-1")
    assert "card" not in line


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    "about",
    [
        lambda: follow_payment(PAYMENT, "charge"),
        lambda: follow_delivery(a_leased_delivery(an_endpoint(UserId(uuid7())), origin=ORIGIN)),
    ],
    ids=["payment", "delivery"],
)
def test_line_for_programs_bears_the_ids_of_request_payment_and_trace(
    capsys: pytest.CaptureFixture[str], about: Callable[[], AbstractContextManager[None]]
) -> None:
    configure_logs("json", "INFO")

    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        with about():
            line = json.loads(logged(capsys, reason="theft"))
        tracing.stop_tracing()

    assert line["event"] == "card_lost"
    assert line["request_id"] == "request-1"
    assert line["payment_id"] == str(PAYMENT.id)
    assert line["trace_id"] == TRACEPARENT.split("-")[1]
    assert line["reason"] == "theft"


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize(
    ("about", "ids"),
    [
        (
            lambda: follow_refund(REFUND),
            {"request_id": "request-2", "payment_id": str(PAYMENT.id), "refund_id": str(REFUND.id)},
        ),
        (lambda: follow_payout(PAYOUT), {"request_id": "request-2", "payout_id": str(PAYOUT.id)}),
        (lambda: follow_payout(replace(PAYOUT, request_id=None)), {"payout_id": str(PAYOUT.id)}),
        (lambda: follow_account(ACCOUNT), {"request_id": "request-2", "seller_id": str(ACCOUNT.seller_id)}),
    ],
    ids=["refund", "payout", "scheduled payout", "account"],
)
def test_line_about_what_follows_a_payment_bears_the_ids_of_its_own_request(
    capsys: pytest.CaptureFixture[str], about: Callable[[], AbstractContextManager[None]], ids: dict[str, str]
) -> None:
    configure_logs("json", "INFO")

    with follow_payment(PAYMENT, "charge"), about():
        line = json.loads(logged(capsys))

    assert {name: value for name, value in line.items() if name.endswith("_id")} == ids
    assert set(json.loads(logged(capsys))) == {"event", "level", "timestamp"}


@pytest.mark.usefixtures("as_before")
def test_ids_end_with_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")

    with follow_payment(PAYMENT, "charge"):
        assert (PAYMENT_ID.get(), REQUEST_ID.get()) == (str(PAYMENT.id), "request-1")
        with follow_payment(a_payment(), "charge"):
            assert REQUEST_ID.get() is None

    assert set(json.loads(logged(capsys))) == {"event", "level", "timestamp"}


@pytest.mark.usefixtures("as_before")
def test_line_for_people_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "INFO")

    line = logged(capsys, reason="theft")

    assert "card_lost" in line
    assert "theft" in line
    assert not line.startswith("{")
