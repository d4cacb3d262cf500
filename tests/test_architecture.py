"""Rules of the layout that import-linter does not know."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "domain").rglob("*.py"))
CLIENT = sorted((ROOT / "api" / "client").rglob("*.py"))


def imported(source: str) -> Iterator[str]:
    """Return the top-level packages that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." if node.level else (node.module or "").partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_domain_imports_only_itself_and_the_standard_library(path: Path) -> None:
    assert set(imported(path.read_text())) <= {*sys.stdlib_module_names, "domain"}


@pytest.mark.parametrize("path", CLIENT, ids=lambda path: path.name)
def test_client_can_be_installed_alone(path: Path) -> None:
    """Its modules import each other by their dots, so that they bear any name, and nothing of the server."""
    assert set(imported(path.read_text())) <= {*sys.stdlib_module_names, "httpx", "."}
    assert "from .." not in path.read_text()


def test_hidden_imports_are_seen() -> None:
    source = "def f():\n    import stripe.error\n    from sqlalchemy import text\n    from . import x\n"

    assert list(imported(source)) == ["stripe", "sqlalchemy", "."]
    assert len(MODULES) > 30
    assert len(CLIENT) > 5
