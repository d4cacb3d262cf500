"""`python -m ops.docker.secrets`: make up the secrets of a Compose project, once, a file each.

What exists stays, so a secret is changed by writing its file; or by the variable of its name, for those that are
somebody else's or change while they are in use: `MARKETFLOW_STRIPE_API_KEY`, `_STRIPE_WEBHOOK_SECRETS`,
`_JWT_SECRET`, `_JWT_PRIVATE_KEY`, `_JWT_OTHER_SECRET`, `_JWT_OTHER_PUBLIC_KEY`, `_ENCRYPTION_KEYS`,
`_FLOWER_BASIC_AUTH`. Two directories: what the application reads, and what the owner of the database does.
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
    arguments = parser.parse_args()
    write_missing(arguments.application, arguments.owner, os.environ)


def write_missing(application: Path, owner: Path, environment: Mapping[str, str]) -> None:
    """Write the files that are not there, and those of which the environment gives the contents."""
    passwords = {
        name: _written(owner / name, _invented())
        for name in ("postgres_password", "owner_password", "application_password")
    }
    redis_password = _written(application / "redis_password", _invented())
    database, redis = "postgres:5432/marketflow", f"redis://:{redis_password}@redis:6379"
    _written(
        owner / "marketflow_migration_database_url",
        f"postgresql://marketflow_owner:{passwords['owner_password']}@{database}",
    )
    files = {
        "marketflow_database_url": f"postgresql://marketflow_app:{passwords['application_password']}@{database}",
        "marketflow_redis_url": f"{redis}/0",
        "marketflow_broker_url": f"{redis}/1",
        "marketflow_jwt_secret": _invented(),
        "marketflow_encryption_keys": base64.urlsafe_b64encode(secrets.token_bytes(_BYTES)).decode(),
        "marketflow_stripe_api_key": f"sk_test_{_invented()}",
        # Of the account's events and of Connect's: Stripe has a secret for each, and so has the sandbox.
        "marketflow_stripe_webhook_secrets": f"whsec_{_invented()},whsec_{_invented()}",
        "marketflow_flower_basic_auth": f"marketflow:{_invented()}",
        "grafana_password": _invented(),
        "redis.conf": f"requirepass {redis_password}\n",
    }
    for name, value in files.items():
        _written(application / name, value)
    for name in _TAKEN:
        given = environment.get(name.upper())
        if given:
            _write(application / name, given)
        elif given == "" and name in _OPTIONAL:
            (application / name).unlink(missing_ok=True)


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
