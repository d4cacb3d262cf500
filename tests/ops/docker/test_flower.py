"""Flower's configuration file lets nobody in without a password."""

import runpy
from collections.abc import Iterator

import pytest

from ops.settings import get_settings
from tests.ops.docker.compose import ROOT

CONFIGURATION = str(ROOT / "ops/docker/flower.py")


@pytest.fixture(autouse=True)
def _read_anew() -> Iterator[None]:
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.mark.parametrize("given", ["", "marketflow", "marketflow:", ":secret"])
def test_flower_does_not_start_without_a_password(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETFLOW_FLOWER_BASIC_AUTH", given)

    with pytest.raises(ValueError, match="MARKETFLOW_FLOWER_BASIC_AUTH"):
        runpy.run_path(CONFIGURATION)


def test_flower_asks_for_the_password_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETFLOW_FLOWER_BASIC_AUTH", "marketflow:a:b")

    assert runpy.run_path(CONFIGURATION)["basic_auth"] == ["marketflow:a:b"]
