"""What of a refund stands in its metadata at Stripe, so that a database that has lost it can book it as it was."""

import re
from collections.abc import Mapping

from domain.refunds.model import Refund

_MAX_VALUE = 500
"""Stripe takes at most 50 keys, of 40 characters each, with values of 500 (docs.stripe.com/api/metadata)."""
_LINES = "lines"
_LINE = re.compile(r"([1-9][0-9]{0,4}):([1-9][0-9]{0,11})", re.ASCII)


def refund_metadata(refund: Refund) -> dict[str, str]:
    """Return the metadata under which a refund is made: whose it is, and its amount by line where that fits."""
    metadata = {"payment_id": str(refund.payment_id), "refund_id": str(refund.id)}
    lines = ",".join(f"{part.line}:{part.amount_minor}" for part in refund.lines)
    return {**metadata, _LINES: lines} if 0 < len(lines) <= _MAX_VALUE else metadata


def read_lines(metadata: object) -> tuple[tuple[int, int], ...]:
    """Return the number and amount of each line that metadata names; none for what is no such text.

    Anybody with the dashboard may have written it: that it fits the refund and the order is for the caller to see.
    """
    text = metadata.get(_LINES) if isinstance(metadata, Mapping) else None
    if not isinstance(text, str) or len(text) > _MAX_VALUE:
        return ()
    found = [_LINE.fullmatch(each) for each in text.split(",")]
    lines = tuple((int(match[1]), int(match[2])) for match in found if match is not None)
    return lines if len(lines) == len(found) else ()
