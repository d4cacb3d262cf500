import os
from collections.abc import Mapping

from pydantic import SecretStr

from ops.errors import OperatorError
from ops.settings import Settings
from ops.stack.errors import StackError
from ops.stack.info import read_info
from ops.stack.layout import Layout
from ops.stack.secrets import load_secrets


def running_settings(*needed: str) -> Settings:
    """Return the environment's settings; without a database in them, those of the stack that runs here too.

    What the environment gives stays. Errors: OperatorError where neither has what is needed.
    """
    settings = Settings()
    if not settings.database_url:
        found = _of_stack(Layout.of(settings.var_dir))
        settings = settings.model_copy(
            update={name: value for name, value in found.items() if not getattr(settings, name)}
        )
    for name in needed:
        if not getattr(settings, name):
            raise missing(name, settings)
    return settings


def missing(name: str, settings: Settings) -> OperatorError:
    """Return what to say of a setting that neither the environment nor a stack here has."""
    is_here = Layout.of(settings.var_dir).info.exists()
    return OperatorError(f"MARKETFLOW_{name.upper()} is not set{'' if is_here else f', and {NO_STACK}'}.")


NO_STACK = "no stack runs here (`make up`)"


def _of_stack(layout: Layout) -> dict[str, object]:
    """Return the settings of the stack that runs here; none where none does."""
    try:
        info = read_info(layout.info)
        secrets = load_secrets(layout)
    except StackError:
        return {}
    return {
        "database_url": info.database_url,
        "migration_database_url": info.migration_database_url,
        "redis_url": info.redis_url,
        "broker_url": info.broker_url,
        "encryption_keys": SecretStr(secrets.encryption_key),
    }


def running_environment() -> Mapping[str, str]:
    """Return the environment for a program of ours; without a database in it, that of the stack that runs here."""
    environment = dict(os.environ)
    settings = Settings()
    if settings.database_url:
        return environment
    try:
        info = read_info(Layout.of(settings.var_dir).info)
    except StackError:
        return environment
    found = {
        "DATABASE_URL": info.database_url,
        "REDIS_URL": info.redis_url,
        "BROKER_URL": info.broker_url,
        "STRIPE_API_BASE": info.stripe,
        "STRIPE_API_KEY": info.stripe_api_key,
    }
    return {**{f"MARKETFLOW_{name}": value for name, value in found.items()}, **environment}
