import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from ops import migrate


async def test_schema_equals_the_tables_in_the_code(owner_url: str) -> None:
    await asyncio.to_thread(migrate.check, owner_url)


async def test_upgrading_again_changes_nothing(owner_url: str, owner_engine: AsyncEngine) -> None:
    rows = text("SELECT (SELECT max(version_num) FROM alembic_version), (SELECT count(*) FROM legal_transitions)")
    async with owner_engine.connect() as connection:
        before = (await connection.execute(rows)).one()

        await asyncio.to_thread(migrate.upgrade, owner_url)

        assert (await connection.execute(rows)).one() == before
    await asyncio.to_thread(migrate.check, owner_url)
