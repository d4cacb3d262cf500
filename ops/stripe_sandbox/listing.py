"""Stripe's lists (https://docs.stripe.com/api/pagination): newest first, paged by object ids."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from ops.stripe_sandbox.errors import invalid, no_such
from ops.stripe_sandbox.forms import Params
from ops.stripe_sandbox.objects import Obj, Page
from ops.stripe_sandbox.params import check_known, integer, required, text
from ops.stripe_sandbox.store import Table

PAGING = ("limit", "starting_after", "ending_before", "created", "expand")
_BOUNDS = {"gte": 0, "gt": 1, "lte": 0, "lt": -1}


def page(
    table: Table,
    params: Params,
    url: str,
    encode: Callable[[Obj], str],
    *,
    filters: Iterable[str] = (),
    accept: Callable[[Obj], bool] | None = None,
    accepted: Iterable[str] = (),
    fixed: Mapping[str, str] | None = None,
) -> Page:
    """Return one page of a table.

    `filters` names the parameters that must equal a field; `accept` decides by the parameters named in
    `accepted`; `fixed` holds the values of fields that the path itself asks for.
    """
    names = tuple(filters)
    check_known(params, (*PAGING, *names, *accepted))
    limit = integer(params, "limit", 10, least=1, most=100)
    wanted = {name: required(params, name) for name in names if name in params}
    wanted |= fixed or {}

    def is_wanted(row: Obj) -> bool:
        fits = all(row.get(name) == value for name, value in wanted.items())
        return fits and (accept is None or accept(row))

    before = text(params, "ending_before")
    positions = _positions(table, params, wanted, newest_first=before is None)
    found = []
    for position in positions:
        row = table.rows[position]
        if is_wanted(row):
            found.append(row)
            if len(found) > limit:
                break
    has_more = len(found) > limit
    rows = found[:limit] if before is None else found[:limit][::-1]
    return Page(url, [encode(row) for row in rows], has_more)


def _positions(table: Table, params: Params, wanted: dict[str, str], *, newest_first: bool) -> Iterator[int]:
    least, most = time_bounds(params, "created")
    span = table.span(least, most)
    start, stop = span.start, span.stop
    after, before = text(params, "starting_after"), text(params, "ending_before")
    if after is not None and before is not None:
        raise invalid("You may only specify one of these parameters: ending_before, starting_after.")
    if after is not None:
        stop = min(stop, _place(table, after, "starting_after"))
    if before is not None:
        start = max(start, _place(table, before, "ending_before") + 1)
    places = _narrowest(table, wanted, range(start, stop))
    for position in reversed(places) if newest_first else places:
        created = table.rows[position]["created"]
        if (least is None or created >= least) and (most is None or created <= most):
            yield position


def _narrowest(table: Table, wanted: dict[str, str], span: range) -> range | list[int]:
    for name, value in wanted.items():
        if table.is_indexed(name):
            return [position for position in table.positions_where(name, value) if position in span]
    return span


def _place(table: Table, object_id: str, param: str) -> int:
    position = table.position(object_id)
    if position is None:
        raise no_such(table.name.partition("@")[0].removesuffix("s"), object_id, param=param, status=400)
    return position


def time_bounds(params: Params, name: str) -> tuple[int | None, int | None]:
    """Return the least and the greatest time that a parameter such as `created` allows."""
    times = params.get(name)
    if times is None:
        return None, None
    if not isinstance(times, dict):
        exact = integer(params, name, 0)
        return exact, exact
    check_known(times, _BOUNDS)
    bounds = {bound: integer(times, bound, 0) + _BOUNDS[bound] for bound in times}
    lower = [bounds[bound] for bound in ("gte", "gt") if bound in bounds]
    upper = [bounds[bound] for bound in ("lte", "lt") if bound in bounds]
    return max(lower, default=None), min(upper, default=None)
