"""`python -m ops.stripe_sandbox`: serve the sandbox with gunicorn, configured by arguments."""

import argparse
import os
import sys
from dataclasses import fields

from ops.stripe_sandbox.config import PREFIX, Config

_SERVED = "ops.stripe_sandbox.main:create()"


def main() -> None:
    """Become gunicorn with one worker; arguments take precedence over the environment."""
    arguments = vars(_parser().parse_args())
    port, host = arguments.pop("port"), arguments.pop("host")
    for name, value in arguments.items():
        if value is not None:
            os.environ[PREFIX + name.upper()] = str(value)
    Config.from_environ()
    command = [sys.executable, "-m", "gunicorn", *gunicorn_arguments(f"{host}:{port}"), _SERVED]
    os.execv(sys.executable, command)  # noqa: S606 - no shell: the sandbox is this process, under its id


def gunicorn_arguments(bind: str) -> list[str]:
    """Return gunicorn's arguments for serving the sandbox at an address."""
    return [
        *("--bind", bind, "--worker-class", "asgi", "--workers", "1", "--no-control-socket"),
        # The state lives in the worker: a worker that is replaced would lose what is not journaled.
        *("--timeout", "300", "--graceful-timeout", "1"),
        # Longer than clients keep idle connections, so that they close them and never meet a closed one.
        *("--keep-alive", "120", "--log-level", "warning"),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.stripe_sandbox", description=__doc__)
    default_port = int(os.environ.get("MARKETFLOW_STRIPE_PORT", "12111"))
    parser.add_argument("--port", type=int, default=default_port, help="default: MARKETFLOW_STRIPE_PORT or 12111")
    parser.add_argument("--host", default="127.0.0.1")
    for field in fields(Config):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, type=type(field.default), help=f"default: {field.default!r}")
    return parser


if __name__ == "__main__":
    main()
