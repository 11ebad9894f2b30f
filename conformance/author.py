"""What the author of a backend gives the suite."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import attrs

from futurama.backend import Capabilities, EventBackend

__all__ = ["Author", "Connect", "Hooks", "imports_of"]

Connect: TypeAlias = Callable[[], EventBackend]
"""Makes one more instance, not opened yet, on a store that exists."""


@attrs.frozen
class Hooks:
    """How a program outside of the suite gets at what the author wrote, as Python.

    Attributes:
        imports: lines that import it.
        make: the context manager of a backend.
        connect: one more instance, on the store of the variable ``backend``.
    """

    imports: Sequence[str]
    make: str
    connect: str


class Author:
    """The hooks that the author of a backend implements.

    Attributes:
        capabilities: what the backend must declare.
    """

    capabilities: ClassVar[Capabilities]

    @classmethod
    def make_backend(cls) -> AbstractContextManager[EventBackend]:
        """A context manager that yields a backend on a new, empty store of its own.

        It may be open already; the suite opens and closes it in any case, and both are idempotent.
        On leaving, remove the store. The suite calls this some hundred times, also nested: two
        stores that exist at once must not see each other.
        """
        raise NotImplementedError(f"{cls.__name__}.make_backend() is missing")

    @classmethod
    def connector(cls, backend: EventBackend) -> Connect:
        """How to make another instance, not opened yet, on the store of ``backend``.

        Needed where the backend is ``shared`` or ``durable``, to look at the store from a second
        instance and from other processes: the result takes no arguments and can be pickled, such
        as ``functools.partial(MyBackend, backend.settings)``.
        """
        raise NotImplementedError(f"{cls.__name__}.connector() is missing")

    @classmethod
    def hooks(cls) -> Hooks:
        """How the programs that the suite shows get at this class."""
        name = cls.__name__
        is_importable = getattr(sys.modules.get(cls.__module__), name, None) is cls
        return Hooks(
            imports=imports_of(cls) if is_importable else [],
            make=f"{name}.make_backend()",
            connect=f"{name}.connector(backend)()",
        )


def imports_of(thing: Any) -> list[str]:
    """The lines by which a script in the current folder imports a class or function."""
    name = thing.__qualname__.partition(".")[0]
    return [*_search_path(thing.__module__), f"from {thing.__module__} import {name}"]


def _search_path(module: str) -> list[str]:
    """How a script finds ``module``, if that lies in a folder of tests, which nobody installs."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or module == "__main__":
        return []
    is_package = Path(file).name == "__init__.py"
    folder = Path(file).resolve().parents[module.count(".") + is_package]
    here = Path.cwd()
    installed = [Path(path).resolve() for path in sysconfig.get_paths().values()]
    if folder == here or folder in installed:
        return []
    shown = folder.relative_to(here) if folder.is_relative_to(here) else folder
    return ["import sys", f"sys.path.insert(0, {str(shown)!r})"]
