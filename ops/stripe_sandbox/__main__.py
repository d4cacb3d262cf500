"""`python -m ops.stripe_sandbox`: serve the sandbox, configured by arguments and the environment."""

import argparse
import logging
import os
import sys
from dataclasses import fields

from ops.stripe_sandbox.app import create_app
from ops.stripe_sandbox.config import PREFIX, Config, SettingRefusedError, read_number
from ops.stripe_sandbox.sandbox import Sandbox
from ops.stripe_sandbox.server import run

_PORT = "MARKETFLOW_STRIPE_PORT"
_HIGHEST_PORT = 65_535
_EPILOG = f"Each option but port and host is a variable too, such as {PREFIX}WEBHOOK_URL. Times are in seconds."


def main() -> None:
    """Serve until the process is asked to end; arguments take precedence over the environment."""
    parser = _parser()
    arguments = vars(parser.parse_args())
    port, host = arguments.pop("port"), arguments.pop("host")
    given = {PREFIX + name.upper(): str(value) for name, value in arguments.items() if value is not None}
    try:
        config = Config.from_environ({**os.environ, **given})
        port = _read_port(port)
    except SettingRefusedError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    logging.basicConfig(level=logging.WARNING)
    try:
        run(create_app(Sandbox(config)), host, port)
    except (OSError, RuntimeError) as error:
        sys.exit(f"the sandbox ended: {error}")


def _read_port(argument: int | None) -> int:
    name, raw = ("--port", str(argument)) if argument is not None else (_PORT, os.environ.get(_PORT, "12111"))
    port = int(read_number(name, raw, int))
    if port > _HIGHEST_PORT:
        raise SettingRefusedError(f"{name} is {raw!r}; it must be at most {_HIGHEST_PORT}")
    return port


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.stripe_sandbox", description=__doc__, epilog=_EPILOG)
    parser.add_argument("--port", type=int, help=f"default: {_PORT} or 12111")
    parser.add_argument("--host", default="127.0.0.1", help="default: 127.0.0.1")
    for field in fields(Config):
        flag = f"--{field.name.replace('_', '-')}"
        says = f"{field.metadata['says']} Default: {field.default!r}."
        parser.add_argument(flag, type=type(field.default), help=says)
    return parser


if __name__ == "__main__":
    main()
