"""The unit of work as the services see it: rollback by default, commit explicit."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

Repositories = TypeVar("Repositories")

# A context names the repositories that it uses in a Protocol of its own; leaving the block without commit
# rolls back. No network call belongs inside the block.
Begin = Callable[[], AbstractAsyncContextManager[Repositories]]


class Transaction(Protocol):
    """One database transaction."""

    async def commit(self) -> None:
        """Make the changes durable.

        Errors: Refused when an invariant of the database would break; Unavailable when the database is out of
        reach, and then the outcome may be either.
        """
        ...
