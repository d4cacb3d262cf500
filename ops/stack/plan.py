"""What one start of the stack runs: the embedded parts, their ports and the environment of every process."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ops.errors import explain_settings
from ops.settings import Settings
from ops.stack import postgres, valkey
from ops.stack.errors import NoProgram, StackError
from ops.stack.info import StackInfo
from ops.stack.layout import Layout
from ops.stack.ports import HOST, Ports
from ops.stack.secrets import Secrets

MARKER = "MARKETFLOW_STACK"
"""The variable that every process of a stack carries; its value is the directory of the stack."""

PROGRAMS = ("postgres", "valkey", "stripe", "flower", "beat", "workers", "deliveries", "api")
"""In the order of starting; they stop in the opposite order."""

# On one machine, against a sandbox, waiting as long as production does would only make a person wait.
_DEVELOPMENT = {
    "WEBHOOKS_ALLOW_PRIVATE_TARGETS": "true",
    "STRIPE_RATE_PER_SECOND": "0",
    "BREAKER_OPEN_S": "5",
    "LOOKUP_GRACE_S": "5",
    "REPUBLISH_AFTER_S": "5",
    "SANDBOX_SETTLEMENT_DELAY_S": "2",
    "ADDRESS_LIMIT_PER_MINUTE": "100000",
    "LOGIN_FAILURES_PER_ADDRESS": "100000",
}
_PORTS = {
    "api": "api_port",
    "flower": "flower_port",
    "stripe": "stripe_port",
    "valkey": "redis_port",
    "workers": "worker_metrics_port",
}
_USUAL_METRICS_PORT = 9540
_REPLACED_BY = {"postgres": "DATABASE_URL", "valkey": "REDIS_URL", "stripe": "STRIPE_API_BASE"}


@dataclass(frozen=True, slots=True)
class Plan:
    """The programs to run, the environment they get and what `stack.json` says of them."""

    layout: Layout
    programs: tuple[str, ...]
    ports: Mapping[str, int]
    environment: Mapping[str, str]
    settings: Settings
    secrets: Secrets
    info: StackInfo


def choose_programs(environment: Mapping[str, str], wanted: frozenset[str] | None) -> tuple[str, ...]:
    """Return the programs to run: the wanted ones less those that a given address replaces.

    Raises:
        NoProgram: an unknown one.
        StackError: the owner's address without the application's.

    """
    if unknown := (wanted or frozenset()) - set(PROGRAMS):
        raise NoProgram(f"No such program: {', '.join(sorted(unknown))}. There are: {', '.join(PROGRAMS)}.")
    if _given(environment, "MIGRATION_DATABASE_URL") and not _given(environment, "DATABASE_URL"):
        raise StackError("MARKETFLOW_MIGRATION_DATABASE_URL is given without MARKETFLOW_DATABASE_URL.")
    replaced = {program for program, name in _REPLACED_BY.items() if _given(environment, name)}
    return tuple(name for name in PROGRAMS if (wanted is None or name in wanted) and name not in replaced)


def make_plan(
    layout: Layout, base: Mapping[str, str], programs: tuple[str, ...], *, ports: Ports, secrets: Secrets
) -> Plan:
    """Choose the ports and derive the environment; what `base` gives is kept.

    Raises:
        StackError: a setting in `base` is not valid, or one is missing without which no payment settles.

    """
    given = _read_settings(base)
    # The sandbox's key is made here, and a key for another Stripe is not. Workers of deliveries do without.
    has_key = bool(given.stripe_api_key.get_secret_value())
    if "workers" in programs and _given(base, "STRIPE_API_BASE") and not has_key:
        raise StackError(
            "MARKETFLOW_STRIPE_API_BASE is given without MARKETFLOW_STRIPE_API_KEY: no payment would settle."
        )
    wanted = {
        name: (getattr(given, field) or _USUAL_METRICS_PORT, bool(_given(base, field.upper())))
        for name, field in _PORTS.items()
        if name in programs
    }
    metrics_ports = given.worker_processes + ("deliveries" in programs)
    chosen = ports.claim(wanted, rows={"workers": metrics_ports})
    environment = _environment(layout, base, programs, chosen, secrets)
    settings = _read_settings(environment)
    info = _info(layout, programs, chosen, settings, secrets)
    return Plan(layout, programs, chosen, environment, settings, secrets, info)


def _given(environment: Mapping[str, str], name: str) -> str:
    return environment.get(f"MARKETFLOW_{name}", "")


def _environment(
    layout: Layout,
    base: Mapping[str, str],
    programs: tuple[str, ...],
    ports: Mapping[str, int],
    secrets: Secrets,
) -> dict[str, str]:
    defaults = {
        **_DEVELOPMENT,
        **_addresses(layout, base, programs, ports, secrets),
        "JWT_SECRET": secrets.jwt_secret,
        "ENCRYPTION_KEYS": secrets.encryption_key,
        "FLOWER_BASIC_AUTH": f"marketflow:{secrets.flower_password}",
    }
    environment = dict(base)
    for name, value in defaults.items():
        if not _given(base, name):
            environment[f"MARKETFLOW_{name}"] = value
    for name, port in ports.items():
        environment[f"MARKETFLOW_{_PORTS[name].upper()}"] = str(port)
    environment[MARKER] = str(layout.var)
    environment["MARKETFLOW_VAR_DIR"] = str(layout.var)
    # Everybody can read a command line: what the sandbox and Flower must know comes this way.
    # The account's own events are signed with the first, those of connected accounts with the second.
    signing = [each.strip() for each in environment.get("MARKETFLOW_STRIPE_WEBHOOK_SECRETS", "").split(",")]
    environment["MARKETFLOW_SANDBOX_WEBHOOK_SECRET"] = signing[0]
    environment["MARKETFLOW_SANDBOX_CONNECT_WEBHOOK_SECRET"] = signing[1] if len(signing) > 1 else ""
    environment["FLOWER_BASIC_AUTH"] = environment["MARKETFLOW_FLOWER_BASIC_AUTH"]
    environment["PYTHONUNBUFFERED"] = "1"  # the last words of a process that is killed
    return environment


def _addresses(
    layout: Layout,
    base: Mapping[str, str],
    programs: tuple[str, ...],
    ports: Mapping[str, int],
    secrets: Secrets,
) -> dict[str, str]:
    addresses = {}
    if "postgres" in programs:
        addresses["DATABASE_URL"] = postgres.url(layout, postgres.APPLICATION)
        addresses["MIGRATION_DATABASE_URL"] = postgres.url(layout, postgres.OWNER)
    if "valkey" in programs:
        # The broker's own database: emptying the one does not touch the other.
        addresses["REDIS_URL"] = valkey.url(ports["valkey"], secrets.valkey_password, 0)
        addresses["BROKER_URL"] = valkey.url(ports["valkey"], secrets.valkey_password, 1)
    elif redis_url := _given(base, "REDIS_URL"):
        addresses["BROKER_URL"] = redis_url
    if "stripe" in programs:
        addresses["STRIPE_API_BASE"] = f"http://{HOST}:{ports['stripe']}"
        # Real Stripe has secrets of its own; an invented one would only hide that it is missing.
        addresses["STRIPE_API_KEY"] = secrets.stripe_api_key
        signing = (secrets.stripe_webhook_secret, secrets.stripe_connect_webhook_secret)
        addresses["STRIPE_WEBHOOK_SECRETS"] = ",".join(filter(None, signing))
    return addresses


def _info(
    layout: Layout,
    programs: tuple[str, ...],
    ports: Mapping[str, int],
    settings: Settings,
    secrets: Secrets,
) -> StackInfo:
    user, _, password = settings.flower_basic_auth.get_secret_value().partition(":")
    return StackInfo(
        api=f"http://{HOST}:{ports['api']}" if "api" in programs else "",
        flower=f"http://{HOST}:{ports['flower']}" if "flower" in programs else "",
        worker_metrics=_worker_metrics(settings, programs) if "workers" in programs else (),
        flower_user=user,
        flower_password=password,
        stripe=settings.stripe_api_base,
        stripe_api_key=settings.stripe_api_key.get_secret_value(),
        stripe_webhook_secret=next(iter(settings.webhook_secrets), ""),
        database_url=settings.database_url,
        migration_database_url=settings.migration_database_url,
        redis_url=settings.redis_url,
        broker_url=settings.broker_url,
        users=secrets.users,
        supervisor=str(layout.supervisor_socket),
    )


def _worker_metrics(settings: Settings, programs: Collection[str]) -> tuple[str, ...]:
    first = settings.worker_metrics_port
    processes = settings.worker_processes + ("deliveries" in programs)
    return tuple(f"http://{HOST}:{first + number}/metrics" for number in range(processes))


def _read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings that a process with this environment reads."""
    fields: dict[str, Any] = {
        field: environment[f"MARKETFLOW_{field.upper()}"]
        for field in Settings.model_fields
        if f"MARKETFLOW_{field.upper()}" in environment
    }
    try:
        return Settings(**fields)
    except ValidationError as error:
        raise StackError(explain_settings(error)) from None
