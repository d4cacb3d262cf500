"""The objects in memory: listable tables and plain bags, each telling the journal what changed."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Protocol

from ops.stripe_sandbox.funds import Funds
from ops.stripe_sandbox.objects import Obj

_created = itemgetter("created")


class Note(Protocol):
    """Take note that a row of a collection is now this (None: it is gone)."""

    def __call__(self, collection: str, key: str, row: Any) -> None:
        """Take the note."""
        ...


class Table:
    """Objects of one kind in the order of their creation, found by id and by a few indexed fields."""

    def __init__(self, name: str, note: Note, *indexed: str) -> None:
        self.name = name
        self.rows: list[Obj] = []
        self._note = note
        self._positions: dict[str, int] = {}
        self._indexes: dict[str, dict[str, list[int]]] = {field: {} for field in indexed}
        self._latest = 0
        self._is_chronological = True

    def get(self, object_id: str) -> Obj | None:
        """Return the object as it is now, or None."""
        position = self._positions.get(object_id)
        return None if position is None else self.rows[position]

    def put(self, row: Obj) -> Obj:
        """Add an object, or replace it by its newer form; indexed fields never change."""
        self.restore(row["id"], row)
        self._note(self.name, row["id"], row)
        return row

    def restore(self, key: str, row: Obj) -> None:
        """Put a row that the journal knows already."""
        position = self._positions.get(key)
        if position is not None:
            self.rows[position] = row
            return
        self._positions[key] = position = len(self.rows)
        self.rows.append(row)
        if row["created"] < self._latest:
            self._is_chronological = False
        self._latest = row["created"]
        for field, index in self._indexes.items():
            value = row.get(field)
            if value is not None:
                index.setdefault(value, []).append(position)

    def position(self, object_id: str) -> int | None:
        """Return the object's place in the order of creation, or None."""
        return self._positions.get(object_id)

    def is_indexed(self, field: str) -> bool:
        """Tell whether `positions_where` serves this field."""
        return field in self._indexes

    def positions_where(self, field: str, value: str) -> list[int]:
        """Return the places of the objects whose indexed field has this value, oldest first."""
        return self._indexes[field].get(value, [])

    def where(self, field: str, value: str) -> list[Obj]:
        """Return the objects whose indexed field has this value, oldest first."""
        return [self.rows[position] for position in self.positions_where(field, value)]

    def span(self, least: int | None, most: int | None) -> range:
        """Return the places that can hold objects created from `least` to `most`."""
        start, stop = 0, len(self.rows)
        # A clock that was set back breaks the order; then every row is looked at.
        if self._is_chronological and least is not None:
            start = bisect_left(self.rows, least, key=_created)
        if self._is_chronological and most is not None:
            stop = bisect_right(self.rows, most, key=_created)
        return range(start, stop)

    def live(self) -> Iterator[tuple[str, Obj]]:
        """Yield every id and object, oldest first."""
        return ((row["id"], row) for row in self.rows)

    def clear(self) -> None:
        """Forget everything."""
        self.rows.clear()
        self._positions.clear()
        for index in self._indexes.values():
            index.clear()
        self._latest = 0
        self._is_chronological = True


class Bag:
    """Rows by key, in the order of their first arrival, that can be removed."""

    def __init__(self, name: str, note: Note) -> None:
        self.name = name
        self.rows: dict[str, Any] = {}
        self._note = note

    def get(self, key: str) -> Any:
        """Return the row, or None."""
        return self.rows.get(key)

    def put(self, key: str, row: Any) -> None:
        """Add or replace a row."""
        self.rows[key] = row
        self._note(self.name, key, row)

    def remove(self, key: str) -> None:
        """Remove a row if it is there."""
        if self.rows.pop(key, None) is not None:
            self._note(self.name, key, None)

    def restore(self, key: str, row: Any) -> None:
        """Put or remove a row that the journal knows already."""
        if row is None:
            self.rows.pop(key, None)
        else:
            self.rows[key] = row

    def live(self) -> Iterator[tuple[str, Any]]:
        """Yield every key and row, oldest first."""
        return iter(self.rows.items())

    def clear(self) -> None:
        """Forget everything."""
        self.rows.clear()


class Books:
    """The money of one account: what moves it, each kind in a table of its own."""

    def __init__(self, note: Note, account: str = "") -> None:
        of_account = f"@{account}" if account else ""
        self.charges = Table(f"charges{of_account}", note, "payment_intent")
        self.refunds = Table(f"refunds{of_account}", note, "charge", "payment_intent")
        self.balance_transactions = Table(f"balance_transactions{of_account}", note, "source")
        self.payouts = Table(f"payouts{of_account}", note)
        self.funds = Funds(self.balance_transactions)

    @property
    def tables(self) -> dict[str, Table]:
        """Return every table by its name."""
        return {each.name: each for each in vars(self).values() if isinstance(each, Table)}


class Store(Books):
    """All collections of the sandbox: the platform's books and all else that it has, and its accounts' books."""

    def __init__(self, note: Note) -> None:
        super().__init__(note)
        self._note = note
        self._books: dict[str, Books] = {}
        self.payment_intents = Table("payment_intents", note)
        self.disputes = Table("disputes", note, "charge", "payment_intent")
        self.transfers = Table("transfers", note, "destination", "transfer_group", "source_transaction")
        self.transfer_reversals = Table("transfer_reversals", note, "transfer")
        self.accounts = Table("accounts", note)
        self.events = Table("events", note)
        self.cards = Bag("cards", note)
        """The test card behind each payment method id."""
        self.keys = Bag("keys", note)
        """What each idempotency key remembers."""
        self.timers = Bag("timers", note)
        """What is yet to happen by itself."""
        self.deliveries = Bag("deliveries", note)
        """The ids of the events that the webhook endpoint has not acknowledged."""
        self.paid_out = Bag("paid_out", note)
        """The automatic payout that holds each balance transaction."""
        self.links = Bag("links", note)
        """Where each onboarding link leads: the account, and the address to return to."""
        self.settings = Bag("settings", note)
        """The clock's offset, and the currencies that are settled in others."""

    def books_of(self, account: str) -> Books:
        """Return the books of a connected account, or the platform's where none is named."""
        if not account:
            return self
        books = self._books.get(account)
        if books is None:
            books = self._books[account] = Books(self._note, account)
        return books

    @property
    def collections(self) -> dict[str, Table | Bag]:
        """Return every collection by its name."""
        own = {each.name: each for each in vars(self).values() if isinstance(each, Table | Bag)}
        return own | {name: each for books in self._books.values() for name, each in books.tables.items()}

    def restore(self, collection: str, key: str, row: Any) -> None:
        """Put a row that the journal knows already into its collection."""
        name, _, account = collection.partition("@")
        getattr(self.books_of(account), name).restore(key, row)

    def clear(self) -> None:
        """Forget everything."""
        for collection in self.collections.values():
            collection.clear()
        self._books.clear()
        self.funds.forget()
