"""What several commands share: ``--config``, ``--json`` and points in time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

from futurama.config import Config
from futurama.errors import InvalidEventError

__all__ = ["config_option", "demo_config_option", "instant", "json_option"]

_RELATIVE = re.compile(r"([+-])((?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+)")
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def instant(
    _: click.Context, __: click.Parameter, value: str | None
) -> datetime | timedelta | None:
    """The callback of options and arguments that are points in time.

    Returns:
        An aware datetime for ``2030-01-31T18:00:00+01:00``, a timedelta for ``+1h30m`` and ``now``.

    Raises:
        click.BadParameter: it is like none of these.
        InvalidEventError: it does not say how far it is from UTC.
    """
    if value is None:
        return None
    if value == "now":
        return timedelta(0)
    if match := _RELATIVE.fullmatch(value):
        return _relative(value, *match.groups())
    try:
        absolute = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is neither like 2030-01-31T18:00:00+01:00 nor like +10s, +5m, +1h30m, +7d "
            "nor now"
        ) from None
    if absolute.utcoffset() is None:
        raise InvalidEventError(
            f"the time {value!r} does not say how far it is from UTC; append the offset, like "
            f"{absolute.isoformat()}+01:00, or Z for UTC",
            field="trigger_time",
        )
    return absolute


def _relative(value: str, sign: str, parts: str) -> timedelta:
    try:
        total = sum(
            (timedelta(**{_UNITS[unit]: float(n)}) for n, unit in _PART.findall(parts)),
            timedelta(0),
        )
    except OverflowError:
        raise click.BadParameter(f"{value!r} lies beyond the calendar") from None
    return -total if sign == "-" else total


def _load(_: click.Context, __: click.Parameter, value: str | None) -> Config:
    return Config() if value is None else Config.from_file(value)


def _load_if_given(_: click.Context, __: click.Parameter, value: str | None) -> Config | None:
    return None if value is None else Config.from_file(value)


config_option = click.option(
    "--config",
    metavar="FILE",
    callback=_load,
    help="Configuration, one JSON object; by default MySQL at 127.0.0.1.",
)
"""``--config FILE``; the command gets a :class:`~futurama.config.Config`."""

demo_config_option = click.option(
    "--config",
    metavar="FILE",
    callback=_load_if_given,
    help="Configuration, one JSON object; by default SQLite in a temporary folder.",
)
"""The same for the demonstration; the command gets None where there is no FILE."""

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, for programs to read."
)
"""``--json``; the command gets ``as_json``."""
