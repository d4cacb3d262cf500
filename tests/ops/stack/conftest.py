from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ops.stack import Stack

STORAGE = {"postgres", "valkey"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of a stack around the tests must not replace the parts that are tested here."""
    for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "STRIPE_API_BASE"):
        monkeypatch.delenv(f"MARKETFLOW_{name}", raising=False)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start stacks that are stopped after the test; by default the two servers alone."""
    with ExitStack() as running:

        def start_one(directory: str | Path = "var", **options: Any) -> Stack:
            options = {"programs": STORAGE, **options}
            return running.enter_context(Stack(tmp_path / directory, **options))

        yield start_one
