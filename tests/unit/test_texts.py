"""Text for people, about what may have any size and whose methods may do anything."""

from __future__ import annotations

import pytest

from futurama.texts import ShortenedError, presentable, shortened, text_of


def test_what_fits_is_left_alone() -> None:
    """A text of exactly the greatest length is not changed."""
    assert shortened("x" * 100, 100) == "x" * 100


def test_what_does_not_fit_says_how_long_it_was() -> None:
    """A longer one has that length, and ends with how many characters there were."""
    text = shortened("x" * 12_345, 100)
    assert len(text) == 100
    assert text.endswith("x… (12,345 characters in all)")


def test_a_value_without_a_text() -> None:
    """Of a value whose ``repr`` raises, the class is told."""

    class Silent:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Silent object at" in text_of(repr, Silent(), 200)
    assert text_of(repr, [1], 200) == "[1]"


def test_exceptions_are_presented_as_they_are() -> None:
    """Only what would fill the log is replaced, by its class and the beginning of its text."""
    error = ValueError("oops")
    assert presentable(error) is error
    with pytest.raises(ShortenedError, match=r"ValueError: xxx.*… \(100,000 characters in all\)"):
        raise presentable(ValueError("x" * 100_000))
