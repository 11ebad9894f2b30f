"""Whoever looks at a whole store finds out if the pages are wrong, the tests of threads and crashes too."""

from __future__ import annotations

import pytest

from futurama.backend import NewEvent, Page, Query
from futurama.backends.memory import MemoryBackend
from futurama.conformance import LawBroken
from futurama.conformance.pages import all_events
from futurama.conformance.strategies import START


def stored(*event_ids: str) -> MemoryBackend:
    """A backend that holds these events."""
    backend = MemoryBackend()
    events = [
        NewEvent(id=event_id, trigger_type="t", trigger_time=START, payload=b"1", created=START)
        for event_id in event_ids
    ]
    backend.add(events, if_exists="raise")
    return backend


def test_all_pages_are_read() -> None:
    """However many there are."""
    ids = [f"{number:04}" for number in range(1001)]
    assert [event.id for event in all_events(stored(*ids).find)] == ids


def test_event_that_is_shown_twice_is_a_finding() -> None:
    """Else the last one would count, and pages that begin anew would never end."""
    page = Page(events=stored("a").find(Query()).events, next="again")
    with pytest.raises(LawBroken) as caught:
        all_events(lambda query: page)
    assert (caught.value.law, caught.value.actual) == ("find.pages", "'a' twice")


def test_page_behind_an_empty_one_is_a_finding() -> None:
    """An empty page with a next one might be the first of infinitely many."""
    with pytest.raises(LawBroken) as caught:
        all_events(lambda query: Page(events=[], next="on"))
    assert caught.value.law == "find.pages"
