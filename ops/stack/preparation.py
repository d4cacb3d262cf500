"""What happens between the start of the storage and the start of the programs that use it."""

import importlib
from collections.abc import Callable

from ops.stack import postgres
from ops.stack.plan import Plan


def prepare_database(plan: Plan, on_progress: Callable[[str], None]) -> None:
    """Create roles and database in an embedded cluster, migrate and, where the API runs, seed the users.

    A database that was given without its owner's address is taken as it is.
    """
    from ops import migrate  # noqa: PLC0415 - Alembic is slow to import; by now the servers start meanwhile

    if "postgres" in plan.programs:
        postgres.bootstrap(plan.layout)
    if plan.settings.migration_database_url:
        on_progress("migrating")
        migrate.upgrade(plan.settings.migration_database_url)
    if "api" in plan.programs:
        on_progress("seeding")
        importlib.import_module("ops.seed").seed(plan.settings, plan.secrets.users)
