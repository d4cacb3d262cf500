import os
from collections.abc import Mapping

from ops.settings import Settings
from ops.stack.errors import StackError
from ops.stack.info import read_info
from ops.stack.layout import Layout


def running_settings() -> Settings:
    """Return the environment's settings; without a database in them, the servers of the stack that runs here."""
    settings = Settings()
    if settings.database_url:
        return settings
    try:
        info = read_info(Layout.of(settings.var_dir).info)
    except StackError:
        return settings
    found = {"database_url": info.database_url, "redis_url": info.redis_url, "broker_url": info.broker_url}
    return settings.model_copy(update=found)


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
