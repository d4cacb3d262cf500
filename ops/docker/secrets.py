"""`python -m ops.docker.secrets`: make up the secrets of a Compose project, once, a file each.

What exists stays, so a secret is changed by writing its file; or by the variable of its name, for those that are
somebody else's or change while they are in use: `MARKETFLOW_STRIPE_API_KEY`, `_STRIPE_WEBHOOK_SECRETS`,
`_JWT_SECRET`, `_JWT_PRIVATE_KEY`, `_JWT_OTHER_SECRET`, `_JWT_OTHER_PUBLIC_KEY`, `_ENCRYPTION_KEYS`,
`_FLOWER_BASIC_AUTH`. A directory for each who reads them: the application, the owner of the database, Redis and
Grafana. The last two are other people's programs and get their own passwords alone.
"""

import argparse
import base64
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

_BYTES = 32
_OPTIONAL = ("marketflow_jwt_private_key", "marketflow_jwt_other_secret", "marketflow_jwt_other_public_key")
"""Nobody makes these up; a variable that is given and empty takes the file away."""
_TAKEN = (
    "marketflow_stripe_api_key",
    "marketflow_stripe_webhook_secrets",
    "marketflow_jwt_secret",
    "marketflow_encryption_keys",
    "marketflow_flower_basic_auth",
    *_OPTIONAL,
)
"""These come from the variables of the same name where they are given: real Stripe has secrets of its own."""


def main() -> None:
    """Write what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("application", type=Path, help="where the application's secrets go")
    parser.add_argument("owner", type=Path, help="where those of the database's owner go")
    parser.add_argument("redis", type=Path, help="where Redis' go")
    parser.add_argument("grafana", type=Path, help="where Grafana's go")
    arguments = parser.parse_args()
    write_missing(
        arguments.application, arguments.owner, arguments.redis, arguments.grafana, environment=os.environ
    )


def write_missing(
    application: Path, owner: Path, redis: Path, grafana: Path, *, environment: Mapping[str, str]
) -> None:
    """Write the files that are not there, and those of which the environment gives the contents.

    Those of Redis and Grafana are taken over from the application's directory, where they were before.
    """
    passwords = {
        name: _written(owner / name, _invented())
        for name in ("postgres_password", "owner_password", "application_password")
    }
    _take_over(application, grafana, "grafana_password")
    _written(grafana / "grafana_password", _invented())
    _take_over(application, redis, "redis_password", "redis.conf")
    redis_password = _written(redis / "redis_password", _invented())
    _written(redis / "redis.conf", f"requirepass {redis_password}\n")
    database, redis_url = "postgres:5432/marketflow", f"redis://:{redis_password}@redis:6379"
    _written(
        owner / "marketflow_migration_database_url",
        f"postgresql://marketflow_owner:{passwords['owner_password']}@{database}",
    )
    files = {
        "marketflow_database_url": f"postgresql://marketflow_app:{passwords['application_password']}@{database}",
        "marketflow_redis_url": f"{redis_url}/0",
        "marketflow_broker_url": f"{redis_url}/1",
        "marketflow_jwt_secret": _invented(),
        "marketflow_encryption_keys": base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode(),
        "marketflow_stripe_api_key": f"sk_test_{_invented()}",
        # Of the account's events and of Connect's: Stripe has a secret for each, and so has the sandbox.
        "marketflow_stripe_webhook_secrets": f"whsec_{_invented()},whsec_{_invented()}",
        "marketflow_flower_basic_auth": f"marketflow:{_invented()}",
    }
    for name, value in files.items():
        _written(application / name, value)
    for name in _TAKEN:
        given = environment.get(name.upper())
        if given:
            _write(application / name, given)
        elif given == "" and name in _OPTIONAL:
            (application / name).unlink(missing_ok=True)


def _take_over(before: Path, now: Path, *names: str) -> None:
    for name in names:
        if (before / name).exists():
            _written(now / name, (before / name).read_text(encoding="utf-8"))
            (before / name).unlink()


def _written(path: Path, value: str) -> str:
    """Return what the file holds; a missing one gets that value."""
    if not path.exists():
        _write(path, value)
    return path.read_text(encoding="utf-8")


def _write(path: Path, value: str) -> None:
    """Write the whole file or nothing. Every user of a container that mounts the volume may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text(value, encoding="utf-8")
    draft.chmod(0o444)
    draft.replace(path)


def _invented() -> str:
    return secrets.token_hex(_BYTES)


if __name__ == "__main__":
    main()
