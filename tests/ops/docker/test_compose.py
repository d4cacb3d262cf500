"""Nothing in `docker-compose.yml` is a wish: names exist, limits are set, and the schema of Compose is kept."""

import re
import subprocess
import sys
from typing import Any

import psycopg
import pytest
import yaml

from db.broker import QUEUES
from ops.settings import Settings
from ops.stack import postgres
from tests.ops.docker.compose import FILE, ROOT, read_project, words

PROJECT = read_project()
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]
ONCE = {"secrets", "migrate", "busybox"}
NOT_OF_SETTINGS = {"MARKETFLOW_SECRETS_DIR"}

each = pytest.mark.parametrize("name", SERVICES)


def read_yaml(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def test_file_keeps_the_schema_of_compose() -> None:
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]

    result = subprocess.run(checker, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_every_part_is_there() -> None:
    storage, seen = {"postgres", "redis"}, {"flower", "collector", "jaeger", "prometheus", "grafana"}

    assert ONCE | storage | seen | {"api", "beat", "sandbox"} <= set(SERVICES)


def test_postgresql_is_set_as_the_embedded_one() -> None:
    words = SERVICES["postgres"]["command"]
    given = dict(word.removeprefix("-c").split("=") for word in words if word.startswith("-c"))

    assert given == {name: postgres._SETTINGS[name] for name in given}
    assert {"fsync", "synchronous_commit", "full_page_writes", "io_method"} <= given.keys()
    assert "idle_in_transaction_session_timeout" in given


@each
def test_service_is_confined(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges=true"]
    assert not str(service["user"]).startswith(("0", "root"))
    assert {"cpus", "memory", "pids"} <= set(service["deploy"]["resources"]["limits"])


@each
def test_image_is_pinned_or_built_here(name: str) -> None:
    service = SERVICES[name]

    assert re.search(r":v?\d+\.\d+(\.\d+)?(-[a-z]+)?$|@sha256:[0-9a-f]{64}$", service["image"])
    assert service["image"].startswith("marketflow:") == ("build" in service)


@each
def test_service_says_whether_it_is_well(name: str) -> None:
    assert ("healthcheck" in SERVICES[name]) == (name not in ONCE)


def test_collector_is_asked_where_its_configuration_answers() -> None:
    configuration = yaml.safe_load((ROOT / "ops" / "otel" / "collector.yaml").read_text())
    port = configuration["extensions"]["health_check"]["endpoint"].rpartition(":")[2]

    assert "health_check" in configuration["service"]["extensions"]
    assert SERVICES["collector"]["healthcheck"]["test"][-1] == f"http://127.0.0.1:{port}/"


@pytest.mark.parametrize("name", ["collector", "jaeger"])
def test_server_without_tools_is_given_one_to_be_asked_with(name: str) -> None:
    made, given = SERVICES["busybox"], SERVICES[name]

    assert made["volumes"] == ["busybox:/tmp"]
    assert made["command"] == ["cp", "-f", "/bin/busybox", "/tmp/busybox"]  # noqa: S108 - of the container
    assert "busybox:/busybox:ro" in given["volumes"]
    assert given["depends_on"] == {"busybox": {"condition": "service_completed_successfully"}}
    assert given["healthcheck"]["test"][:3] == ["CMD", "/busybox/busybox", "wget"]


@each
def test_volumes_and_files_exist(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        source, target, *options = volume.split(":")
        if source.startswith("."):
            assert (ROOT / source).exists(), volume
            assert options == ["ro"], f"{volume} could be written"
        else:
            assert source in PROJECT["volumes"]
        assert target.startswith("/")


OF_THE_PROJECT = {
    *("api_host", "api_port", "flower_port", "stripe_port", "redis_port", "var_dir", "prometheus_dir"),
    *("database_url", "redis_url", "broker_url", "worker_metrics_port", "worker_threads"),
}
"""What the file, its image and its commands decide: where the project's own parts are."""
OF_THE_OWNER = {"migration_database_url", "backup_database_url"}
SECRETS = {name.removeprefix("MARKETFLOW_").lower() for name in SERVICES["secrets"]["environment"]}
"""What is given to the service that makes files of it, and to no other one."""


def settings_of(name: str) -> set[str]:
    given = SERVICES[name].get("environment", {})
    return {each.removeprefix("MARKETFLOW_").lower() for each in given if each.startswith("MARKETFLOW_")}


@pytest.mark.parametrize("name", ["api", "beat", "flower", *[name for name in SERVICES if "worker-" in name]])
def test_every_setting_that_is_given_reaches_who_reads_it(name: str) -> None:
    passed_on = set(Settings.model_fields) - OF_THE_PROJECT - OF_THE_OWNER - SECRETS

    assert settings_of(name) - {"worker_metrics_port"} == passed_on
    assert {"trusted_proxies", "commission_bps", "payout_least_minor", "seller_country"} <= passed_on


@pytest.mark.parametrize("document", ["README.md", "ops/deploy.md"])
def test_every_setting_that_documents_name_is_taken_by_the_project(document: str) -> None:
    named = {
        name.lower() for name in re.findall(r"\bMARKETFLOW_([A-Z][A-Z_]*[A-Z])\b", (ROOT / document).read_text())
    }

    assert named & set(Settings.model_fields) <= settings_of("api") | SECRETS | OF_THE_PROJECT | OF_THE_OWNER
    assert len(named) > 5


def test_a_value_given_from_outside_stands_over_the_file() -> None:
    """A name without a value is what `.env` or the shell says; a value is the default of one that can be given."""
    given = yaml.safe_load(FILE.read_text())["services"]["api"]["environment"]

    assert {name: value for name, value in given.items() if value and f"${{{name}:-" not in value} == {}


@each
def test_secrets_are_variables_of_nobody_but_who_makes_files_of_them(name: str) -> None:
    assert not settings_of(name) & (SECRETS | OF_THE_OWNER) or name == "secrets"
    assert "env_file" not in SERVICES[name]
    if "build" not in SERVICES[name]:
        assert settings_of(name) == set()


def test_migrations_are_given_the_owners_files_and_nothing_else() -> None:
    mounted = {
        name for name, service in SERVICES.items() for v in service.get("volumes", []) if v.startswith("owner-")
    }

    assert SERVICES["migrate"]["environment"] == {"MARKETFLOW_SECRETS_DIR": "/run/marketflow-owner"}
    assert mounted == {"secrets", "migrate", "postgres"}


def test_programs_of_others_read_no_secrets_of_the_application() -> None:
    """But PostgreSQL, which is its owner's anyway, each has a volume for its own."""
    strangers = {
        name: service for name, service in SERVICES.items() if service["image"] != SERVICES["api"]["image"]
    }
    read = {
        (name, volume.partition(":")[0])
        for name, service in strangers.items()
        for volume in service.get("volumes", [])
        if "secrets:" in volume
    }

    assert read == {("postgres", "owner-secrets"), ("redis", "redis-secrets"), ("grafana", "grafana-secrets")}


@each
def test_variables_networks_and_services_that_are_named_exist(name: str) -> None:
    service = SERVICES[name]
    settings = {f"MARKETFLOW_{field.upper()}" for field in Settings.model_fields} | NOT_OF_SETTINGS
    ours = {variable for variable in service.get("environment", {}) if variable.startswith("MARKETFLOW_")}

    assert ours <= settings
    assert set(service.get("networks", [])) <= set(PROJECT["networks"])
    assert set(service.get("depends_on", {})) <= set(SERVICES)


def test_only_loopback_is_published() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]

    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_queue_has_workers() -> None:
    commands = [words(SERVICES[name]["command"]) for name in SERVICES if name.startswith("worker-")]
    dedicated = [command[command.index("-Q") + 1] for command in commands if "-Q" in command]
    (rest,) = [command[command.index("-X") + 1].split(",") for command in commands if "-X" in command]

    assert sorted(rest) == sorted(dedicated)
    assert set(dedicated) < set(QUEUES)
    # Customers' servers are as slow as they like, and hold up nobody who charges or pays out.
    assert "deliveries" in dedicated


def test_settings_of_postgres_exist(superuser_url: str) -> None:
    given = dict(word.removeprefix("-c").split("=") for word in SERVICES["postgres"]["command"][1:])
    with psycopg.connect(superuser_url) as connection:
        known = {name for (name,) in connection.execute("SELECT lower(name) FROM pg_settings")}

    assert set(given) <= known
    assert {given[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}


def test_prometheus_scrapes_services_that_exist_under_the_names_of_the_alerts() -> None:
    jobs = {job["job_name"]: job for job in read_yaml("ops/prometheus/prometheus.yml")["scrape_configs"]}
    found = [config for job in jobs.values() for config in job.get("dns_sd_configs", [])]
    fixed = [config for job in jobs.values() for config in job.get("static_configs", [])]

    workers = {name for name in SERVICES if name.startswith("worker-") and "profiles" not in SERVICES[name]}
    assert {name for config in found for name in config["names"]} == workers | {"api"}
    targets = {target.partition(":")[0] for config in fixed for target in config["targets"]}
    assert targets - {"localhost"} <= set(SERVICES)
    assert set(re.findall(r'job="(\w+)"', (ROOT / "ops/prometheus/alerts.yml").read_text())) <= set(jobs)


def test_alertmanager_of_the_documents_is_the_one_that_prometheus_would_tell() -> None:
    document = (ROOT / "ops/deploy.md").read_text()
    (added,) = re.findall(r"9\. Alerts:.*?```yaml\n(.*?)```", document, re.DOTALL)
    services = yaml.safe_load(added)["services"]
    prometheus = (ROOT / "ops/prometheus/prometheus.yml").read_text()
    (told,) = re.findall(r"# +- targets: \[(\w+):9093\]", prometheus)

    assert set(services) == {told}
    assert services[told]["networks"] == SERVICES["prometheus"]["networks"]


def test_collector_names_only_what_it_defines_and_keeps_every_error() -> None:
    collector = read_yaml("ops/otel/collector.yaml")

    for pipeline in collector["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(collector[kind])
    policies = {policy["name"]: policy for policy in collector["processors"]["tail_sampling"]["policies"]}
    assert policies["errors"]["status_code"] == {"status_codes": ["ERROR"]}
    # Any one policy keeps a trace; none of these drops one, and nothing before them does.
    assert not {"drop", "not_sample"} & {policy["type"] for policy in policies.values()}
    assert collector["service"]["pipelines"]["traces"]["processors"][:2] == ["memory_limiter", "tail_sampling"]
    assert Settings.model_fields["trace_sample_ratio"].default == 0.05
    assert collector["exporters"]["otlp/jaeger"]["endpoint"].partition(":")[0] in SERVICES


def test_grafana_is_provisioned_with_the_datasource_of_the_dashboards() -> None:
    sources = {
        source["uid"]: source["url"].split("/")[2].partition(":")[0]
        for source in read_yaml("ops/grafana/provisioning/datasources/marketflow.yaml")["datasources"]
    }
    (provider,) = read_yaml("ops/grafana/provisioning/dashboards/marketflow.yaml")["providers"]
    mounted = {volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]}
    dashboards = "".join(path.read_text() for path in (ROOT / "ops/grafana/dashboards").glob("*.json"))

    assert set(sources.values()) <= set(SERVICES)
    assert provider["options"]["path"] in mounted
    named = set(re.findall(r'"type": "prometheus",\s*"uid": "(\w+)"', dashboards))
    assert named
    assert named <= set(sources)
