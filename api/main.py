"""Entry of the API processes: `gunicorn -c api/gunicorn_conf.py 'api.main:create()'`."""

from api.app import Application, create_app
from api.services import build_services
from ops.settings import get_settings
from ops.telemetry import configure_logs
from ops.tracing import preload_tracing


def create() -> Application:
    """Return the application of this process, from the environment's settings."""
    settings = get_settings()
    configure_logs(settings.log_format, settings.log_level)
    preload_tracing(settings.otlp_endpoint)
    return create_app(build_services(settings))
