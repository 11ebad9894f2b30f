"""Between the data of applications and the bytes that backends store: JSON, and nothing silently changed."""

from __future__ import annotations

import json
from typing import Any

from futurama.errors import InvalidEventError

__all__ = ["MAX_DEPTH", "decode", "encode"]

MAX_DEPTH = 200
"""Data has at most so many lists and dicts inside of each other. Python's encoder and parser are recursive:
how deep they get depends on the version, and up to 3.11 (1,000) on what else is on the stack. What one
process has encoded must be decoded by any other, wherever it is called from."""

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
            a str, a circular value or one that is nested more deeply than :data:`MAX_DEPTH`.
    """
    try:
        _check(data, MAX_DEPTH)
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


def _check(data: Any, depth: int) -> None:
    """Refuse what is nested more deeply than that, and what the encoder would change.

    It would turn the keys 1, None and True into "1", "null" and "true" without a word.
    """
    if not isinstance(data, _CONTAINERS):
        return
    if not depth:
        raise ValueError(f"it is circular, or nested more than {MAX_DEPTH} deep")
    if isinstance(data, dict):
        for name in data:
            if not isinstance(name, str):
                raise TypeError(f"the key {name!r} is not a str")
    for value in data.values() if isinstance(data, dict) else data:
        if isinstance(value, _CONTAINERS):
            _check(value, depth - 1)


def _shorten(data: Any) -> str:
    try:
        shown = repr(data)
    except Exception:  # a broken __repr__ must not hide the real error
        shown = object.__repr__(data)
    return shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "…"
