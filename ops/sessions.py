"""A database for a short errand of an operator."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from psycopg.errors import UndefinedTable

from db.clock import DatabaseClock
from db.pool import make_pool
from db.unit_of_work import Database
from domain.errors import Conflict, DomainError, Invalid, NotFound
from domain.ids import correct_time
from ops.errors import BadValue, Denied, OperatorError
from ops.settings import Settings

Result = TypeVar("Result")

_STATEMENT_TIMEOUT_S = 600.0


def with_database(settings: Settings, errand: Callable[[Database], Awaitable[Result]]) -> Result:
    """Run an errand on MARKETFLOW_DATABASE_URL.

    Raises:
        OperatorError: the URL is missing, or the domain refuses; BadValue and Denied where it looked.

    """
    if not settings.database_url:
        raise OperatorError("MARKETFLOW_DATABASE_URL is not set (the application's role).")

    async def run() -> Result:
        clock = DatabaseClock(on_correction=correct_time)
        pool = make_pool(settings.database_url, pool_size=2, statement_timeout_s=_STATEMENT_TIMEOUT_S, clock=clock)
        try:
            await pool.warm()
            return await errand(Database(pool, clock=clock))
        finally:
            await pool.close()

    try:
        return asyncio.run(run())
    except UndefinedTable as error:
        raise OperatorError("The database has no schema, or an older one: marketflow migrate") from error
    except DomainError as error:
        # A client is told no more than that; an operator is to see which role, password or name is wrong.
        cause = str(error.__cause__ or "").strip().partition("\n")[0]
        raise _kind_of(error)(f"{error.message}: {cause}" if cause else error.message) from error


def _kind_of(error: DomainError) -> type[OperatorError]:
    match error:
        case Invalid() | NotFound():
            return BadValue
        case Conflict():
            return Denied
        case _:
            return OperatorError
