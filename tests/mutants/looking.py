"""Mutants that show what is not so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from futurama.backend import Page, Query, State, StoredEvent
from futurama.backends.memory import MemoryBackend
from tests.mutants.registry import breaks

_EVERYTHING = Query(limit=10**9)


@breaks("find.ids")
class NoIdsMeansAll(MemoryBackend):
    """``if query.ids`` where ``is not None`` was meant."""

    def find(self, query: Query) -> Page:
        return super().find(attrs.evolve(query, ids=query.ids or None))


@breaks("find.trigger-type")
class TypesHaveNoCase(MemoryBackend):
    """A collation on the column of types."""

    def find(self, query: Query) -> Page:
        wanted = query.trigger_type
        if wanted is None:
            return super().find(query)
        page = super().find(attrs.evolve(query, trigger_type=None, limit=10**9))
        events = [e for e in page.events if e.trigger_type.casefold() == wanted.casefold()]
        return Page(events=events[: query.limit], next=None)


@breaks("find.state")
class LiveIsWaiting(MemoryBackend):
    """Looks for events with a due."""

    def find(self, query: Query) -> Page:
        if query.state is not State.WAITING:
            return super().find(query)
        page = super().find(attrs.evolve(query, state=None, limit=10**9))
        return Page(events=[e for e in page.events if e.due is not None][: query.limit], next=None)


@breaks("find.due")
class UntilIsIncluded(MemoryBackend):
    """BETWEEN."""

    def find(self, query: Query) -> Page:
        until = query.due_until
        if until is None:
            return super().find(query)
        page = super().find(attrs.evolve(query, due_until=None, limit=10**9))
        events = [e for e in page.events if e.due is not None and e.due <= until]
        return Page(events=events[: query.limit], next=None)


@breaks("find.due")
class TheDeadAreDue(MemoryBackend):
    """NULL sorts before everything."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        if query.due_from is not None or query.due_until is None:
            return page
        dead = super().find(attrs.evolve(query, state=State.DEAD, due_until=None)).events
        return attrs.evolve(page, events=[*page.events, *dead])


class _Sorts(MemoryBackend):
    def place(self, event: StoredEvent) -> Any:
        raise NotImplementedError

    def find(self, query: Query) -> Page:
        page = super().find(attrs.evolve(query, limit=10**9, after=None))
        events = sorted(page.events, key=self.place)
        start = int(query.after or 0)
        end = start + query.limit
        return Page(events=events[start:end], next=str(end) if end < len(events) else None)


@breaks("find.order")
class SortsById(_Sorts):
    """The order of the primary key."""

    def place(self, event: StoredEvent) -> Any:
        return event.id.encode()


@breaks("find.order")
class TheDeadComeFirst(_Sorts):
    """NULL sorts before everything."""

    def place(self, event: StoredEvent) -> Any:
        return (event.due is not None, event.due or event.died, event.id.encode())


@breaks("find.pages")
class ContinuesBehindTheTime(MemoryBackend):
    """WHERE due > ?: of events due at once only those on the first page are seen."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        if page.next is None or page.events[-1].due is None:
            return page
        return attrs.evolve(page, next=page.next[:21] + "g")


@breaks("find.pages")
class AlwaysOnePageMore(MemoryBackend):
    """A full page is taken for one that has a successor."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        full = page.next is None and len(page.events) == query.limit
        return attrs.evolve(page, next="2") if full else page


@breaks("find.pages")
class PagesOfAnySize(MemoryBackend):
    """Ignores the limit."""

    def find(self, query: Query) -> Page:
        return super().find(attrs.evolve(query, limit=10**9))


@breaks("count")
class NoZeros(MemoryBackend):
    """GROUP BY."""

    def count(self) -> Mapping[State, int]:
        return {state: number for state, number in super().count().items() if number}
