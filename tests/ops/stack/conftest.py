from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ops.stack import Stack

STORAGE = {"postgres", "valkey"}


@pytest.fixture(autouse=True, scope="module")
def clean_environment() -> Iterator[None]:
    """Addresses of a stack around the tests must not replace the parts that are tested here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("DATABASE_URL", "MIGRATION_DATABASE_URL", "REDIS_URL", "BROKER_URL", "STRIPE_API_BASE"):
            patch.delenv(f"MARKETFLOW_{name}", raising=False)
        yield


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The two servers, for tests that only look."""
    with Stack(tmp_path_factory.mktemp("shared") / "var", programs=STORAGE) as stack:
        yield stack


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Start stacks that are stopped after the test; by default the two servers alone."""
    with ExitStack() as running:

        def start_one(directory: str | Path = "var", **options: Any) -> Stack:
            options = {"programs": STORAGE, **options}
            return running.enter_context(Stack(tmp_path / directory, **options))

        yield start_one
