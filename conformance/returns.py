"""What the operations return, by type: what is equal to the right answer may still not be one.

A ``Decimal`` counts like an int, a ``memoryview`` equals its bytes and 2 o'clock in Berlin is noon
in New York; but no one who uses a backend has to expect them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

import attrs

from futurama.backend import AddOutcome, Claim, ClaimBatch, Page, State, StoredEvent
from futurama.conformance.literals import as_python
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Unfit", "is_utc", "unfit_answer"]

_ITEMS: Final[Mapping[str, type]] = {
    "add": AddOutcome,
    "cancel": CancelOutcome,
    "reschedule": RescheduleOutcome,
    "renew": bool,
    "settle": bool,
    "requeue": bool,
}
"""Of what the answer to a batch is a sequence."""

_RECORDS: Final[Mapping[str, tuple[type, str, type]]] = {
    "claim": (ClaimBatch, "claims", Claim),
    "find": (Page, "events", StoredEvent),
}
"""What else is returned, which of its fields is a sequence, and of what."""


def _types(cls: type, *, without: str = "") -> Sequence[tuple[str, tuple[type, ...]]]:
    hints = get_type_hints(cls)
    return [(name, get_args(hint) or (hint,)) for name, hint in hints.items() if name != without]


_FIELDS: Final = {
    Claim: _types(Claim),
    StoredEvent: _types(StoredEvent),
    ClaimBatch: _types(ClaimBatch, without="claims"),
    Page: _types(Page, without="events"),
}
"""The types that the protocol allows for each field."""


@attrs.frozen
class Unfit:
    """What is wrong with an answer, whatever the backend holds.

    Attributes:
        law: the id of the law that it breaks.
        expected: what should have been returned, for people.
        actual: what was.
    """

    law: str
    expected: str
    actual: object


def unfit_answer(operation: str, answer: Any) -> Unfit | None:
    """What is wrong with the types in an ``answer`` of ``operation``; None if nothing is."""
    if operation in _ITEMS:
        item = _ITEMS[operation]
        fits = _is_sequence_of(item, answer)
        return None if fits else _wrong(f"a sequence of {item.__name__}", answer)
    if operation in _RECORDS:
        return _unfit_record(answer, *_RECORDS[operation])
    if operation == "count":
        fits = isinstance(answer, Mapping) and all(
            isinstance(key, State) and type(number) is int for key, number in answer.items()
        )
        return None if fits else _wrong("a mapping from State to int", answer)
    if operation == "purge" and type(answer) is not int:
        return _wrong("an int", answer)
    return None


def is_utc(value: datetime) -> bool:
    """Whether a time is aware, and in UTC."""
    return value.utcoffset() == timedelta(0)


def _wrong(expected: str, actual: object) -> Unfit:
    return Unfit("protocol.returns", expected, actual)


def _is_sequence_of(item: type, value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(one, item) for one in value)


def _unfit_record(answer: Any, record: type, items: str, item: type) -> Unfit | None:
    if not (isinstance(answer, record) and _is_sequence_of(item, getattr(answer, items))):
        article = f"a {record.__name__}, whose {items} are a sequence of {item.__name__}"
        return _wrong(article, answer)
    if unfit := _unfit_field(answer, record):
        return unfit
    for one in getattr(answer, items):
        if unfit := _unfit_field(one, item):
            return unfit
    return None


def _unfit_field(one: Any, record: type) -> Unfit | None:
    """The first field of ``one`` with a type that the protocol does not have there."""
    for field, types in _FIELDS[record]:
        value = getattr(one, field)
        # A subclass of datetime is one; of bool, int, str and bytes other types would pass as well.
        if type(value) not in types and not (datetime in types and isinstance(value, datetime)):
            names = " or ".join("None" if kind is NoneType else kind.__name__ for kind in types)
            return _wrong(
                f"{_name(one, field)} is of type {names}",
                f"{type(value).__name__}: {as_python(value)}",
            )
        if isinstance(value, datetime) and not is_utc(value):
            return Unfit("time.utc", f"{_name(one, field)} is aware and in UTC", value)
    return None


def _name(one: Any, field: str) -> str:
    return f"{field} of {one.id!r}" if isinstance(one, Claim | StoredEvent) else field
