"""A worker that cannot do its work ends and says why; it does not take messages."""

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from db.broker import QUEUES
from ops.settings import Settings
from workers import main
from workers.services import check_settings

ROOT = Path(__file__).resolve().parents[2]
GIVEN = {
    "MARKETFLOW_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none",
    "MARKETFLOW_REDIS_URL": "redis://127.0.0.1:9/0",
    "MARKETFLOW_BROKER_URL": "redis://127.0.0.1:9/1",
    "MARKETFLOW_STRIPE_API_KEY": "sk_test_of_a_test",
}


@pytest.mark.parametrize(
    ("name", "value"), [*((name, "") for name in GIVEN), ("MARKETFLOW_ENCRYPTION_KEYS", "too-short")]
)
def test_setting_without_which_nothing_works_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    for setting, given in {**GIVEN, name: value}.items():
        monkeypatch.setenv(setting, given)

    with pytest.raises(ValueError, match=name):
        check_settings(Settings(), QUEUES)


def test_worker_with_what_it_needs_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, given in GIVEN.items():
        monkeypatch.setenv(setting, given)

    check_settings(Settings(), QUEUES)


@pytest.mark.parametrize(("queues", "calls_stripe"), [(["deliveries"], False), (["deliveries", "refunds"], True)])
def test_worker_that_sends_webhooks_alone_needs_no_key_for_stripe(
    monkeypatch: pytest.MonkeyPatch, queues: list[str], *, calls_stripe: bool
) -> None:
    for setting, given in {**GIVEN, "MARKETFLOW_STRIPE_API_KEY": ""}.items():
        monkeypatch.setenv(setting, given)

    with pytest.raises(ValueError, match="STRIPE_API_KEY") if calls_stripe else nullcontext():
        check_settings(Settings(), queues)


def test_process_with_a_wrong_setting_ends_before_it_says_that_it_is_ready() -> None:
    environment = {**os.environ, **GIVEN, "MARKETFLOW_STRIPE_API_KEY": ""}
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "workers.main",
        "worker",
        "--pool",
        "threads",
        "-Q",
        "payouts",
    ]

    ended = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )

    assert ended.returncode != 0
    assert "not set: MARKETFLOW_STRIPE_API_KEY" in ended.stderr
    assert "ready" not in ended.stdout + ended.stderr


def test_worker_whose_services_cannot_be_opened_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError("whatever it is")

    monkeypatch.setattr(main.runtime, "start", fail)

    with pytest.raises(SystemExit) as ended:
        main._start_runtime()
    assert ended.value.code == 1
