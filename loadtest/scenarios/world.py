"""What the users of a run are told: who they are, what is on sale, how long it goes."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

VARIABLE = "LOADTEST_WORLD"
"""Names the file to Locust's processes."""
_LAST_WORDS_S = 8.0
"""Longer than two of the reports that they make every three seconds."""


@dataclass(frozen=True, slots=True)
class World:
    """All that was prepared. A stage is a moment and a number of users, both as shares of the whole."""

    directory: str
    stats: str
    """Where Locust's figures go."""
    users: int
    processes: int
    seconds: float
    stages: Sequence[tuple[float, float]]
    buyers: Sequence[str]
    """Their tokens."""
    sellers: Sequence[str]
    products: Sequence[str]
    webhook_secret: str
    events: Sequence[str] = ()
    """Bodies of webhooks that came before."""

    def write(self) -> Path:
        """Write it into its directory, and return the file."""
        path = Path(self.directory) / "world.json"
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")
        return path

    @classmethod
    def read(cls) -> Self:
        """Return the world of this run."""
        return cls(**json.loads(Path(os.environ[VARIABLE]).read_text(encoding="utf-8")))

    def users_at(self, elapsed_s: float) -> int | None:
        """Return how many users there are, on a straight line from stage to stage; None when it is over.

        At the end there are none for a while, in which Locust's processes tell what they have counted last.
        """
        share = elapsed_s / self.seconds
        if share >= 1:
            return 0 if elapsed_s < self.seconds + _LAST_WORDS_S else None
        (since, low), (until, high) = next(
            (before, after)
            for before, after in zip(self.stages, self.stages[1:], strict=False)
            if before[0] <= share < after[0]
        )
        return max(1, round(self.users * (low + (high - low) * (share - since) / (until - since))))


def read_promises(directory: Path) -> dict[str, str]:
    """Return what the users of all processes were promised: the payment of each key that was answered with 202."""
    lines = [line for file in directory.glob("promises.*") for line in file.read_text().splitlines()]
    return dict(line.split(" ") for line in lines)
