"""The whole stack again, with one setting changed: the broker is RabbitMQ."""

from collections.abc import Iterator

import pytest

from ops.stack import Stack
from ops.stack.plan import PROGRAMS
from tests.e2e.conftest import (
    IMPATIENT,
    PATIENT,
    books_agree,
    buyer,
    market,
    order,
    product,
    sandbox,
    seller,
    without_given_servers,
)
from tests.rabbitmq import STACK, RabbitNode

SMALL = {"MARKETFLOW_API_WORKERS": "1", "MARKETFLOW_WORKER_PROCESSES": "1"}
"""A second stack beside that of the other tests; how many processes do the work is no matter here."""

__all__ = ["books_agree", "buyer", "market", "order", "product", "sandbox", "seller"]


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, rabbitmq: RabbitNode) -> Iterator[Stack]:
    settings = {**IMPATIENT, **PATIENT, **SMALL, "MARKETFLOW_BROKER_URL": rabbitmq.url(STACK)}
    directory = tmp_path_factory.mktemp("market") / "var"
    with without_given_servers(), Stack(directory, settings, [p for p in PROGRAMS if p != "flower"]) as stack:
        yield stack
