"""The names that Futurama promises."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

import futurama
from tests.packaging.project import modules

PROMISED = {
    "CancelOutcome",
    "Config",
    "Event",
    "EventBackend",
    "EventStatus",
    "Queue",
    "TriggerResult",
}

MODULES = [name for name in modules() if "__main__" not in name and name != "futurama"]


def public_names(module: ModuleType) -> list[str]:
    """What a user sees: no private names, no submodules."""
    names = [name for name in vars(module) if not name.startswith("_") and name != "annotations"]
    return sorted(name for name in names if not inspect.ismodule(getattr(module, name)))


def test_all_is_what_is_there() -> None:
    """``futurama.__all__`` is sorted and lists every public name of the package, and no other."""
    listed = [name for name in futurama.__all__ if not name.startswith("_")]
    assert listed == public_names(futurama)
    assert list(futurama.__all__) == sorted(futurama.__all__)


def test_promised_names() -> None:
    """The names that the README uses are there."""
    assert set(futurama.__all__) >= PROMISED


@pytest.mark.parametrize("name", MODULES)
def test_modules_list_their_names(name: str) -> None:
    """Everything that a module lists in ``__all__`` exists, and is listed once."""
    module = importlib.import_module(name)
    listed = getattr(module, "__all__", [])
    assert len(listed) == len(set(listed))
    assert not [each for each in listed if not hasattr(module, each)]
