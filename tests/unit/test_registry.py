"""Finding a backend by its name."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints

import pytest

from futurama import UnknownBackendError, registry
from futurama.backends.memory import MemoryBackend


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that broken packages announce backends."""
    entries = EntryPoints(
        [
            EntryPoint("missing", "no_such_package_anywhere:Backend", registry.GROUP),
            EntryPoint("nameless", "futurama.backends.memory:NoSuchBackend", registry.GROUP),
            EntryPoint("wrong", "json:dumps", registry.GROUP),
        ]
    )
    monkeypatch.setattr(registry, "entry_points", entries.select)


def test_installed_backends() -> None:
    """The backends of this distribution are announced, and loaded by name."""
    assert {"memory", "mysql", "sqlite"} <= set(registry.backend_names())
    assert registry.backend_names() == sorted(registry.backend_names())
    assert registry.backend_class("memory") is MemoryBackend


def test_nobody_provides_it() -> None:
    """The error says which name, and which names there are."""
    with pytest.raises(UnknownBackendError, match=r"'oracle'; installed are: .*memory") as info:
        registry.backend_class("oracle")
    assert info.value.key == "backend"


@pytest.mark.usefixtures("install")
@pytest.mark.parametrize("name", ["missing", "nameless", "wrong"])
def test_broken_packages(name: str) -> None:
    """What an installed package lacks, a dependency or the class, is our error, not a traceback."""
    with pytest.raises(UnknownBackendError, match=f"backend '{name}'"):
        registry.backend_class(name)


@pytest.mark.usefixtures("install")
def test_advice_for_a_missing_dependency() -> None:
    """The error names what could not be imported."""
    with pytest.raises(UnknownBackendError, match=r"no_such_package_anywhere.*install"):
        registry.backend_class("missing")
