"""Entry of the API processes: `gunicorn -c api/gunicorn_conf.py 'api.main:create()'`."""

from falcon.asgi import App, Request, Response

from api.app import create_app
from api.services import build_services
from ops.settings import get_settings
from ops.telemetry import configure_logs


def create() -> App[Request, Response]:
    """Return the application of this process, from the environment's settings."""
    settings = get_settings()
    configure_logs(settings.log_format, settings.log_level)
    return create_app(build_services(settings))
