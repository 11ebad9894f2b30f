"""Events, results, and the names that both may have."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from futurama import Event, EventStatus, InvalidEventError, TriggerResult
from futurama.events import MAX_ID_BYTES, MAX_TYPE_BYTES, check_id, check_trigger_type
from tests.unit.support import LAWS, START


@given(st.text(min_size=1, max_size=32))
@LAWS
def test_any_text_of_the_right_size_is_an_id(text: str) -> None:
    """Ids may contain whatever UTF-8 can encode, NUL and spaces included, and are not changed."""
    assert check_id(text) == text


@pytest.mark.parametrize(
    ("value", "because"),
    [
        ("", "got an empty string"),
        ("a" * (MAX_ID_BYTES + 1), f"1 to {MAX_ID_BYTES} bytes"),
        ("é" * (MAX_ID_BYTES // 2 + 1), f"has {MAX_ID_BYTES + 2}"),
        ("\ud800", "lone surrogate"),
        (7, "must be a str"),
        (b"bytes", "must be a str"),
        (None, "must be a str"),
    ],
)
def test_what_is_not_an_id(value: Any, because: str) -> None:
    """Whatever cannot be an id is refused with the reason."""
    with pytest.raises(InvalidEventError, match=because) as info:
        check_id(value)
    assert info.value.field == "id"


def test_the_longest_names() -> None:
    """Exactly 128 bytes are allowed, counted in UTF-8."""
    assert check_id("é" * (MAX_ID_BYTES // 2))
    assert check_trigger_type("t" * MAX_TYPE_BYTES)


def test_long_names_are_shortened_in_errors() -> None:
    """P8: an id of a megabyte does not make an error of a megabyte."""
    with pytest.raises(InvalidEventError) as info:
        check_trigger_type("x" * 1_000_000)
    assert len(str(info.value)) < 200
    assert info.value.field == "trigger_type"


def test_statuses_of_the_go_original() -> None:
    """The numbers are those of the Go original, so results may be made from numbers."""
    assert [(s.name, s.value) for s in EventStatus] == [
        ("DEFAULT", 1), ("OK", 2), ("CANCEL", 3), ("ERROR", 4), ("RETRY", 5),
    ]  # fmt: skip
    assert TriggerResult(5).status is EventStatus.RETRY


def test_wrong_status() -> None:
    """A result with a status that does not exist cannot be made."""
    with pytest.raises(ValueError, match="6 is not a valid EventStatus"):
        TriggerResult(6)


def test_events_are_values() -> None:
    """A trigger cannot change its event."""
    event = Event(id="a", trigger_type="t", trigger_time=START, created=START)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.attempt = 2  # type: ignore[misc]  # the mistake is the point
    assert event == Event(id="a", trigger_type="t", trigger_time=START, created=START)
