"""What these tests start is `ops`, of which no coverage is asked: it runs at the speed of production."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _unmeasured(unmeasured: None) -> None:
    """Start the processes of each module without coverage."""
