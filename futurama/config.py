"""The configuration: one flat JSON object, or keyword arguments of the same names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import attrs

from futurama import settings
from futurama.backend import MAX_OWNER_BYTES, EventBackend
from futurama.errors import ConfigError
from futurama.registry import backend_class

__all__ = ["Config"]


_YEAR_SEC = 366 * 86_400.0
"""Longer times are mistakes, and would overflow somewhere."""

_MAX_CLAIMED = 100_000
"""A claim is one transaction, and should take seconds at most; larger statements are refused."""

_MAX_THREADS = 10_000
"""A Linux process gets about 32,000, and a trigger that hangs may take a second one."""


@attrs.frozen(init=False, repr=False)
class Config:
    """All that can be configured, checked when it is made.

    The keys below belong to the core. Every other key belongs to the backend and is checked
    against the backend's own settings (``docs/configuration.md`` lists all of both). The keys of
    the Go original are accepted with their meaning.

    Args:
        **values: the keys.

    Raises:
        ConfigError: an unknown key, a wrong type or a bad value; names the key, the value and
            what would be right, but never a password.
        UnknownBackendError: the backend is not installed, or not what it needs.
    """

    backend: str = settings.key("mysql", "the name of the backend, where events wait")
    queue_name: str = settings.key(
        "",
        "name of this instance in claims and logs, up to 128 bytes of UTF-8; "
        "empty: host name, process id and a random part",
    )
    consumer_lock_timeout_sec: float = settings.key(
        31.0,
        "lease: how long a claim lasts unless renewed",
        unit="s",
        minimum=0.5,
        maximum=_YEAR_SEC,
    )
    consumer_time_window_sec: float = settings.key(
        0.25,
        "look-ahead: how long before its time an event may be claimed",
        unit="s",
        minimum=0,
        maximum=_YEAR_SEC,
    )
    consumer_select_limit: int = settings.key(
        1000, "most events claimed at once", unit="events", minimum=1, maximum=_MAX_CLAIMED
    )
    consumer_sleep_msec: float = settings.key(
        100.0,
        "longest time between two looks for due events",
        unit="ms",
        minimum=1,
        maximum=_YEAR_SEC * 1000,
    )
    max_scheduled_events: int = settings.key(
        10_000, "most events held by this instance, called or not", unit="events", minimum=1
    )
    max_retry: int = settings.key(18, "calls after the first one; then the dead letters", minimum=0)
    retry_base_msec: float = settings.key(
        250.0,
        "wait after the first failed attempt; doubles with each",
        unit="ms",
        minimum=0,
        maximum=_YEAR_SEC * 1000,
    )
    retry_cap_sec: float = settings.key(
        600.0, "longest wait between two attempts", unit="s", minimum=0, maximum=_YEAR_SEC
    )
    dead_letter_days: float = settings.key(
        7.0, "how long dead letters are kept; 0: not at all", unit="days", minimum=0, maximum=36_500
    )
    max_worker_threads: int = settings.key(
        16,
        "triggers that are plain functions called at once",
        unit="threads",
        minimum=1,
        maximum=_MAX_THREADS,
    )
    max_coroutines: int = settings.key(
        1000, "triggers that are coroutine functions called at once", unit="coroutines", minimum=1
    )
    operation_timeout_sec: float = settings.key(
        10.0,
        "how long create, cancel ... repeat while the backend is unavailable",
        unit="s",
        minimum=0,
        maximum=_YEAR_SEC,
    )
    trigger_timeout_sec: float = settings.key(
        0.0,
        "how long a call of a trigger may take; then it is cancelled or abandoned, and its event is "
        "called again by the backoff; 0: as long as it likes",
        unit="s",
        minimum=0,
        maximum=_YEAR_SEC,
    )
    stop_timeout_sec: float = settings.key(
        10.0, "how long stop() waits for running calls", unit="s", minimum=0, maximum=_YEAR_SEC
    )
    stat_interval_sec: float = settings.key(
        0.0, "log the statistics this often; 0: never", unit="s", minimum=0, maximum=_YEAR_SEC
    )
    backend_options: Mapping[str, Any] = attrs.field(factory=dict)

    def __init__(self, **values: Any) -> None:
        core = _core_keys()
        self.__attrs_init__(
            **settings.checked(type(self), {k: v for k, v in values.items() if k in core}),
            backend_options={k: v for k, v in values.items() if k not in core},
        )
        _check_queue_name(self.queue_name)
        if self.consumer_time_window_sec > self.consumer_lock_timeout_sec / 3:
            raise ConfigError(
                f"configuration key 'consumer_time_window_sec' ({self.consumer_time_window_sec:g}) "
                "must be at most a third of 'consumer_lock_timeout_sec' "
                f"({self.consumer_lock_timeout_sec:g}): an event must be called well within its lease",
                key="consumer_time_window_sec",
            )
        if self.retry_cap_sec * 1000 < self.retry_base_msec:
            raise ConfigError(
                f"configuration key 'retry_cap_sec' ({self.retry_cap_sec:g} s) must not be shorter than "
                f"'retry_base_msec' ({self.retry_base_msec:g} ms): the longest wait would be shorter "
                "than the first",
                key="retry_cap_sec",
            )
        if self.backend_options:
            self._backend_settings()

    @classmethod
    def from_mapping(cls, mapping: Mapping[Any, Any]) -> Self:
        """A configuration from, say, a part of your application's own configuration."""
        if not isinstance(mapping, Mapping):
            raise ConfigError(
                "the configuration must be a mapping from keys to values, "
                f"got {type(mapping).__name__}"
            )
        not_text = [name for name in mapping if not isinstance(name, str)]
        if not_text:
            raise ConfigError(f"configuration keys must be str, got {not_text[0]!r}")
        return cls(**mapping)

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> Self:
        """A configuration from a file with one JSON object."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"cannot read the configuration file {str(path)!r}: {exc}") from exc
        try:
            mapping = json.loads(text, object_pairs_hook=_without_duplicates)
        except json.JSONDecodeError as exc:
            raise ConfigError(
                f"the configuration file {str(path)!r} is not JSON: {exc.msg} "
                f"in line {exc.lineno}, column {exc.colno}"
            ) from exc
        if not isinstance(mapping, dict):
            raise ConfigError(
                f"the configuration file {str(path)!r} must contain one JSON object, "
                f"got {type(mapping).__name__}"
            )
        return cls.from_mapping(mapping)

    def make_backend(self) -> EventBackend:
        """The configured backend, not opened yet."""
        return backend_class(self.backend).from_settings(self._backend_settings())

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!r}" for name in _core_keys()]
        if self.backend_options:
            shown.append(repr(self._backend_settings()))
        return f"Config({', '.join(shown)})"

    def _backend_settings(self) -> Any:
        cls = backend_class(self.backend).Settings
        whose = f"the backend {self.backend!r}"
        return settings.load(cls, self.backend_options, also_known=_core_keys(), whose=whose)


def _check_queue_name(name: str) -> None:
    try:
        is_storable = len(name.encode()) <= MAX_OWNER_BYTES
    except UnicodeEncodeError:
        is_storable = False
    if not is_storable:
        raise ConfigError(
            f"configuration key 'queue_name' must be text of at most {MAX_OWNER_BYTES} bytes of "
            f"UTF-8, got {name!r}",
            key="queue_name",
        )


def _core_keys() -> list[str]:
    return [field.name for field in attrs.fields(Config) if field.name != "backend_options"]


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"configuration key {twice!r} is given twice; remove one", key=twice)
    return mapping
