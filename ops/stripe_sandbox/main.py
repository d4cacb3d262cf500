"""gunicorn's entry: `gunicorn -k asgi -w 1 'ops.stripe_sandbox.main:create()'`."""

from typing import Any

from ops.stripe_sandbox.app import create_app
from ops.stripe_sandbox.config import Config
from ops.stripe_sandbox.sandbox import Sandbox


def create() -> Any:
    """Return the application, configured by the environment; it must run in one process alone."""
    return create_app(Sandbox(Config.from_environ()))
