"""What tables have in common."""

from sqlalchemy import Column, DateTime, Integer, MetaData

metadata = MetaData()

AT = DateTime(timezone=True)


def work_columns() -> list[Column[object]]:
    """Return the columns of rows that wait for work: when they are due, to be announced, and until when leased."""
    return [
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("due_at", AT),
        Column("publish_at", AT),
        Column("locked_until", AT),
    ]
