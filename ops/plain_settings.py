"""The few of `ops.settings.Settings` that are needed before what reads and checks them all is loaded."""

import os
from pathlib import Path

DEFAULTS = {
    "api_host": "127.0.0.1",
    "api_port": "8000",
    "api_workers": "2",
    "var_dir": "var",
    "prometheus_dir": "",
}


def read_setting(name: str) -> str:
    """Return a setting as it was given by a variable, or by a file of secrets, or its default; unchecked."""
    variables = {key.upper(): value for key, value in os.environ.items()}
    if (given := variables.get(f"MARKETFLOW_{name.upper()}")) is not None:
        return given
    directory = os.environ.get("MARKETFLOW_SECRETS_DIR")
    if directory and (file := Path(directory, f"marketflow_{name}")).is_file():
        return file.read_text().strip()
    return DEFAULTS[name]
