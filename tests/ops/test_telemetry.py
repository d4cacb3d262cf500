"""Logs: for programs in production, for people in development, and joined by the ids of what they are about."""

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context
from typing import Any

import pytest
import structlog

from ops import tracing
from ops.telemetry import PAYMENT_ID, REQUEST_ID, configure_logs
from tests.builders import a_payment
from tests.otlp import collecting
from workers.services import _follow

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PAYMENT = a_payment(traceparent=TRACEPARENT)


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
def test_line_for_programs_bears_the_ids_of_request_payment_and_trace(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")

    def of_a_request() -> str:
        REQUEST_ID.set("request-1")
        with _follow(PAYMENT, "charge"):
            return logged(capsys, reason="theft")

    with collecting() as collector:
        tracing.start_tracing("test", otlp_endpoint=collector.url, sample_ratio=0)
        line = json.loads(copy_context().run(of_a_request))
        tracing.stop_tracing()

    assert line["event"] == "card_lost"
    assert line["request_id"] == "request-1"
    assert line["payment_id"] == str(PAYMENT.id)
    assert line["trace_id"] == TRACEPARENT.split("-")[1]
    assert line["reason"] == "theft"


@pytest.mark.usefixtures("as_before")
def test_ids_end_with_what_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("json", "INFO")

    with _follow(PAYMENT, "charge"):
        assert PAYMENT_ID.get() == str(PAYMENT.id)

    assert set(json.loads(logged(capsys))) == {"event", "level", "timestamp"}


@pytest.mark.usefixtures("as_before")
def test_line_for_people_is_no_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("console", "INFO")

    line = logged(capsys, reason="theft")

    assert "card_lost" in line
    assert "theft" in line
    assert not line.startswith("{")
