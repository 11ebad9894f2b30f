"""Between the data of applications and the bytes that backends store: JSON, and nothing silently changed."""

from __future__ import annotations

import json
from typing import Any

from futurama.errors import InvalidEventError

__all__ = ["decode", "encode"]

_SHOWN = 80
"""How many characters of offending data an error message repeats."""

_CONTAINERS = (dict, list, tuple)

_readable = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_escaped = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))
_parser = json.JSONDecoder()


def encode(data: Any) -> bytes:
    """``data`` as JSON in UTF-8.

    What comes back from :func:`decode` equals ``data``, except that tuples become lists.

    Raises:
        InvalidEventError: ``data`` is not JSON: another type, NaN, an infinity, a key that is not
            a str, a circular or too deeply nested value.
    """
    try:
        _require_text_keys(data)
        text = _readable.encode(data)
    except (TypeError, ValueError, RecursionError) as exc:
        shown = _shorten(data)
        raise InvalidEventError(
            f"data cannot be stored as JSON ({exc}): {shown}; use dict with str keys, list, str, "
            "int, float, bool and None only",
            field="data",
        ) from exc
    try:
        return text.encode()
    except UnicodeEncodeError:
        # A lone surrogate has no UTF-8, but JSON can escape it.
        return _escaped.encode(data).encode()


def decode(payload: bytes) -> Any:
    """The data that :func:`encode` was given.

    Raises:
        ValueError: ``payload`` is not JSON.
    """
    try:
        return _decode(payload)
    except RecursionError as exc:
        raise ValueError(f"nested too deeply: {exc}") from exc


def _decode(payload: bytes) -> Any:
    """As ``json.loads``, which is only asked about what :func:`encode` would not have written."""
    try:
        text = payload.decode()
        data, end = _parser.raw_decode(text)
    except ValueError:
        return json.loads(payload)
    return data if end == len(text) else json.loads(payload)


def _require_text_keys(data: Any) -> None:
    """The encoder would turn the keys 1, None and True into "1", "null" and "true" without a word."""
    values = data
    if isinstance(data, dict):
        for name in data:
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is not a str")
        values = data.values()
    elif not isinstance(data, _CONTAINERS):
        return
    for value in values:
        if isinstance(value, _CONTAINERS):
            _require_text_keys(value)


def _shorten(data: Any) -> str:
    try:
        shown = repr(data)
    except Exception:  # a broken __repr__ must not hide the real error
        shown = object.__repr__(data)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
