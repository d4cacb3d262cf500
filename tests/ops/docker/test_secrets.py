"""`python -m ops.docker.secrets`: what is made up stays, and what is given is taken."""

import re
from pathlib import Path

import pytest

from ops.docker.secrets import write_missing
from ops.settings import Settings
from tests.ops.docker.compose import ROOT, read_project

GIVEN = list(read_project()["services"]["secrets"]["environment"])


def write(directory: Path, **environment: str) -> None:
    names = ("application", "owner", "redis", "grafana")
    write_missing(*(directory / name for name in names), environment=environment)


def read_all(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


@pytest.mark.parametrize("variable", GIVEN)
def test_secret_that_is_given_is_the_file_that_the_application_reads(tmp_path: Path, variable: str) -> None:
    application = tmp_path / "application"
    write(tmp_path)
    before = read_all(application)

    write(tmp_path, **{variable: "given"})

    assert read_all(application) == {**before, variable.lower(): "given"}
    assert variable.removeprefix("MARKETFLOW_").lower() in Settings.model_fields


def test_what_is_not_given_any_more_stays(tmp_path: Path) -> None:
    write(tmp_path, **dict.fromkeys(GIVEN, "given"))

    write(tmp_path)

    assert {read_all(tmp_path / "application")[name.lower()] for name in GIVEN} == {"given"}


def test_old_key_for_tokens_is_dropped_by_an_empty_variable(tmp_path: Path) -> None:
    write(tmp_path, **dict.fromkeys(GIVEN, "given"))

    write(tmp_path, **dict.fromkeys(GIVEN, ""))

    kept = read_all(tmp_path / "application")
    assert "marketflow_jwt_other_secret" not in kept
    assert kept["marketflow_jwt_secret"] == kept["marketflow_stripe_api_key"] == "given"


def test_deployment_names_every_secret_that_must_be_replaced(tmp_path: Path) -> None:
    """Addresses of the project's own servers, and what Stripe alone knows."""
    write(tmp_path)
    made = read_all(tmp_path / "application") | read_all(tmp_path / "owner")
    strangers = [name for name in made if name.startswith("marketflow_stripe") or name.endswith("_url")]

    (step,) = re.findall(r"\*\*Secrets\*\*.*?\n5\. ", (ROOT / "ops/deploy.md").read_text(), re.DOTALL)
    assert len(strangers) == 6
    assert [name for name in strangers if f"`{name}`" not in step.partition("to be replaced")[2]] == []


def test_programs_of_others_get_their_own_passwords_alone(tmp_path: Path) -> None:
    write(tmp_path)

    assert {name: set(read_all(tmp_path / name)) for name in ("redis", "grafana")} == {
        "redis": {"redis_password", "redis.conf"},
        "grafana": {"grafana_password"},
    }
    assert not {"redis_password", "redis.conf", "grafana_password"} & set(read_all(tmp_path / "application"))


def test_passwords_of_an_older_project_are_taken_over(tmp_path: Path) -> None:
    """Grafana knows its own from its first start, and the application's addresses have that of Redis."""
    older = {"redis_password": "old", "redis.conf": "requirepass old\n", "grafana_password": "older"}
    application = tmp_path / "application"
    application.mkdir()
    for name, value in older.items():
        (application / name).write_text(value)

    write(tmp_path)

    assert read_all(tmp_path / "redis") | read_all(tmp_path / "grafana") == older
    assert read_all(application)["marketflow_redis_url"] == "redis://:old@redis:6379/0"
    assert not older.keys() & read_all(application).keys()
