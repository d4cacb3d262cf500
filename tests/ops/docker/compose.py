"""`docker-compose.yml` as Compose reads it with nothing set, and its commands as this machine can run them."""

import os
import re
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "docker-compose.yml"
_VARIABLE = re.compile(r"\$(?:\$|\{(\w+):-([^}]*)\})")

_INSIDE = re.compile(
    r"/run/marketflow(?:-owner|-redis|-grafana)?|/var/lib/marketflow|/tmp/|0\.0\.0\.0|\b(?:8000|5555|12111|9100)\b"
)


def interpolated(value: Any) -> Any:
    """Put the defaults in and take `$$` for `$`, in every text of a value, as Compose does after reading it."""
    if isinstance(value, dict):
        return {key: interpolated(item) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolated(item) for item in value]
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: found[2] if found[1] else "$", value)
    return value


def read_project() -> dict[str, Any]:
    """The whole file, merged and interpolated."""
    project: dict[str, Any] = interpolated(yaml.safe_load(FILE.read_text()))
    return project


def words(command: str | list[str]) -> list[str]:
    return shlex.split(command) if isinstance(command, str) else command


class Outside:
    """Where a container's paths, ports and addresses are, outside of it."""

    def __init__(self, directory: Path, ports: Mapping[str, int]) -> None:
        self._directory = directory
        self._ports = ports
        self.application = directory / "application"
        self.owner = directory / "owner"
        self.redis = directory / "redis"
        self.grafana = directory / "grafana"
        self.data = directory / "data"
        self.memory = directory / "tmp"
        for path in (self.application, self.owner, self.redis, self.grafana, self.data, self.memory):
            path.mkdir(parents=True, exist_ok=True)

    def with_port(self, inside: str, outside: int) -> "Outside":
        """The same place with one port more."""
        return Outside(self._directory, {**self._ports, inside: outside})

    def command(self, words: list[str]) -> list[str]:
        return [self.text(word) for word in words]

    def environment(self, service: Mapping[str, Any]) -> dict[str, str]:
        # A name without a value is passed on from the outside, where nothing is set.
        variables = service.get("environment", {}).items()
        given = {name: self.text(str(value)) for name, value in variables if value is not None}
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("MARKETFLOW_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # What the image sets.
            "MARKETFLOW_API_HOST": "127.0.0.1",
            "MARKETFLOW_SECRETS_DIR": str(self.application),
            "MARKETFLOW_VAR_DIR": str(self.memory / "var"),
            **given,
            "MARKETFLOW_API_PORT": self.text("8000"),
            "MARKETFLOW_OTLP_ENDPOINT": "",  # nobody would listen
        }

    def text(self, text: str) -> str:
        return _INSIDE.sub(lambda found: self._outside(found[0]), text)

    def _outside(self, inside: str) -> str:
        places = {
            "/run/marketflow-owner": str(self.owner),
            "/run/marketflow-redis": str(self.redis),
            "/run/marketflow-grafana": str(self.grafana),
            "/run/marketflow": str(self.application),
            "/var/lib/marketflow": str(self.data),
            "/tmp/": f"{self.memory}/",
            "0.0.0.0": "127.0.0.1",
        }
        return places.get(inside) or str(self._ports.get(inside, inside))
