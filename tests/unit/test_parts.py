"""Batches of which a part is locked or refused."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from futurama.errors import BackendSetupError, BackendUnavailableError, OutcomeUnknownError
from futurama.parts import in_parts, may_pass
from tests.unit.support import locked, rejected, unavailable, unknown


class Writer:
    """Refuses one item, says which are locked, and may fail.

    Attributes:
        written: all batches that were asked for.
    """

    def __init__(self, *, bad: str = "", locked: str = "", fails_at: int = -1) -> None:
        self.written: list[str] = []
        self._bad = bad
        self._locked = locked
        self._fails_at = fails_at

    def __call__(self, items: Sequence[str]) -> Sequence[str]:
        self.written.append("".join(items))
        if len(self.written) == self._fails_at:
            raise unavailable()
        if any(item in self._bad for item in items):
            raise rejected(self._bad)
        if positions := [number for number, item in enumerate(items) if item in self._locked]:
            raise locked(*positions)
        return [item.upper() for item in items]


def parts(writer: Writer, items: str) -> list[tuple[str, str]]:
    """What became of which items: results, or the name of the error."""
    return [
        (
            "".join(part),
            type(outcome).__name__ if isinstance(outcome, Exception) else "".join(outcome),
        )
        for part, outcome in in_parts(writer, items)
    ]


def test_all_together() -> None:
    """Usually there is one part."""
    assert parts(Writer(), "abc") == [("abc", "ABC")]


def test_what_is_locked_is_known_first() -> None:
    """P8: whoever wants it can go on, and it is not asked for again."""
    writer = Writer(locked="bd")
    assert parts(writer, "abcd") == [("bd", "EventsLockedError"), ("ac", "AC")]
    assert writer.written == ["abcd", "ac"]


def test_what_is_refused_fails_nobody_else() -> None:
    """P9: after that each is written on its own."""
    expected = [("a", "A"), ("b", "BackendRejectedError"), ("c", "C")]
    assert parts(Writer(bad="b"), "abc") == expected


def test_one_is_locked_and_one_is_refused() -> None:
    """P8, P9: what is told first comes first; the rest is written."""
    assert parts(Writer(bad="c", locked="b"), "abcd") == [
        ("a", "A"),
        ("b", "EventsLockedError"),
        ("cd", "BackendUnavailableError"),
    ]


def test_an_outage_ends_it() -> None:
    """P8: it is met once, and not once for each item."""
    writer = Writer(bad="b", fails_at=4)
    assert parts(writer, "abcdef") == [
        ("a", "A"),
        ("b", "BackendRejectedError"),
        ("c", "BackendUnavailableError"),
        ("def", "BackendUnavailableError"),
    ]
    assert writer.written == ["abcdef", "a", "b", "c"]


def test_only_what_was_sent_may_have_been_written() -> None:
    """P6: that an answer was lost says nothing of what was not tried."""
    errors = [rejected("a"), unknown()]

    def write(_: Sequence[str]) -> Sequence[str]:
        raise errors.pop(0)

    [(first, its), (rest, theirs)] = in_parts(write, "abc")
    assert (first, rest) == (["a"], "bc")
    assert isinstance(its, OutcomeUnknownError)
    assert type(theirs) is BackendUnavailableError


def test_wrong_numbers_of_results_are_told() -> None:
    """P1: nobody takes the answer for another item for his own."""
    [(part, outcome)] = in_parts(lambda _: ["A"], "abc")
    assert part == "abc"
    assert isinstance(outcome, ValueError)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (unavailable(), True),
        (unknown(), True),
        (locked(), True),
        (BackendSetupError("no right", backend="faulty"), True),
        (rejected("a"), False),
        (KeyError("bug"), False),
    ],
)
def test_what_may_pass(error: Exception, *, expected: bool) -> None:
    """All that concerns the backend, and not the item."""
    assert may_pass(error) is expected
