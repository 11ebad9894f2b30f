"""Finding a backend by the name that the configuration gives."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from futurama.backend import ConfigurableBackend
from futurama.errors import UnknownBackendError

__all__ = ["GROUP", "backend_class", "backend_names"]

GROUP = "futurama.backends"
"""The entry-point group in which packages announce their backends."""


def backend_names() -> list[str]:
    """The names of all installed backends, sorted."""
    return sorted(entry_points(group=GROUP).names)


def backend_class(name: str) -> type[ConfigurableBackend]:
    """The class that the entry point ``name`` names.

    Raises:
        UnknownBackendError: there is none, it needs a package that is not installed, or it is no
            :class:`~futurama.backend.ConfigurableBackend`.
    """
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        raise UnknownBackendError(
            f"no installed package provides the backend {name!r}; "
            f"installed are: {', '.join(backend_names()) or 'none'}",
            key="backend",
        )
    try:
        loaded: type[ConfigurableBackend] = found[0].load()
        _ = loaded.Settings, loaded.from_settings
    except (ImportError, AttributeError) as exc:
        raise UnknownBackendError(
            f"the backend {name!r} cannot be loaded ({exc}); {_advice(found[0])}", key="backend"
        ) from exc
    return loaded


def _advice(entry_point: EntryPoint) -> str:
    dist = entry_point.dist
    extras = dist.metadata.get_all("Provides-Extra", []) if dist else []
    if dist and entry_point.name in extras:
        return f'install what it needs: pip install "{dist.name}[{entry_point.name}]"'
    return "install what it needs"
