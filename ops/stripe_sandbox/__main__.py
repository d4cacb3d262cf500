"""`python -m ops.stripe_sandbox`: serve the sandbox, configured by arguments and the environment."""

import argparse
import logging
import os
import sys
from dataclasses import fields

from ops.stripe_sandbox.app import create_app
from ops.stripe_sandbox.config import PREFIX, Config
from ops.stripe_sandbox.sandbox import Sandbox
from ops.stripe_sandbox.server import run


def main() -> None:
    """Serve until the process is asked to end; arguments take precedence over the environment."""
    arguments = vars(_parser().parse_args())
    port, host = arguments.pop("port"), arguments.pop("host")
    given = {PREFIX + name.upper(): str(value) for name, value in arguments.items() if value is not None}
    config = Config.from_environ({**os.environ, **given})
    logging.basicConfig(level=logging.WARNING)
    try:
        run(create_app(Sandbox(config)), host, port)
    except (OSError, RuntimeError) as error:
        sys.exit(f"the sandbox ended: {error}")


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
