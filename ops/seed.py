"""The users that an embedded stack begins with: one of each role."""

from collections.abc import Mapping

from db.credentials import credential_rules
from db.unit_of_work import Database
from domain.errors import Conflict
from domain.identity.model import Role
from domain.identity.service import IdentityService
from ops.sessions import with_database
from ops.settings import Settings
from ops.stack.info import Credentials


def seed(settings: Settings, users: Mapping[str, Credentials]) -> None:
    """Create the users that are not there yet; safe to repeat."""

    async def errand(database: Database) -> None:
        rules = credential_rules(min_password_chars=settings.min_password_chars)
        identity = IdentityService(database.begin, rules, database.clock)
        for role, user in users.items():
            try:
                await identity.create(user.email, user.password, Role(role))
            except Conflict:
                continue

    with_database(settings, errand)
