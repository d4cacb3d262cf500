"""Rules of the layout that import-linter does not know."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted((ROOT / "domain").rglob("*.py"))


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


def test_hidden_imports_are_seen() -> None:
    source = "def f():\n    import stripe.error\n    from sqlalchemy import text\n    from . import x\n"

    assert list(imported(source)) == ["stripe", "sqlalchemy", "."]
    assert len(MODULES) > 30
