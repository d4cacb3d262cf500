"""What a start decides from the settings that it is given."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from ops.stack.errors import StackError
from ops.stack.layout import Layout
from ops.stack.plan import Plan, choose_programs, make_plan
from ops.stack.ports import Ports
from ops.stack.secrets import load_secrets

ELSEWHERE = {"MARKETFLOW_STRIPE_API_BASE": "https://stripe.example"}


@contextmanager
def planned(directory: Path, given: Mapping[str, str], *wanted: str) -> Iterator[Plan]:
    layout = Layout.of(directory / "var")
    layout.var.mkdir()
    ports = Ports(layout.ports)
    programs = choose_programs(given, frozenset(wanted) or None)
    try:
        yield make_plan(layout, given, programs, ports=ports, secrets=load_secrets(layout))
    finally:
        ports.release()


def test_stripe_elsewhere_wants_its_key(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="without MARKETFLOW_STRIPE_API_KEY"), planned(tmp_path, ELSEWHERE):
        pass


def test_key_of_stripe_elsewhere_is_kept(tmp_path: Path) -> None:
    with planned(tmp_path, {**ELSEWHERE, "MARKETFLOW_STRIPE_API_KEY": "sk_test_mine"}) as plan:
        assert "stripe" not in plan.programs
        assert plan.settings.stripe_api_key.get_secret_value() == "sk_test_mine"


def test_key_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "marketflow_stripe_api_key").write_text("sk_test_filed")
    monkeypatch.setenv("MARKETFLOW_SECRETS_DIR", str(tmp_path))

    with planned(tmp_path, ELSEWHERE) as plan:
        assert plan.settings.stripe_api_key.get_secret_value() == "sk_test_filed"


def test_sandbox_has_a_key_of_its_own(tmp_path: Path) -> None:
    with planned(tmp_path, {}) as plan:
        assert "stripe" in plan.programs
        assert plan.settings.stripe_api_key.get_secret_value()


@pytest.mark.parametrize("program", ["deliveries", "api", "valkey"])
def test_what_never_calls_stripe_wants_no_key(tmp_path: Path, program: str) -> None:
    with planned(tmp_path, ELSEWHERE, program) as plan:
        assert plan.programs == (program,)
