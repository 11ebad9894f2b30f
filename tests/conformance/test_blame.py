"""A difference is blamed on the law that leads to the fault."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from futurama.backend import Query, State
from futurama.conformance import LAWS, blame
from futurama.conformance.model import Expected
from futurama.conformance.rules import Stored
from futurama.conformance.strategies import START
from futurama.events import CancelOutcome

MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
HOUR = timedelta(hours=1)
YES, NO = CancelOutcome.CANCELLED, CancelOutcome.NOT_FOUND

WAITING = Stored("waiting", "t", START, b"1", START, due=START + SECOND)
CLAIMED = attrs.evolve(WAITING, id="claimed", token=b"token", due=START + 2 * SECOND)
DEAD = attrs.evolve(WAITING, id="dead", due=None, died=START, reason="why")
EVENTS = {event.id: event for event in (WAITING, CLAIMED, DEAD)}


def absent(*event_ids: str) -> list[Expected[CancelOutcome]]:
    """What must be answered about events that are not there."""
    return [Expected(event_id, NO, "cancel.absent") for event_id in event_ids]


@pytest.mark.parametrize(
    ("expected", "actual", "known", "law"),
    [
        ([], [NO], [], "batch.empty"),
        (absent("a", "b"), [NO], [], "batch.positional"),
        ([*absent("a"), Expected("b", YES, "cancel.waiting")], [YES, NO], [], "batch.positional"),
        (absent("a", "b"), [NO, YES], [], "cancel.absent"),
        (absent("a", "a"), [NO, YES], [], "batch.in-order"),
        (absent("a"), [YES], ["b"], "cancel.absent"),
        (absent("a"), [YES], ["A "], "id.byte-exact"),
        ([Expected("a", YES, "cancel.waiting")], [NO], ["A"], "cancel.waiting"),
    ],
)
def test_wrong_answer_to_a_batch(
    expected: Sequence[Expected[CancelOutcome]],
    actual: Sequence[CancelOutcome],
    known: Sequence[str],
    law: str,
) -> None:
    """Its length comes first, then its order, then the law of the first item that is wrong."""
    assert blame.of_answer(expected, actual, known) == law


@pytest.mark.parametrize("law", ["renew.extends", "settle.retry"])
def test_held_claim_that_is_refused(law: str) -> None:
    """It was taken for one whose lease had ended."""
    assert blame.of_answer([Expected("a", outcome=True, law=law)], [False], []) == "fence.lease-end"


def test_events_named_twice_are_as_the_batch_left_them() -> None:
    """Only of the others the law is that of the item."""
    expected = [*absent("a", "b"), Expected("a", NO, "cancel.dead")]
    assert blame.laws_after(expected) == {"a": "batch.in-order", "b": "cancel.absent"}


@pytest.mark.parametrize(
    ("expected", "actual", "seconds", "law"),
    [
        ([WAITING], ["waiting", "claimed", "dead"], 0, "claim.limit"),
        ([WAITING], ["waiting", "waiting"], 0, "claim.exclusive"),
        ([], ["unknown"], 0, "claim.due"),
        ([], ["dead"], 0, "claim.due"),
        ([], ["waiting"], -9, "claim.due"),
        ([], ["waiting"], 0.999999, "time.never-early"),
        ([], ["claimed"], 1.999999, "time.never-early"),
        ([], ["claimed"], 0, "claim.exclusive"),
        ([WAITING], [], 1, "claim.due"),
        ([CLAIMED], [], 2, "claim.lease"),
        ([WAITING, CLAIMED], ["claimed", "waiting"], 2, "claim.order"),
    ],
)
def test_wrong_events_handed_out(
    expected: Sequence[Stored], actual: Sequence[str], seconds: float, law: str
) -> None:
    """What was handed out too early names the law, then what is missing, then the order."""
    now = START + seconds * SECOND
    found = blame.of_handed_out(
        expected, actual, EVENTS, now=now, due_before=now, limit=2, step=SECOND
    )
    assert found == law


def test_lease_that_ends_by_due_before() -> None:
    """A claimed event that only looking ahead could reach has a law of its own."""
    found = blame.of_handed_out(
        [],
        ["claimed"],
        EVENTS,
        now=START,
        due_before=START + HOUR,
        limit=2,
        step=MICROSECOND,
    )
    assert found == "claim.look-ahead"


@pytest.mark.parametrize(
    ("field", "was_lost", "law"),
    [
        ("attempt", False, "claim.attempt"),
        ("lost_before", False, "lost.counted"),
        ("lost_before", True, "lost.for-good"),
        ("payload", False, "claim.carries"),
    ],
)
def test_wrong_field_of_a_claim(field: str, was_lost: bool, law: str) -> None:  # noqa: FBT001 -- a parameter of the test
    """Most fields are what the event was."""
    found = blame.of_claim_field(field, 1, 2, was_lost=was_lost, step=MICROSECOND)
    assert found == law


@pytest.mark.parametrize(
    ("query", "expected", "actual", "law"),
    [
        (Query(), ["waiting", "dead"], ["dead", "waiting"], "find.order"),
        (Query(), ["waiting"], ["waiting", "waiting"], "find.pages"),
        (Query(), ["waiting"], [], "find.pages"),
        (Query(ids=["waiting"], state=State.WAITING), ["waiting"], [], "find.ids"),
        (Query(state=State.WAITING), ["waiting"], ["waiting", "dead"], "find.state"),
        (Query(due_from=START), ["waiting"], ["waiting", "dead"], "find.due"),
        (Query(trigger_type="u"), [], ["waiting"], "find.trigger-type"),
        (Query(state=State.DEAD), ["dead"], ["unknown"], "batch.nothing-else"),
    ],
)
def test_wrong_events_found(
    query: Query, expected: Sequence[str], actual: Sequence[str], law: str
) -> None:
    """What should have been kept out names the criterion, then what is missing, then the order."""
    assert blame.of_found(query, expected, actual, EVENTS, is_paged=False) == law


def test_events_missing_from_several_pages() -> None:
    """Then the pages are to blame, whatever was looked for."""
    query = Query(ids=["waiting"])
    assert blame.of_found(query, ["waiting"], [], EVENTS, is_paged=True) == "find.pages"


@pytest.mark.parametrize(
    ("field", "expected", "actual", "last", "law"),
    [
        ("payload", b"1", b"2", "add.new", "data.exact"),
        ("payload", b"1", b"2", "settle.retry", "settle.retry"),
        ("trigger_type", "t", "T", "settle.retry", "data.exact"),
        ("created", START, START + SECOND, "settle.retry", "data.exact"),
        ("owner", "a", None, "claim.carries", "data.exact"),
        ("owner", None, "a", "settle.retry", "settle.retry"),
        ("lost", True, False, "settle.retry", "lost.for-good"),
        ("lost", True, False, "claim.carries", "lost.counted"),
        ("lost", False, True, "settle.retry", "lost.counted"),
        ("lost", True, False, "add.replace-claimed", "add.replace-claimed"),
        ("attempt", 1, 2, "claim.carries", "claim.attempt"),
        ("attempt", 1, 2, "settle.release", "settle.release"),
        ("due", START, START + SECOND, "claim.carries", "claim.lease"),
        ("due", START, None, "settle.retry", "settle.retry"),
        ("payload", b"1", b"2", "batch.nothing-else", "batch.nothing-else"),
    ],
)
def test_wrong_field_of_an_event(
    field: str, expected: object, actual: object, last: str, law: str
) -> None:
    """Some fields have a law of their own, others that of the last call."""
    assert blame.of_field(field, expected, actual, last, MICROSECOND) == law


@pytest.mark.parametrize(
    ("expected", "actual", "step", "law"),
    [
        (START, START - 5 * HOUR, MICROSECOND, "time.utc"),
        (START, START - 5 * HOUR + SECOND, MICROSECOND, "add.new"),
        (START, START - SECOND, SECOND, "time.rounds-up"),
        (START, START - MICROSECOND, MICROSECOND, "add.new"),
        (START.replace(microsecond=1500), START.replace(microsecond=1000), MICROSECOND, "time.rounds-up"),
        (datetime(1969, 1, 1, tzinfo=UTC), START, MICROSECOND, "time.extremes"),
        (START, datetime(1969, 1, 1, tzinfo=UTC), MICROSECOND, "add.new"),
    ],
)  # fmt: skip
def test_wrong_time(expected: datetime, actual: datetime, step: timedelta, law: str) -> None:
    """The way in which it is wrong tells a zone from a rounding and from a narrow column."""
    assert blame.of_field("due", expected, actual, "add.new", step) == law


@pytest.mark.parametrize("other", ["A", "a ", "á", "a\0b", "ａ"])
def test_look_alike_is_suspected(other: str) -> None:
    """An event that should be absent was likely taken for one whose id looks the same."""
    assert blame.of_presence("add.new", "a", ["a", other]) == "id.byte-exact"
    assert blame.of_presence("add.new", "a", ["a", "b"]) == "add.new"
    assert blame.of_presence("settle.done", "a", ["a", other]) == "settle.done"


def test_every_law_that_is_blamed_exists() -> None:
    """The ids in the tables are those of laws."""
    tables = (blame._LAW_OF_FIELD, blame._LAW_OF_CLAIMED, blame._LAW_IN_CLAIM)
    laws = {law for table in tables for law in table.values()} | blame._LAWS_OF_ABSENCE
    assert laws <= set(LAWS)
