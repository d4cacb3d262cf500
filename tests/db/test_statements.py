"""Statements add up line by line, whatever was posted when, in whatever parts they are read."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.unit_of_work import Database
from domain.errors import Forbidden, Invalid, NotFound
from domain.identity.model import Principal, Role
from domain.ids import UserId, uuid7
from domain.ledger.model import STRIPE_BALANCE, Journal, seller_payable
from domain.ledger.service import LedgerService
from domain.sellers.statements import Statement, StatementLine, StatementQuery, StatementService
from tests.builders import NOW, Shop, a_journal, principal
from tests.captured import captured
from tests.domain.fakes import FakeClock

THEN = NOW + timedelta(hours=1)
"""When is posted what stays committed: not on the day that the tests of reconciliation look at."""
FINANCE = Principal(UserId(uuid7()), Role.FINANCE)
EVERYTHING = StatementQuery(end=NOW + timedelta(days=1))
AGES_S = st.integers(0, 1000)


@pytest.fixture
def statements(database: Database) -> StatementService:
    return StatementService(database.each, FakeClock(), lines_at_once=2)


def owed(seller_id: UserId, amount_minor: int, age_s: int = 0, currency: str = "USD") -> Journal:
    """A journal by which so much more is owed to a seller."""
    return a_journal(
        (STRIPE_BALANCE, amount_minor),
        (seller_payable(seller_id), -amount_minor),
        created_at=THEN - timedelta(seconds=age_s),
        currency=currency,
    )


async def post(database: Database, *journals: Journal) -> None:
    async with database.begin() as tx:
        await tx.ledger.post(journals)
        await tx.commit()


async def parts_of(
    statements: StatementService, caller: Principal, query: StatementQuery, limit: int
) -> list[Statement]:
    """Read a statement part by part to its end."""
    parts = [await statements.part(caller, query, bookmark=None, limit=limit)]
    while (bookmark := parts[-1].next_part) is not None:
        parts.append(await statements.part(caller, query, bookmark=bookmark, limit=limit))
    return parts


def assert_adds_up(opening_minor: int, lines: Sequence[StatementLine]) -> int:
    """Each line's balance is the one before it and its amount; return the last one."""
    for line in lines:
        opening_minor += line.amount_minor
        assert line.balance_minor == opening_minor
    return opening_minor


@settings(max_examples=40)
@given(
    posted=st.lists(st.tuples(st.integers(-500, 500).filter(bool), AGES_S), max_size=12),
    bounds_s=st.tuples(AGES_S, AGES_S).map(sorted),
    limit=st.integers(1, 5),
    fold_at=st.integers(0, 12),
)
async def test_statement_adds_up_line_by_line_and_part_by_part(
    database: Database, posted: list[tuple[int, int]], bounds_s: list[int], limit: int, fold_at: int
) -> None:
    statements = StatementService(database.each, FakeClock(), lines_at_once=3)
    seller_id = (await Shop(database.begin).open()).seller.id
    caller = Principal(seller_id, Role.SELLER)
    journals = [owed(seller_id, *each) for each in posted]
    for number, journal in enumerate(journals):
        await post(database, journal)
        if number == fold_at:
            await LedgerService(database.begin).roll_up()
    newest_s, oldest_s = bounds_s
    query = StatementQuery(THEN - timedelta(seconds=oldest_s), THEN - timedelta(seconds=newest_s), "USD")

    parts = await parts_of(statements, caller, query, limit)
    whole, lines = await statements.whole(caller, query)

    expected = [(j.id, a) for j, (a, age_s) in zip(journals, posted, strict=True) if newest_s < age_s <= oldest_s]
    opening_minor = sum(amount for amount, age_s in posted if age_s > oldest_s)
    assert [(line.journal_id, line.amount_minor) for part in parts for line in part.lines] == expected
    assert parts[0].opening_minor == whole.opening_minor == opening_minor
    assert all(one.closing_minor == next_one.opening_minor for one, next_one in pairwise(parts))
    assert all(assert_adds_up(part.opening_minor, part.lines) == part.closing_minor for part in parts)
    assert parts[-1].closing_minor == sum(amount for amount, age_s in posted if age_s > newest_s)
    assert [line async for line in lines] == [line for part in parts for line in part.lines]


