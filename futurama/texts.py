"""Text for people, about what may have any size and whose methods may do anything."""

from __future__ import annotations

import traceback
from collections.abc import Callable

__all__ = ["ShortenedError", "presentable", "shortened", "text_of"]

_LONGEST_TRACEBACK = 65_536
"""In characters. A long chain of exceptions through several frameworks has half as many."""

_LONGEST_TEXT = 2_000
"""Of an exception that is not shown as it is, in characters."""


class ShortenedError(Exception):
    """Stands in a log for an exception that is too long to be shown, or cannot be."""


def shortened(text: str, longest: int) -> str:
    """``text``; if it has more characters than that, its beginning and how many they are."""
    if len(text) <= longest:
        return text
    note = f"… ({len(text):,} characters in all)"
    return text[: longest - len(note)] + note


def text_of(convert: Callable[[object], str], value: object, longest: int) -> str:
    """What ``convert`` makes of ``value``, shortened; if it cannot, which class ``value`` is of."""
    try:
        text = convert(value)
    except BaseException:
        text = object.__repr__(value)
    return shortened(text, longest)


def presentable(error: BaseException) -> BaseException:
    """``error``, or what to log instead of it: its traceback may have megabytes, or be impossible."""
    stand_in = ShortenedError(f"{type(error).__name__}: {text_of(str, error, _LONGEST_TEXT)}")
    try:
        stand_in.__traceback__ = error.__traceback__
        length = sum(map(len, traceback.format_exception(error)))
    except BaseException:  # not even its class can be asked for
        return stand_in
    return error if length <= _LONGEST_TRACEBACK else stand_in
