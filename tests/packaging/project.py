"""What the tests of this folder know about the project: its files, packages and modules."""

from __future__ import annotations

import ast
import os
import tomllib
from collections.abc import Iterable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

EXAMPLE = ROOT / "examples" / "backend_textfile"
"""A backend by somebody else: a distribution of its own, in the words of docs/write-a-backend.md."""

FOLDERS = {
    "futurama": ROOT / "futurama",
    "futurama.backends": ROOT / "backends",
    "futurama.conformance": ROOT / "conformance",
}
"""The folders that are shipped, and under which name each is imported."""

LEFT_BEHIND = ("build", "dist", "htmlcov", "__pycache__", "*.egg-info", ".?*")
"""What tools and people leave at the root, as patterns."""

DOTTED = {".ci", ".gitignore"}
"""The project's own names that begin with a dot."""


def pyproject() -> dict[str, Any]:
    """The parsed pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules() -> dict[str, Path]:
    """Every module that belongs into the wheel, by its full name."""
    return dict(sorted(_modules()))


def _modules() -> Iterator[tuple[str, Path]]:
    for package, folder in FOLDERS.items():
        # os.walk does not follow futurama/backends and futurama/conformance, which are links.
        for current, _, files in os.walk(folder):
            below = Path(current).relative_to(folder).parts
            for file in files:
                if file.endswith(".py"):
                    name = () if file == "__init__.py" else (file.removesuffix(".py"),)
                    yield ".".join((package, *below, *name)), Path(current) / file


def data() -> dict[str, Path]:
    """Every other file that belongs into the wheel, by its path in there."""
    found = {}
    for package, folder in FOLDERS.items():
        for current, folders, files in os.walk(folder):
            folders[:] = set(folders) - left_behind(folders)
            for file in set(files) - left_behind(files):
                path = Path(current) / file
                if path.suffix != ".py":
                    found[f"{package.replace('.', '/')}/{path.relative_to(folder)}"] = path
    return found


def packages() -> list[str]:
    """Every folder with Python files, by its full package name."""
    return sorted(
        {
            name if path.name == "__init__.py" else name.rpartition(".")[0]
            for name, path in modules().items()
        }
    )


def left_behind(names: Iterable[str]) -> set[str]:
    """Which of these names of files and folders do not belong to the project."""
    return {
        name
        for name in names
        if name not in DOTTED and any(fnmatch(name, pattern) for pattern in LEFT_BEHIND)
    }


def texts() -> dict[str, str]:
    """The content of every text file of the project, by its path from the root."""
    found = {}
    for current, folders, files in os.walk(ROOT):
        folders[:] = sorted(set(folders) - left_behind(folders))
        for file in sorted(set(files) - left_behind(files)):
            path = Path(current) / file
            try:
                found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a picture
    return found


def functions(source: str) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method in a module's source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
