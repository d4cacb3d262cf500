"""`marketflow sellers commission`."""

import asyncio
from collections.abc import Callable
from uuid import uuid4

import pytest
from typer.testing import Result

from db.pool import make_pool
from db.unit_of_work import Database
from domain.payments.service import PaymentService
from ops.errors import BadValue
from tests.builders import PAYMENT_POLICY, Shop, a_direct_request
from tests.domain.fakes import FakeClock, RecordingAnnouncer

Command = Callable[..., Result]


def test_commission_holds_for_what_is_accepted_afterwards(command: Command, database_url: str) -> None:
    async def accept(shop: Shop | None = None) -> tuple[Shop, int | None]:
        pool = make_pool(database_url, pool_size=1, statement_timeout_s=60)
        begin = Database(pool).begin
        try:
            opened = shop or await Shop(begin).open()
            payments = PaymentService(begin, RecordingAnnouncer(), FakeClock(), PAYMENT_POLICY)
            request = a_direct_request(opened.buyer.id, opened.seller.id)
            (accepted,) = await payments.accept([request])
            assert not isinstance(accepted, Exception)
            return opened, accepted.payment.commission_bps
        finally:
            await pool.close()

    shop, by_default = asyncio.run(accept())
    seller_id = str(shop.seller.id)

    rates, said = [by_default], []
    for bps in ("100", "0", "default"):
        result = command("sellers", "commission", seller_id, bps)
        assert result.exit_code == 0, result.output
        said.append(result.output.removeprefix(f"{seller_id} has ").strip())
        rates.append(asyncio.run(accept(shop))[1])

    assert rates == [250, 100, 0, 250]
    assert said == [
        "a commission of 100 basis points from now on.",
        "a commission of 0 basis points from now on.",
        "the default commission from now on.",
    ]


@pytest.mark.parametrize("bps", ["2.5", "-1", "10001", "much"])
def test_what_is_no_commission_is_refused(command: Command, bps: str) -> None:
    result = command("sellers", "commission", str(uuid4()), "--", bps)

    assert result.exit_code != 0
    assert isinstance(result.exception, BadValue | SystemExit)


def test_seller_who_is_not_there_is_named(command: Command) -> None:
    result = command("sellers", "commission", str(uuid4()), "100")

    assert isinstance(result.exception, BadValue)
