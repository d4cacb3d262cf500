"""What Stripe answers, read: one object, or a whole list. What cannot be read is an answer too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from domain.settlement.answers import Refusal, Throttled, Unsure
from domain.settlement.stripe_objects import UNREADABLE, JsonObject
from workers.stripe_calls import RawAnswer, StripeCalls

Read = TypeVar("Read")
Reader = Callable[[JsonObject], Read]

_PAGE = 100


def read_object(raw: RawAnswer, read: Reader[Read]) -> Read | Refusal | Unsure | Throttled:
    """Read the object that Stripe answered with; Unsure where it cannot be read."""
    if not isinstance(raw, Mapping):
        return raw
    try:
        return read(raw)
    except UNREADABLE as error:
        return Unsure(f"an object that cannot be read: {error!r}")


async def read_list(
    calls: StripeCalls,
    path: str,
    params: Mapping[str, Any],
    read: Reader[Read],
    *,
    account: str | None = None,
    max_pages: int = 10,
) -> Sequence[Read] | Unsure | Throttled:
    """Return a whole list, page by page, if given that of a connected `account`.

    Absence needs all of a list: it is Unsure where a page or an object cannot be read, where it has more than
    `max_pages` of a hundred objects, and where Stripe refuses to list anything, which is no refusal of an object.
    """
    asked = {**params, "limit": _PAGE}
    found: list[Read] = []
    for _ in range(max_pages):
        page = await calls.call("get", path, asked, account=account)
        if not isinstance(page, Mapping):
            return Unsure("the list was refused") if isinstance(page, Refusal) else page
        if not isinstance(page.get("data"), list):
            return Unsure("a list that cannot be read")
        try:
            found += [read(raw) for raw in page["data"]]
            if not page["has_more"]:
                return found
            asked["starting_after"] = page["data"][-1]["id"]
        except (*UNREADABLE, IndexError) as error:
            return Unsure(f"a list that cannot be read: {error!r}")
    return Unsure("the list does not end")
