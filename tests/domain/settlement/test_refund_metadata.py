"""A refund can be read back from the metadata under which it was made, as far as Stripe takes it."""

import pytest

from domain.ids import UserId, uuid7
from domain.ledger.postings import Part
from domain.refunds.model import Refund
from domain.settlement.refund_metadata import read_lines, refund_metadata
from tests.builders import a_payment, a_refund

SELLER = UserId(uuid7())


def refund_on(*lines: tuple[int, int]) -> Refund:
    return a_refund(a_payment(), lines=tuple(Part(line, SELLER, amount, 0) for line, amount in lines))


def lines_of_length(characters: int) -> list[tuple[int, int]]:
    """Return lines of seven characters each, and a last one of as many as are wanted besides."""
    whole, rest = divmod(characters, 8)
    lines = [(n, 10_000) for n in range(1, 10)]
    return [lines[n % 9] for n in range(whole)] + [(1, 10 ** (rest - 3))]


def test_refund_names_itself_its_payment_and_its_amount_by_line() -> None:
    refund = refund_on((1, 1999), (2, 501))

    metadata = refund_metadata(refund)

    own = {"payment_id": str(refund.payment_id), "refund_id": str(refund.id)}
    assert metadata == {**own, "lines": "1:1999,2:501"}
    assert read_lines(metadata) == ((1, 1999), (2, 501))


def test_refund_that_falls_on_no_line_names_none() -> None:
    assert refund_metadata(refund_on()).keys() == {"payment_id", "refund_id"}


@pytest.mark.parametrize(("characters", "is_named"), [(500, True), (501, False)])
def test_lines_are_named_and_read_as_far_as_stripe_takes_the_text(characters: int, *, is_named: bool) -> None:
    lines = lines_of_length(characters)
    text = ",".join(f"{line}:{amount}" for line, amount in lines)
    assert len(text) == characters

    assert refund_metadata(refund_on(*lines)).get("lines") == (text if is_named else None)
    assert read_lines({"lines": text}) == (tuple(lines) if is_named else ())
