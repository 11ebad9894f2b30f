"""Everything that ``find`` shows, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import attrs

from futurama.backend import Page, Query, StoredEvent
from futurama.conformance.failure import LawBroken

__all__ = ["all_events"]

_LIMIT: Final = 500
"""Most stores of the suite fit into one page; the programs that it shows ask for as many."""


def all_events(find: Callable[[Query], Page]) -> list[StoredEvent]:
    """All events, in the order of the answers of ``find``.

    Raises:
        LawBroken: an event is shown twice, or the pages have no end.
    """
    query = Query(limit=_LIMIT)
    seen: dict[str, StoredEvent] = {}
    while True:
        page = find(query)
        for event in page.events:
            if event.id in seen:
                raise _broken("every event once", f"{event.id!r} twice")
            seen[event.id] = event
        if page.next is None:
            return list(seen.values())
        if not page.events:
            raise _broken("no further page behind an empty one", page)
        query = attrs.evolve(query, after=page.next)


def _broken(expected: str, actual: object) -> LawBroken:
    return LawBroken("find.pages", expected=expected, actual=actual)