async def test_whole_statement_is_of_one_moment(
    database: Database, statements: StatementService, real_shop: Shop
) -> None:
    seller_id = real_shop.seller.id
    late = owed(seller_id, 7)
    before = [owed(seller_id, amount_minor) for amount_minor in (1, 2, 4)]
    async with database.begin() as slow:
        await slow.ledger.post([late])
        await post(database, *before)

        statement, lines = await statements.whole(principal(real_shop.seller), EVERYTHING)
        first = await anext(lines)
        await slow.commit()
    await post(database, owed(seller_id, 8))
    rest = [line async for line in lines]

    assert [line.amount_minor for line in (first, *rest)] == [1, 2, 4]
    assert assert_adds_up(statement.opening_minor, [first, *rest]) == 7
    again = await statements.part(principal(real_shop.seller), EVERYTHING, bookmark=None, limit=10)
    assert again.closing_minor == 1 + 2 + 4 + 7 + 8


async def test_parts_are_of_the_first_ones_moment(
    database: Database, statements: StatementService, real_shop: Shop
) -> None:
    """What is committed between two parts, first in line or last, is in neither, nor in their balances."""
    seller_id, caller = real_shop.seller.id, principal(real_shop.seller)
    late = owed(seller_id, 16)
    await post(database, *(owed(seller_id, amount_minor) for amount_minor in (1, 2)))
    async with database.begin() as slow:
        await slow.ledger.post([late])
        await post(database, *(owed(seller_id, amount_minor) for amount_minor in (4, 8)))

        first = await statements.part(caller, EVERYTHING, bookmark=None, limit=3)
        await slow.commit()
    await post(database, owed(seller_id, 32), owed(seller_id, 64, age_s=1))
    await LedgerService(database.begin).roll_up()
    second = await statements.part(caller, EVERYTHING, bookmark=first.next_part, limit=3)

    assert [line.amount_minor for line in (*first.lines, *second.lines)] == [1, 2, 4, 8]
    assert first.closing_minor == second.opening_minor == 1 + 2 + 4
    assert assert_adds_up(second.opening_minor, second.lines) == second.closing_minor == 1 + 2 + 4 + 8
    assert second.next_part is None
    anew = await parts_of(statements, caller, EVERYTHING, limit=3)
    assert [line.amount_minor for part in anew for line in part.lines] == [16, 1, 2, 4, 8, 32, 64]
    assert anew[-1].closing_minor == 127


async def test_other_accounts_and_currencies_are_left_out(
    database: Database, statements: StatementService, real_shop: Shop
) -> None:
    seller_id = real_shop.seller.id
    caller = principal(real_shop.seller)
    assert (await statements.part(caller, StatementQuery(), bookmark=None, limit=1)).period.currency == "USD"
    await post(database, owed(seller_id, 5, currency="EUR"), owed(real_shop.other_seller.id, 9, currency="EUR"))

    only = await statements.part(caller, EVERYTHING, bookmark=None, limit=10)
    assert (only.period.currency, only.closing_minor) == ("EUR", 5)
    await post(database, owed(seller_id, 3, currency="JPY"))
    with pytest.raises(Invalid, match="several currencies"):
        await statements.part(caller, EVERYTHING, bookmark=None, limit=10)


async def test_sellers_see_their_own_and_finance_sees_all(statements: StatementService, real_shop: Shop) -> None:
    own, of_other = (StatementQuery(seller_id=user.id) for user in (real_shop.seller, real_shop.other_seller))
    seller, buyer = principal(real_shop.seller), principal(real_shop.buyer)

    for caller, query in ((seller, own), (FINANCE, own), (FINANCE, of_other)):
        assert (await statements.part(caller, query, bookmark=None, limit=1)).period.seller_id == query.seller_id
    for refused, query, error in (
        (seller, of_other, NotFound),
        (FINANCE, StatementQuery(seller_id=real_shop.buyer.id), NotFound),
        (FINANCE, StatementQuery(), Invalid),
        (seller, StatementQuery(start=NOW, end=NOW - timedelta(seconds=1)), Invalid),
        (buyer, StatementQuery(), Forbidden),
    ):
        with pytest.raises(error):
            await statements.part(refused, query, bookmark=None, limit=1)


async def test_lines_say_what_caused_them(statements: StatementService, real_shop: Shop) -> None:
    payment = await captured(real_shop)

    (line,) = (await statements.part(principal(real_shop.seller), EVERYTHING, bookmark=None, limit=9)).lines

    assert (line.kind, line.payment_id, line.amount_minor, line.created_at) == ("charge", payment.id, 1949, NOW)
    assert line.source == f"ch_{payment.id}"
