"""The command line `marketflow`."""

from ops.cli.app import main

__all__ = ["main"]
