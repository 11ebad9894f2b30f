"""Looking at events: one page of ``find``, for people and tools."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from operator import itemgetter
from typing import TypeAlias

from futurama.backend import Page, Query, State, StoredEvent
from futurama.backends.redis import records
from futurama.backends.redis.batches import MOST_BYTES, MOST_ITEMS
from futurama.backends.redis.server import Server
from futurama.errors import BackendRejectedError

__all__ = ["find"]

_Position: TypeAlias = tuple[bool, bytes]
"""Where in the order of all pages an event stands: whether it is dead, then its member."""

_Found: TypeAlias = tuple[_Position, StoredEvent]

_CURSOR = re.compile(r"(live|dead)\.((?:[0-9a-f]{2})+)", re.ASCII)

_LIVE_STATES = {None: b"wc", State.WAITING: b"w", State.CLAIMED: b"c", State.DEAD: b""}


def find(server: Server, query: Query) -> Page:
    """See :meth:`futurama.backend.EventBackend.find`.

    Raises:
        BackendRejectedError: ``query.after`` was not made by this function.
    """
    after = None if query.after is None else _parse(query.after)
    if query.ids is None:
        events = _in_order(server, query, after)
    else:
        events = _by_id(server, query, query.ids, after)
    page = events[: query.limit]
    is_last = len(events) <= query.limit
    return Page(events=[event for _, event in page], next=None if is_last else _cursor(page[-1][0]))


def _in_order(server: Server, query: Query, after: _Position | None) -> Sequence[_Found]:
    """One event more than the page may have, if there are so many."""
    has_bounds = query.due_from is not None or query.due_until is not None
    dead_states = b"d" if query.state in {None, State.DEAD} and not has_bounds else b""
    events: list[_Found] = []
    for is_dead, states in ((False, _LIVE_STATES[query.state]), (True, dead_states)):
        if not states or (after is not None and after[0] > is_dead):
            continue
        member = after[1] if after is not None and after[0] == is_dead else None
        for portion in _portions(server, query, states, member):
            events += portion
            if len(events) > query.limit:
                return events[: query.limit + 1]
    return events


def _portions(
    server: Server, query: Query, states: bytes, after: bytes | None
) -> Iterator[Sequence[_Found]]:
    """The events in these states that match, in order, as one script after the other finds them."""
    until = b"+" if query.due_until is None else b"(" + records.digits(query.due_until)
    first = b"-" if query.due_from is None else b"[" + records.digits(query.due_from)
    if after is not None and after > first[1:]:
        first = b"(" + after
    wanted = () if query.trigger_type is None else (query.trigger_type.encode(),)
    while True:
        last, answer = server.read("page", states, first, until, MOST_ITEMS, MOST_BYTES, *wanted)
        yield _found(answer)
        if not last:
            return
        first = b"(" + last


def _by_id(
    server: Server, query: Query, ids: Sequence[str], after: _Position | None
) -> Sequence[_Found]:
    """The same among these ids."""
    rest = list(dict.fromkeys(event_id.encode() for event_id in ids))
    events: list[_Found] = []
    while rest:
        looked, answer = server.read("look", MOST_BYTES, *rest[:MOST_ITEMS])
        rest = rest[looked:]
        events += [
            (position, event)
            for position, event in _found(answer)
            if _matches(event, query) and (after is None or position > after)
        ]
        events = sorted(events, key=itemgetter(0))[: query.limit + 1]
    return events


def _found(answer: Sequence[bytes]) -> list[_Found]:
    triples = zip(answer[::3], answer[1::3], answer[2::3], strict=True)
    return [(_position(triple[0], triple[1]), records.stored_event(*triple)) for triple in triples]


def _position(event_id: bytes, record: bytes) -> _Position:
    return records.is_dead(record), record[: records.TIME_BYTES] + event_id


def _matches(event: StoredEvent, query: Query) -> bool:
    return (
        query.trigger_type in {None, event.trigger_type}
        and query.state in {None, event.state}
        and (query.due_from is None or (event.due is not None and event.due >= query.due_from))
        and (query.due_until is None or (event.due is not None and event.due < query.due_until))
    )


def _cursor(position: _Position) -> str:
    is_dead, member = position
    return f"{'dead' if is_dead else 'live'}.{member.hex()}"


def _parse(cursor: str) -> _Position:
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise BackendRejectedError(
            f"{cursor!r} is not the `next` of a page; start again without `after`", backend="redis"
        )
    return match[1] == "dead", bytes.fromhex(match[2])
