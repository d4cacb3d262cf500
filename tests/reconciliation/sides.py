"""Both sides of a reconciliation, as they are made."""

import pickle
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domain.reconciliation.model import BreakKind, ExceptionStatus

Obj = dict[str, Any]
Plant = tuple[BreakKind, ExceptionStatus]


@dataclass
class Sides:
    """Both sides as they are made: rows for the sandbox, and what was planted, by the key of its exception."""

    tables: defaultdict[str, dict[str, Obj]] = field(default_factory=lambda: defaultdict(dict))
    paid_out: dict[str, str] = field(default_factory=dict)
    planted: dict[str, Plant] = field(default_factory=dict)

    def put(self, table: str, row: Obj) -> Obj:
        self.tables[table][row["id"]] = row
        return row

    def counts(self) -> Counter[Plant]:
        return Counter(self.planted.values())

    def write(self, path: Path) -> None:
        """Write the sandbox's file, each table in the order of creation."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for table, rows in self.tables.items():
                ordered = sorted(rows.items(), key=lambda item: (item[1]["created"], item[0]))
                for start in range(0, len(ordered), 10_000):
                    batch = [((table, key), row) for key, row in ordered[start : start + 10_000]]
                    pickle.dump(batch, file, protocol=pickle.HIGHEST_PROTOCOL)
            held = [(("paid_out", line_id), payout_id) for line_id, payout_id in self.paid_out.items()]
            pickle.dump(held, file, protocol=pickle.HIGHEST_PROTOCOL)
