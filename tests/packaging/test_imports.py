"""Who may import what.

The direction of imports inside Futurama is written down as contracts in pyproject.toml
(``[tool.importlinter]``); here is what import-linter cannot say: which packages of *others* each
part may use. Both lists name what is allowed, so a new module is covered from its first line.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.packaging.project import FOLDERS, ROOT, modules

ALLOWED = {
    "futurama": set(),
    "futurama.http": {"httpx"},
    "futurama.cli": {"click", "rich"},
    "futurama.backends.sql": {"sqlalchemy"},
    "futurama.backends.sql.pymysql_driver": {"sqlalchemy", "pymysql"},
    "futurama.backends.sql.mysqldb_driver": {"sqlalchemy", "MySQLdb"},
    "futurama.backends.mysql": {"sqlalchemy"},
    "futurama.backends.postgresql": {"sqlalchemy", "psycopg"},
    "futurama.backends.redis": {"redis"},
    "futurama.backends.sqlite": {"sqlalchemy"},
    "futurama.conformance": {"pytest", "hypothesis"},
}
"""What each module, or package and all below it, may import besides attrs and the standard library;
the longest matching name counts."""


def allowed(module: str) -> set[str]:
    """The packages of others that this module may import."""
    parts = module.split(".")
    while ".".join(parts) not in ALLOWED:
        parts.pop()
    return {"attrs"} | ALLOWED[".".join(parts)]


def foreign(source: str) -> set[str]:
    """The packages, neither Futurama nor of the standard library, that a module imports."""
    return {
        name
        for full in _imported(ast.parse(source))
        if (name := full.partition(".")[0]) not in sys.stdlib_module_names and name != "futurama"
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            assert not node.level, "imports are absolute"
            yield node.module


@pytest.mark.parametrize("module", modules())
def test_foreign_imports(module: str) -> None:
    """A module imports only what its part of the project may, wherever in it that happens."""
    assert foreign(modules()[module].read_text(encoding="utf-8")) <= allowed(module)


def test_foreign_imports_are_found() -> None:
    """The search sees every form of import and knows the standard library."""
    source = (
        "import os, a.b as c\ndef f():\n    from d.e import g\nfrom futurama.events import Event"
    )
    assert foreign(source) == {"a", "d"}


def test_contracts_hold() -> None:
    """The import contracts of pyproject.toml are kept; a module without a place breaks them."""
    lint_imports = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint_imports, "--no-logo", "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["backends", "conformance"])
def test_second_copies_are_banned(name: str) -> None:
    """The linter refuses ``import backends``: at the root that would load a second copy."""
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--output-format=concise", "--stdin-filename=tests/any.py", "-"],
        input=f"import {name}\n",
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "TID251" in done.stdout


def test_suite_is_not_collected() -> None:
    """Nothing in conformance/ has a name that pytest collects by itself."""
    assert not [*FOLDERS["futurama.conformance"].rglob("test_*.py")]
    assert not [*FOLDERS["futurama.conformance"].rglob("*_test.py")]
