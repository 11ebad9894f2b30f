"""Mutants that show what is not so."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from futurama.backend import Page, Query, State, StoredEvent
from futurama.backends.memory import MemoryBackend
from futurama.times import to_us
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


class _Overlooks(MemoryBackend):
    """Leaves live events out that a bound of the query just includes."""

    def overlooks(self, event: StoredEvent, query: Query) -> bool:
        raise NotImplementedError

    def find(self, query: Query) -> Page:
        page = super().find(query)
        return attrs.evolve(
            page, events=[event for event in page.events if not self.overlooks(event, query)]
        )


@breaks("find.due")
class UntilIsTooEarlyForClaims(_Overlooks):
    """``due < due_until - 1``, for claimed events."""

    def overlooks(self, event: StoredEvent, query: Query) -> bool:
        if event.due is None or query.due_until is None or event.state is not State.CLAIMED:
            return False
        return to_us(event.due) == to_us(query.due_until) - 1


@breaks("find.due")
class FromIsTooLateForClaims(_Overlooks):
    """``due > due_from``, for claimed events."""

    def overlooks(self, event: StoredEvent, query: Query) -> bool:
        return event.state is State.CLAIMED and event.due == query.due_from


@breaks("find.due")
class FromIsExcluded(MemoryBackend):
    """``>`` where ``>=`` was meant."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        events = [e for e in page.events if query.due_from is None or e.due != query.due_from]
        return attrs.evolve(page, events=events)


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
        return attrs.evolve(page, next=page.next[:33] + "g")


class _Turns(MemoryBackend):
    """Pages by number, and loses its place by ``step`` when it turns one."""

    step: int

    def find(self, query: Query) -> Page:
        everything = super().find(attrs.evolve(query, limit=10**9, after=None)).events
        start = int(query.after or 0)
        end = start + query.limit
        more = end < len(everything)
        return Page(events=everything[start:end], next=str(end + self.step) if more else None)


@breaks("find.pages")
class SkipsOneAtThePageBreak(_Turns):
    """Continues behind the first event that it has not shown."""

    step = 1


@breaks("find.pages")
class RepeatsOneAtThePageBreak(_Turns):
    """Continues with the last event that it has shown."""

    step = -1


@breaks("find.pages")
class PagesByOffset(_Turns):
    """LIMIT ? OFFSET ?: when events go meanwhile, as many others are skipped."""

    step = 0


@breaks("find.pages")
class EndsWithARepeat(MemoryBackend):
    """Shows the last event once more if all that were behind the page have gone."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        if query.after is None or page.events:
            return page
        return Page(events=super().find(_EVERYTHING).events[-1:], next=None)


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


@breaks("find.state", test="find.ids")
class IdsDoNotMeetOtherCriteria(MemoryBackend):
    """Looks ids up by key and forgets the rest of the query."""

    def find(self, query: Query) -> Page:
        if query.ids is None:
            return super().find(query)
        return super().find(Query(ids=query.ids, limit=query.limit, after=query.after))


@breaks("data.exact", test="find.state")
class ListsWithoutPayloads(MemoryBackend):
    """A list for people has no use for the data."""

    def find(self, query: Query) -> Page:
        page = super().find(query)
        if query.state is None:
            return page
        return attrs.evolve(page, events=[attrs.evolve(e, payload=b"") for e in page.events])


@breaks("find.order")
class SortsTimesAsText(_Sorts):
    """Microseconds since 1970 in decimal digits."""

    def place(self, event: StoredEvent) -> Any:
        time = event.due or event.died
        assert time is not None
        return (event.due is None, str(to_us(time)), event.id.encode())


@breaks("count")
class NoZeros(MemoryBackend):
    """GROUP BY."""

    def count(self) -> Mapping[State, int]:
        return {state: number for state, number in super().count().items() if number}
