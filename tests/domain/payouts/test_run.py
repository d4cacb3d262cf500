"""Scheduled runs: one an interval, whoever asks and however often, and it goes on where it was."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.errors import DomainError, Refused, Unavailable
from domain.ids import UserId
from domain.payouts.model import Destination, Payout, PayoutOrigin, Release
from domain.payouts.run import PayoutRun, RunPolicy
from domain.payouts.service import PayoutPolicy
from domain.work import Work
from tests.builders import NOW, Shop
from tests.captured import captured
from tests.domain.fakes import FakeClock, FakePayouts, Memory, PayoutRunRow, RecordingAnnouncer
from tests.paid_out import earned, earned_by

POLICY = PayoutPolicy(direct_hold_s=0, republish_after_s=30, least_minor={"USD": 1000})
HOURLY = RunPolicy(interval_s=3600, lease_s=60, budget_s=30)
Refusals = list[tuple[UserId, str]]


@pytest.fixture
def refusals() -> Refusals:
    return []


@pytest.fixture
def run(memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, refusals: Refusals) -> PayoutRun:
    """A process that makes the runs, in a marketplace that had one long ago."""
    memory.state.payout_runs[NOW - timedelta(days=30)] = PayoutRunRow(NOW, is_finished=True)
    return a_process(memory, announcer, clock, refusals)


def a_process(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, refusals: Refusals | None = None
) -> PayoutRun:
    told = [] if refusals is None else refusals
    return PayoutRun(
        memory.begin,
        announcer,
        clock,
        POLICY,
        HOURLY,
        page_size=1,
        on_failure=lambda seller_id, refused: told.append((seller_id, refused.message)),
    )


@pytest.fixture
def enabled(memory: Memory, shop: Shop) -> None:
    """Both sellers are known to Stripe."""
    for seller in (shop.seller, shop.other_seller):
        memory.state.destinations[seller.id] = Destination(seller.id, f"acct_{seller.id}", payouts_enabled=True)


async def both_earn(shop: Shop) -> None:
    for seller in (shop.seller, shop.other_seller):
        await earned_by(shop, seller)


@pytest.mark.parametrize(
    ("interval_s", "ago"),
    [(3600, timedelta(minutes=17)), (86_400, timedelta(hours=9, minutes=17)), (60, timedelta())],
)
def test_intervals_are_counted_from_midnight(interval_s: float, ago: timedelta) -> None:
    now = NOW.replace(hour=9, minute=17, second=0, microsecond=0)

    assert RunPolicy(interval_s).run_at(now) == now - ago


@pytest.mark.usefixtures("enabled")
async def test_run_pays_out_every_seller_and_currency_with_enough(
    run: PayoutRun, memory: Memory, announcer: RecordingAnnouncer, shop: Shop
) -> None:
    await earned(shop)
    await earned(shop, currency="EUR", amount_minor=500)
    await captured(shop, await shop.order(shop.other_product))

    assert await run.run() == 2

    made = {(p.seller_id, p.currency): p for p in memory.state.payouts.values()}
    assert made.keys() == {(shop.seller.id, "USD"), (shop.seller.id, "EUR")}
    assert {p.origin for p in made.values()} == {PayoutOrigin.SCHEDULED}
    assert {p.run_at for p in made.values()} == {HOURLY.run_at(NOW)}
    assert sorted(announcer.announced[Work.PAYOUTS]) == sorted(memory.state.payouts)


@pytest.mark.usefixtures("enabled")
async def test_interval_has_one_run_though_more_becomes_available(
    run: PayoutRun, clock: FakeClock, shop: Shop
) -> None:
    made = []
    for _ in range(2):
        await earned(shop)
        made.append(await run.run())
    clock.advance(3600)
    made.append(await run.run())

    assert made == [1, 0, 1]


@pytest.mark.usefixtures("enabled")
async def test_first_run_of_all_waits_for_the_next_interval(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, shop: Shop
) -> None:
    run = a_process(memory, announcer, clock)
    await earned(shop)

    assert await run.run() == 0
    clock.advance(3600)
    assert await run.run() == 1


@pytest.mark.usefixtures("enabled")
async def test_no_run_is_made_while_payouts_are_paused(
    run: PayoutRun, memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, shop: Shop
) -> None:
    paused = PayoutRun(memory.begin, announcer, clock, replace(POLICY, is_paused=True), HOURLY)
    await earned(shop)

    assert await paused.run() == 0
    assert await run.run() == 1, "the interval still has its run"


@pytest.mark.usefixtures("enabled")
async def test_run_is_not_begun_while_another_process_has_it(
    run: PayoutRun, memory: Memory, clock: FakeClock, shop: Shop
) -> None:
    await earned(shop)
    async with memory.begin() as tx:
        assert await tx.payout_runs.claim(HOURLY.run_at(NOW), NOW, NOW + timedelta(seconds=60))
        await tx.commit()

    assert await run.run() == 0
    clock.advance(60)
    assert await run.run() == 1


@pytest.mark.usefixtures("enabled")
async def test_run_goes_on_behind_the_last_seller_when_its_budget_is_spent(
    memory: Memory, run: PayoutRun, clock: FakeClock, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await both_earn(shop)
    read = FakePayouts.available

    async def slow(self: FakePayouts, seller_id: UserId, release: Release) -> dict[str, int]:
        clock.advance(30)
        return await read(self, seller_id, release)

    monkeypatch.setattr(FakePayouts, "available", slow)

    assert await run.run() == 1
    assert await run.run() == 1
    assert await run.run() == 0
    sellers = sorted([shop.seller.id, shop.other_seller.id])
    assert [payout.seller_id for payout in memory.state.payouts.values()] == sellers
    assert len({payout.run_at for payout in memory.state.payouts.values()}) == 1


@pytest.mark.usefixtures("enabled")
async def test_process_whose_lease_was_lost_pays_nobody_out_any_more(
    memory: Memory, run: PayoutRun, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await both_earn(shop)
    read = FakePayouts.available

    async def overtaken(self: FakePayouts, seller_id: UserId, release: Release) -> dict[str, int]:
        runs = self._state.payout_runs
        row = runs[HOURLY.run_at(NOW)]
        runs[HOURLY.run_at(NOW)] = replace(row, locked_until=row.locked_until + timedelta(seconds=1))
        return await read(self, seller_id, release)

    monkeypatch.setattr(FakePayouts, "available", overtaken)

    assert await run.run() == 0
    assert memory.state.payouts == {}


@pytest.mark.usefixtures("enabled")
@pytest.mark.parametrize("failure", [Refused("a constraint of payouts"), Unavailable("it takes too long")])
async def test_seller_whom_the_database_does_not_pay_out_holds_nobody_up(
    memory: Memory,
    run: PayoutRun,
    shop: Shop,
    refusals: Refusals,
    monkeypatch: pytest.MonkeyPatch,
    failure: DomainError,
) -> None:
    await both_earn(shop)
    first, second = sorted([shop.seller.id, shop.other_seller.id])
    draft = FakePayouts.draft

    async def refuse(self: FakePayouts, payout: Payout, *args: object, **kwargs: object) -> Payout | None:
        if payout.seller_id == first:
            raise failure
        return await draft(self, payout, *args, **kwargs)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(FakePayouts, "draft", refuse)

    assert await run.run() == 1
    assert [payout.seller_id for payout in memory.state.payouts.values()] == [second]
    assert refusals == [(first, failure.message)]


@pytest.mark.usefixtures("enabled")
async def test_seller_whom_the_database_does_not_pay_out_waits_for_the_next_run(
    memory: Memory,
    run: PayoutRun,
    clock: FakeClock,
    shop: Shop,
    refusals: Refusals,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await both_earn(shop)
    first, second = sorted([shop.seller.id, shop.other_seller.id])
    draft = FakePayouts.draft

    async def refuse_late(self: FakePayouts, payout: Payout, *args: object, **kwargs: object) -> Payout | None:
        if payout.seller_id == first:
            clock.advance(30)
            raise Refused("a constraint of payouts")
        return await draft(self, payout, *args, **kwargs)  # type: ignore[arg-type]  # handed on as they are

    monkeypatch.setattr(FakePayouts, "draft", refuse_late)

    assert [await run.run(), await run.run()] == [0, 1]
    assert [payout.seller_id for payout in memory.state.payouts.values()] == [second]
    assert refusals == [(first, "a constraint of payouts")]


@pytest.mark.usefixtures("enabled")
async def test_run_pays_out_the_least_amount_and_nothing_that_stripe_does_not_move(
    run: PayoutRun, memory: Memory, shop: Shop
) -> None:
    await earned(shop, amount_minor=1116)  # less a commission of 0.28 and a fee of 0.88
    await earned(shop, amount_minor=100, fee_minor=93, currency="KWD")

    assert await run.run() == 1

    assert [(p.amount_minor, p.currency) for p in memory.state.payouts.values()] == [(1000, "USD")]


@pytest.mark.parametrize("destination", [None, "disabled"])
async def test_seller_whom_stripe_does_not_pay_is_passed_over(
    run: PayoutRun, memory: Memory, shop: Shop, destination: str | None
) -> None:
    await earned(shop)
    if destination:
        memory.state.destinations[shop.seller.id] = Destination(shop.seller.id, "acct", payouts_enabled=False)

    assert await run.run() == 0


@pytest.mark.usefixtures("enabled")
async def test_suspended_seller_is_paid_out_once_it_is_reinstated(
    memory: Memory, run: PayoutRun, shop: Shop, clock: FakeClock
) -> None:
    await earned(shop)
    async with memory.begin() as tx:
        await tx.users.set_suspended(shop.seller.id, clock.now())
        await tx.commit()
    assert await run.run() == 0

    async with memory.begin() as tx:
        await tx.users.set_suspended(shop.seller.id, None)
        await tx.commit()
    clock.advance(3600)

    assert await run.run() == 1


@pytest.mark.usefixtures("enabled")
async def test_run_waits_until_the_hold_is_over(
    memory: Memory, announcer: RecordingAnnouncer, clock: FakeClock, shop: Shop
) -> None:
    run = PayoutRun(memory.begin, announcer, clock, replace(POLICY, direct_hold_s=5400), HOURLY)
    await earned(shop)

    made = []
    for _ in range(3):
        made.append(await run.run())
        clock.advance(3600)

    assert made == [0, 0, 1]
