"""From a flat mapping to a checked attrs object: one way for the core's keys and every backend's."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Collection, Mapping
from typing import Any, TypeVar, get_args, get_type_hints

import attrs

from futurama.errors import ConfigError

__all__ = ["checked", "describe", "key", "load"]

T = TypeVar("T")

_SOUNDS_SECRET = re.compile("pass|pw|secret|cred|token|auth", re.IGNORECASE)
"""Keys that nobody knows but whose values are nobody's business."""

_ELSEWHERE = {
    "database": "db_name",
    "db": "db_name",
    "limit": "consumer_select_limit",
    "lease": "consumer_lock_timeout_sec",
}
"""What others call a key, where the letters alone would suggest a wrong one or none."""

_DOC, _UNIT, _SECRET, _MINIMUM, _MAXIMUM = "doc", "unit", "secret", "minimum", "maximum"
_CHOICES = "choices"


def key(
    default: Any,
    doc: str,
    *,
    unit: str = "",
    secret: bool = False,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: Collection[str] = (),
) -> Any:
    """An attrs field that is a key of the configuration.

    Args:
        default: its value when the key is absent.
        doc: one sentence for the documentation and the command line.
        unit: ``"s"``, ``"ms"``, ``"events"`` ...; empty where there is none.
        secret: never shown, neither in ``repr`` nor in errors.
        minimum, maximum: the least and the greatest number allowed.
        choices: the only texts allowed; any is if there are none.
    """
    metadata = {
        _DOC: doc,
        _UNIT: unit,
        _SECRET: secret,
        _MINIMUM: minimum,
        _MAXIMUM: maximum,
        _CHOICES: choices,
    }
    return attrs.field(
        default=default, repr=(lambda _: "'***'") if secret else True, metadata=metadata
    )


def load(
    cls: type[T], values: Mapping[str, Any], *, also_known: Collection[str] = (), whose: str = ""
) -> T:
    """Make a ``cls`` from ``values``, whose keys must all be fields of ``cls``.

    Args:
        cls: an attrs class whose fields were made by :func:`key`.
        values: the keys given.
        also_known: keys that are not ``cls``'s business but may be what a misspelt key meant.
        whose: the keys are, for the error about one that nobody knows.

    Raises:
        ConfigError: an unknown key, a wrong type or a number below the minimum; names the key,
            the value (unless secret) and what would be right.
    """
    return cls(**checked(cls, values, also_known=also_known, whose=whose))


def checked(
    cls: type[Any],
    values: Mapping[str, Any],
    *,
    also_known: Collection[str] = (),
    whose: str = "",
) -> dict[str, Any]:
    """``values`` as :func:`load` would pass them to ``cls``; an int becomes a float where wanted."""
    fields = attrs.fields_dict(cls)
    hints = get_type_hints(cls)
    known = dict.fromkeys(also_known, False) | {n: _is_secret(f) for n, f in fields.items()}
    result = {}
    for name, value in values.items():
        if name not in fields:
            raise _unknown_key(name, value, known, whose)
        result[name] = _check(name, value, hints[name], fields[name])
    return result


def _unknown_key(name: str, value: object, known: Mapping[str, bool], whose: str) -> ConfigError:
    """The error for a key that nobody knows.

    Args:
        name: the key.
        value: its value; shown only where it cannot be, or contain, a secret.
        known: all known keys, and whether each is secret.
        whose: see :func:`load`.
    """
    elsewhere = _ELSEWHERE.get(name.lower(), name)
    wanted = elsewhere if elsewhere in known else name.lower()
    near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.5)
    may_be_secret = (
        not near
        or known[near[0]]
        or _SOUNDS_SECRET.search(name)
        or not isinstance(value, str | int | float | None)
    )
    shown = "" if may_be_secret else f" (value {value!r})"
    advice = f"did you mean {near[0]!r}?" if near else f"known keys are {', '.join(sorted(known))}"
    of = f" of {whose}" if whose else ""
    return ConfigError(f"unknown configuration key {name!r}{of}{shown}: {advice}", key=name)


def _is_secret(field: attrs.Attribute[Any]) -> bool:
    """Whether the key must never be shown."""
    return bool(field.metadata.get(_SECRET))


def describe(cls: type[Any]) -> list[tuple[str, str, Any, str, str]]:
    """For documentation: (key, type, default, unit, sentence) of every key of ``cls``.

    A class's own keys come before those that it inherits.
    """
    hints = get_type_hints(cls)
    return [
        (
            field.name,
            _type_name(hints[field.name]),
            field.default,
            field.metadata[_UNIT],
            field.metadata[_DOC],
        )
        for field in sorted(attrs.fields(cls), key=lambda field: field.inherited)
        if _DOC in field.metadata
    ]


def _check(name: str, value: Any, hint: Any, field: attrs.Attribute[Any]) -> Any:
    allowed = get_args(hint) or (hint,)
    shown = "***" if _is_secret(field) else repr(value)
    # bool is an int for Python, but `"port": true` is a mistake.
    if type(value) is int and int not in allowed and float in allowed:
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if type(value) not in allowed:
        raise ConfigError(
            f"configuration key {name!r} must be {_type_name(hint)}, "
            f"got {shown} ({type(value).__name__})",
            key=name,
        )
    minimum, maximum = field.metadata[_MINIMUM], field.metadata[_MAXIMUM]
    if minimum is not None and value is not None and not value >= minimum:
        raise ConfigError(
            f"configuration key {name!r} must be at least {minimum:g}, got {shown}", key=name
        )
    if maximum is not None and value is not None and not value <= maximum:
        raise ConfigError(
            f"configuration key {name!r} must be at most {maximum:g}, got {shown}", key=name
        )
    choices = field.metadata[_CHOICES]
    if choices and value is not None and value not in choices:
        raise ConfigError(
            f"configuration key {name!r} must be one of {', '.join(choices)}, got {shown}", key=name
        )
    return value


def _type_name(hint: Any) -> str:
    json_names = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}
    return " or ".join(json_names.get(each, "null") for each in (get_args(hint) or (hint,)))
