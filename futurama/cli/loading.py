"""Where ``futurama run`` gets its triggers from."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import timedelta
from operator import attrgetter
from pathlib import Path
from typing import Any

import click

from futurama.cli.output import one_line
from futurama.config import Config
from futurama.triggers import Trigger

__all__ = ["http_trigger", "load_triggers"]

_MAX_TIMEOUT = timedelta(seconds=10)


def http_trigger(config: Config, *, trust_env: bool = True) -> Any:
    """The trigger for URLs, whose calls end well within their lease.

    Args:
        config: says how long a lease is.
        trust_env: whether proxies from the environment are used.
    """
    try:
        from futurama.http import HttpTrigger  # noqa: PLC0415 -- it may be missing what it needs
    except ModuleNotFoundError as exc:
        raise click.ClickException(str(exc)) from exc
    lease = timedelta(seconds=config.consumer_lock_timeout_sec)
    return HttpTrigger(timeout=min(_MAX_TIMEOUT, lease / 2), trust_env=trust_env)


def load_triggers(names: Sequence[str]) -> dict[str, Trigger]:
    """The triggers of all mappings that ``module:name`` names.

    Raises:
        click.ClickException: one cannot be loaded, or two have the same trigger type.
    """
    # As `python -m` does; the installed command would look in its own folder instead.
    if "" not in sys.path:
        sys.path.insert(0, "")
    triggers: dict[str, Trigger] = {}
    for name in names:
        mapping = _load(name)
        for trigger_type, trigger in mapping.items():
            if trigger_type in triggers:
                raise click.ClickException(
                    f"{name} has the trigger type {trigger_type!r}, which an earlier mapping has too"
                )
            triggers[trigger_type] = trigger
    return triggers


def _load(name: str) -> Mapping[str, Trigger]:
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise click.UsageError(f"{name!r} is not like package.module:name")
    try:
        found = attrgetter(attribute)(importlib.import_module(module_name))
    except Exception as exc:  # whatever the module does when it is imported
        raise click.ClickException(one_line(f"cannot load {name}: {_shown(exc)}")) from exc
    if not isinstance(found, Mapping):
        raise click.ClickException(
            f"{name} must be a mapping from trigger types to triggers, got {found!r}"
        )
    return found


def _shown(exc: Exception) -> str:
    """The error and, if that is somebody's file, the place where it was raised."""
    place = traceback.extract_tb(exc.__traceback__)[-1]
    where = f" ({place.filename}, line {place.lineno})" if Path(place.filename).exists() else ""
    return f"{type(exc).__name__}: {exc}{where}"
