"""A backend and the oracle, walked through the same calls; the first difference is a broken law.

Every method makes the call of the same name on the backend and on the model, compares the answers
item by item, and then compares everything that ``find`` shows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar
from unittest import SkipTest

import attrs

from futurama.backend import (
    AddOutcome,
    Capabilities,
    Claim,
    EventBackend,
    IfExists,
    Move,
    NewEvent,
    Query,
    Settlement,
    State,
    StoredEvent,
)
from futurama.conformance import rules
from futurama.conformance.author import Hooks
from futurama.conformance.failure import SAME_STORE, LawBroken, where
from futurama.conformance.literals import as_python
from futurama.conformance.model import Expected, Model, first_unmet
from futurama.conformance.program import Program, Shown
from futurama.conformance.returns import unfit_answer
from futurama.conformance.rules import Stored
from futurama.errors import InvalidEventError
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Lockstep"]

T = TypeVar("T")

_PAGE = 500
_SKEW = timedelta(minutes=10)
"""Clocks differ, but by less than zones do."""
_MICROSECOND = timedelta(microseconds=1)
_ORDINARY = (datetime(1970, 1, 1, tzinfo=UTC), datetime(2038, 1, 19, tzinfo=UTC))
"""Instants outside are those that only a backend with a narrow column gets wrong."""
_ROUNDED = ("due", "trigger_time", "lease_until", "died")
_LAWS_OF_ABSENCE = {
    "add.new",
    "batch.nothing-else",
    "cancel.absent",
    "fence.gone",
    "requeue.others",
    "reschedule.absent",
}
_LAW_OF_FIELD: Mapping[str, str] = {
    "trigger_type": "data.exact",
    "created": "data.exact",
    "lost": "lost.counted",
}
"""Fields that break this law when wrong, whatever the operation was."""
_LAW_OF_CLAIMED: Mapping[str, str] = {"attempt": "claim.attempt", "due": "claim.lease"}
"""The same, of an event that was just claimed."""


class Lockstep:
    """One backend, one model, one program.

    Args:
        backends: opened instances on one empty store; the first one is the main one.
        capabilities: what they are declared to be capable of.
        hooks: for the program that is shown.
        careful: compare everything during :meth:`set_up` as well.

    Attributes:
        model: what the backend should hold.
        program: the calls made so far.
        broken: whether a difference was found; the store is worth nothing then.
        blame: while set, the id of the law that every difference breaks.
    """

    def __init__(
        self,
        backends: Sequence[EventBackend],
        capabilities: Capabilities,
        *,
        hooks: Hooks,
        careful: bool = False,
    ) -> None:
        self.capabilities = capabilities
        self.model = Model(capabilities.resolution)
        self.program = Program(hooks)
        self.broken = False
        self.blame: str | None = None
        self._backends = backends
        self._careful = careful
        self._is_looking = True
        self._is_compared = True
        self._turn = 0
        self._tokens: set[tuple[str, bytes]] = set()

    @property
    def step(self) -> timedelta:
        """The resolution."""
        return self.capabilities.resolution

    @property
    def backend(self) -> EventBackend:
        """The instance that makes the next call."""
        return self._backends[self._turn]

    def use(self, instance: int) -> None:
        """Let another instance on the same store make the next calls; 0 is the main one."""
        self._turn = instance % len(self._backends)

    @contextmanager
    def set_up(self) -> Iterator[None]:
        """Compare nothing but the answers to the calls made in here, which saves many looks.

        What they leave behind is compared after the next call. That may blame the wrong law, so
        what was found in this way is looked for again, carefully.
        """
        before = self._is_looking
        self._is_looking = self._careful
        try:
            yield
        finally:
            self._is_looking = before

    def add(
        self, events: Sequence[NewEvent], *, if_exists: IfExists = "raise"
    ) -> Sequence[AddOutcome]:
        """See the module."""
        if not self._fits([event.payload for event in events]):
            self._refused("add", events, if_exists=if_exists)
            return []
        actual = self._call("add", events, if_exists=if_exists)
        return self._answered(self.model.add(events, if_exists), actual)

    def cancel(self, ids: Sequence[str]) -> Sequence[CancelOutcome]:
        """See the module."""
        actual = self._call("cancel", ids)
        return self._answered(self.model.cancel(ids), actual)

    def reschedule(self, moves: Sequence[Move]) -> Sequence[RescheduleOutcome]:
        """See the module."""
        if not self._fits([move.payload for move in moves]):
            self._refused("reschedule", moves)
            return []
        actual = self._call("reschedule", moves)
        return self._answered(self.model.reschedule(moves), actual)

    def claim(
        self,
        *,
        now: datetime,
        lease_until: datetime,
        due_before: datetime | None = None,
        limit: int = 100,
        owner: str = "a",
    ) -> Sequence[Claim]:
        """See the module; ``due_before`` is ``now`` unless given."""
        due_before = now if due_before is None else due_before
        expected = self.model.due_for_claim(now=now, due_before=due_before, limit=limit)
        batch = self._call(
            "claim",
            owner=owner,
            now=now,
            due_before=due_before,
            lease_until=lease_until,
            limit=limit,
        )
        claims: Sequence[Claim] = list(batch.claims)
        self.program.claimed(claims)
        self._compare_handed_out(expected, claims, now=now, due_before=due_before, limit=limit)
        before = {event.id: event for event in expected}
        self.model.claim(claims, owner=owner, lease_until=lease_until)
        for claim in claims:
            self._compare_claim(before[claim.id], self.model.events[claim.id], claim)
        self._compare_everything(
            dict.fromkeys(before, "claim.carries"), otherwise="batch.nothing-else"
        )
        if batch.next_due != self.model.next_due():
            self._broken("claim.next-due", self.model.next_due(), batch.next_due, Shown.ANSWER)
        return claims

    def renew(
        self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime
    ) -> Sequence[bool]:
        """See the module."""
        actual = self._call("renew", claims, now=now, lease_until=lease_until)
        return self._answered(self.model.renew(claims, now=now, lease_until=lease_until), actual)

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        """See the module."""
        if not self._fits([settlement.payload for settlement in settlements]):
            self._refused("settle", settlements, now=now)
            return []
        actual = self._call("settle", settlements, now=now)
        return self._answered(self.model.settle(settlements, now=now), actual)

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Sequence[bool]:
        """See the module."""
        actual = self._call("requeue", ids, now=now)
        return self._answered(self.model.requeue(ids, now=now), actual)

    def purge(self, *, before: datetime) -> int:
        """See the module."""
        actual: int = self._call("purge", before=before)
        purged = self.model.purge(before=before)
        if actual != len(purged):
            self._broken("purge.before", len(purged), actual, Shown.ANSWER)
        self._compare_everything({}, otherwise="purge.before")
        return actual

    def find(self, query: Query, *, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Read all pages of ``query`` and compare them with the model.

        Args:
            query: what to look for.
            meanwhile: is done behind the first page; may remove events.
        """
        expected = self.model.find(query)
        actual: list[StoredEvent] = []
        is_paged = False
        for _ in range(len(self.model.events) + 1):
            page = self._call("find", query)
            actual += page.events
            if len(page.events) > query.limit:
                self._broken(
                    "find.pages", f"at most {query.limit} events", page.events, Shown.ANSWER
                )
            if page.next is None:
                break
            if len(actual) >= len(expected):
                self._broken("find.pages", "no further page", page.next, Shown.ANSWER)
            if not is_paged:
                meanwhile()
                shown = {event.id for event in actual}
                expected = [e for e in expected if e.id in shown or e.id in self.model.events]
            query = attrs.evolve(query, after=page.next)
            is_paged = True
        self._compare_found(query, expected, actual, is_paged=is_paged)

    def count(self) -> None:
        """Compare ``count`` with the model."""
        expected, actual = self.model.count(), self._look("count", shown=Shown.COUNT)
        if dict(actual) != expected:
            self._broken("count", expected, actual, Shown.COUNT)

    def now(self) -> None:
        """Compare the clock with this machine's."""
        now: object = self._call("now")
        if not isinstance(now, datetime) or not _is_utc(now):
            self._broken("lifecycle.now", "an aware datetime in UTC", now, Shown.ANSWER)
        here = datetime.now(UTC)
        if abs(now - here) > _SKEW:
            self._broken("lifecycle.now", f"about {as_python(here)}", now, Shown.ANSWER)

    def close(self) -> None:
        """Close; who makes another call opens first."""
        self._call("close")

    def open(self) -> None:
        """Open once more: nothing may change."""
        self._call("open")
        self._compare_everything({}, otherwise="lifecycle.open")

    def reopen(self) -> None:
        """Close twice and open again: everything must be there."""
        for operation in ("close", "close", "open"):
            self._call(operation)
        self._compare_everything({}, otherwise="lifecycle.close")

    def lose_reply(self, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make a call whose reply never arrives; what it does has to be right all the same.

        Whatever differs from the model afterwards breaks ``replay.<operation>``.
        """
        self.blame = f"replay.{operation}"
        self.program.call(self._name, operation, *args, note="the reply is lost", **kwargs)
        self._look(operation, *args, **kwargs)
        laws: dict[str, str] = {}
        otherwise = "batch.nothing-else"
        if operation == "claim":
            laws = dict.fromkeys(self._claimed_unseen(**kwargs), "claim.carries")
        elif operation == "purge":
            self.model.purge(*args, **kwargs)
            otherwise = "purge.before"
        else:
            laws = _laws(getattr(self.model, operation)(*args, **kwargs))
        self._compare_everything(laws, otherwise=otherwise)
        self.blame = None

    def repeat(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call whose reply was lost once more.

        Whatever differs from the model now breaks ``replay.<operation>``.
        """
        self.blame = f"replay.{operation}"
        answer = getattr(self, operation)(*args, **kwargs)
        self.count()
        self.blame = None
        return answer

    def finish(self) -> None:
        """Compare at the end of a program what was not compared after each call."""
        if not self._is_compared:
            self._compare_everything({}, otherwise="batch.nothing-else")
        self.count()

    def check(self) -> None:
        """Compare everything that can be seen."""
        self._compare_everything({}, otherwise="batch.nothing-else")
        self.count()

    def _claimed_unseen(self, *, owner: str, lease_until: datetime, **window: Any) -> Sequence[str]:
        """The model's part of a claim whose tokens nobody will ever know; return its events."""
        events = self.model.due_for_claim(**window)
        for event in events:
            self.model.events[event.id] = rules.claim(
                event, owner=owner, lease_until=lease_until, token=b"never seen", step=self.step
            )
        return [event.id for event in events]

    @property
    def _name(self) -> str:
        return "backend" if self._turn == 0 else f"other{self._turn}"

    def _call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Note the call and make it; whatever it raises breaks a law."""
        self.program.call(self._name, operation, *args, **kwargs)
        return self._look(operation, *args, **kwargs)

    def _look(self, operation: str, *args: Any, shown: Shown = Shown.NOTHING, **kwargs: Any) -> Any:
        """Make a call that is in the program already, or whose answer is ``shown`` at its end."""
        try:
            answer = getattr(self.backend, operation)(*args, **kwargs)
        except SkipTest:
            raise
        except NotImplementedError as error:
            self._broken(
                "protocol.complete", f"{operation}() is written", error, shown, cause=error
            )
        except Exception as error:  # whatever it is, a valid call must not raise it
            law = "data.limit" if isinstance(error, InvalidEventError) else "errors"
            if operation in {"open", "close"}:
                law = f"lifecycle.{operation}"
            elif args and args[0] == []:
                law = "batch.empty"
            self._broken(law, f"{operation}() succeeds", error, shown, cause=error)
        if unfit := unfit_answer(operation, answer):
            shown = Shown.ANSWER if shown is Shown.NOTHING else shown
            self._broken("protocol.returns", *unfit, shown)
        return answer

    def _refused(self, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make a call with a payload that is too long."""
        self.program.call(self._name, operation, *args, **kwargs)
        self.program.refused()
        try:
            actual = getattr(self.backend, operation)(*args, **kwargs)
        except SkipTest:
            raise
        except InvalidEventError:
            self._compare_everything({}, otherwise="data.limit")
            return
        except Exception as error:  # any other error is the wrong one
            self._broken("data.limit", "InvalidEventError", error, Shown.NOTHING, cause=error)
        self._broken("data.limit", "InvalidEventError", actual, Shown.ANSWER)

    def _fits(self, payloads: Sequence[bytes | None]) -> bool:
        limit = self.capabilities.max_data_bytes
        return all(payload is None or len(payload) <= limit for payload in payloads)

    def _answered(self, expected: Sequence[Expected[T]], actual: Sequence[T]) -> Sequence[T]:
        """Compare the answer to a batch, then everything else."""
        outcomes = [item.outcome for item in expected]
        if list(actual) != outcomes:
            self._broken(self._law_of_answer(expected, actual), outcomes, actual, Shown.ANSWER)
        self._compare_everything(
            _laws(expected), otherwise="batch.nothing-else" if expected else "batch.empty"
        )
        return actual

    def _law_of_answer(self, expected: Sequence[Expected[T]], actual: Sequence[T]) -> str:
        """The law that a wrong answer to a batch breaks."""
        if not expected:
            return "batch.empty"
        outcomes = [item.outcome for item in expected]
        is_unique = len({item.id for item in expected}) == len(expected)
        is_shuffled = is_unique and sorted(map(repr, actual)) == sorted(map(repr, outcomes))
        if len(actual) != len(expected) or is_shuffled:
            return "batch.positional"
        wrong = next(i for i, item in enumerate(expected) if item.outcome != actual[i])
        earlier = {item.id for item in expected[:wrong]}
        law = "batch.in-order" if expected[wrong].id in earlier else expected[wrong].law
        if law == "renew.extends" or law.startswith("settle."):
            law = "fence.lease-end"  # refused, although it is held
        return self._or_look_alike(law, expected[wrong].id)

    def _compare_handed_out(
        self,
        expected: Sequence[Stored],
        claims: Sequence[Claim],
        *,
        now: datetime,
        due_before: datetime,
        limit: int,
    ) -> None:
        """Compare which events a claim handed out, and in what order."""
        wanted, got = [event.id for event in expected], [claim.id for claim in claims]
        if wanted == got:
            return
        premature = (self._not_claimable(event_id, now, due_before) for event_id in got)
        law = next((law for law in premature if law), "claim.order")
        if len(got) > limit:
            law = "claim.limit"
        elif len(set(got)) < len(got):
            law = "claim.exclusive"
        elif law == "claim.order" and len(got) < len(wanted):
            missing = next(event for event in expected if event.id not in got)
            law = "claim.due" if missing.state is State.WAITING else "claim.lease"
        self._broken(law, wanted, got, Shown.ANSWER)

    def _not_claimable(self, event_id: str, now: datetime, due_before: datetime) -> str | None:
        """The law by which this event must not be handed out; None if it may be."""
        event = self.model.events.get(event_id)
        if event is None or event.due is None:
            return "claim.due"
        if rules.claimable(event, now=now, due_before=due_before):
            return None
        bound = due_before if event.state is State.WAITING else now
        if event.due - bound < self.step:
            return "time.never-early"
        if event.state is State.WAITING:
            return "claim.due"
        return "claim.look-ahead" if event.due <= due_before else "claim.exclusive"

    def _compare_claim(self, before: Stored, after: Stored, claim: Claim) -> None:
        """Compare the contents of one claim; the law of each field in the order of importance."""
        key = (claim.id, claim.token)
        if not claim.token or key in self._tokens:
            self._broken(
                "claim.token", "a token never used for this id before", claim.token, Shown.ANSWER
            )
        self._tokens.add(key)
        wants: Sequence[tuple[str, object, str]] = (
            ("attempt", after.attempt, "claim.attempt"),
            ("lost_before", after.lost, "lost.for-good" if before.lost else "lost.counted"),
            ("lease_until", after.due, "claim.lease"),
            ("due", before.due, "claim.carries"),
            ("trigger_time", before.trigger_time, "claim.carries"),
            ("trigger_type", before.trigger_type, "claim.carries"),
            ("payload", before.payload, "claim.carries"),
            ("created", before.created, "claim.carries"),
        )
        for field, wanted, law in wants:
            got = getattr(claim, field)
            if got != wanted or (isinstance(got, datetime) and not _is_utc(got)):
                if field in _ROUNDED:
                    law = self._law_of_time(wanted, got, law)  # noqa: PLW2901 -- refined
                expected = f"{field} of {claim.id!r}: {as_python(wanted)}"
                self._broken(law, expected, as_python(got), Shown.ANSWER)

    def _compare_found(
        self,
        query: Query,
        expected: Sequence[Stored],
        actual: Sequence[StoredEvent],
        *,
        is_paged: bool,
    ) -> None:
        wanted, got = [event.id for event in expected], [event.id for event in actual]
        if wanted == got:
            for stored, seen in zip(expected, actual, strict=True):
                self._compare_event(stored, seen, "data.exact")
            return
        law = "find.order" if sorted(wanted) == sorted(got) else "find.pages"
        given = [
            law
            for law, criterion in {
                "find.ids": query.ids,
                "find.trigger-type": query.trigger_type,
                "find.state": query.state,
                "find.due": query.due_from or query.due_until,
            }.items()
            if criterion is not None
        ]
        unwanted = [event_id for event_id in got if event_id not in wanted]
        if unwanted:
            known = self.model.events.get(unwanted[0])
            law = "batch.nothing-else" if known is None else first_unmet(known, query) or law
        elif given and set(wanted) - set(got) and not is_paged:
            law = given[0]
        self._broken(law, wanted, got, Shown.ANSWER)

    def _compare_everything(self, laws: Mapping[str, str], *, otherwise: str) -> None:
        """Compare all that can be seen with the model.

        Args:
            laws: by which law each event that the last call named is as it is.
            otherwise: the law that is broken when any other event differs.
        """
        self._is_compared = self._is_looking
        if not self._is_looking:
            return
        seen = self._everything_seen()
        for event_id in sorted(self.model.events.keys() | seen.keys()):
            law = laws.get(event_id, otherwise)
            expected, actual = self.model.events.get(event_id), seen.get(event_id)
            if expected is None or actual is None:
                wanted = f"{event_id!r} is {'absent' if expected is None else 'there'}"
                if self._turn and not seen:
                    wanted += f" ({SAME_STORE})"
                self._broken(self._or_look_alike(law, event_id), wanted, actual or "it is absent")
            self._compare_event(expected, actual, law)
        wanted_order = [event.id for event in self.model.in_order()]
        if list(seen) != wanted_order:
            self._broken("find.order", wanted_order, list(seen))

    def _everything_seen(self) -> dict[str, StoredEvent]:
        """All events that the backend shows, in the order of its answer."""
        query = Query(limit=_PAGE)
        seen: dict[str, StoredEvent] = {}
        while True:
            page = self._look("find", query, shown=Shown.FIND)
            for event in page.events:
                if event.id in seen:
                    self._broken("find.pages", "every event once", f"{event.id!r} twice")
                seen[event.id] = event
            if page.next is None:
                return seen
            if not page.events:
                self._broken("find.pages", "no further page behind an empty one", page)
            query = attrs.evolve(query, after=page.next)

    def _compare_event(self, expected: Stored, actual: StoredEvent, law: str) -> None:
        if (
            expected.died
            and actual.died
            and rules.same_death(expected.died, actual.died, self.step)
        ):
            # The contract leaves the rounding open, so from here on the backend's word counts.
            expected = attrs.evolve(expected, died=actual.died)
            self.model.events[expected.id] = expected
        visible = expected.visible()
        for field in attrs.fields(StoredEvent):
            wanted, got = getattr(visible, field.name), getattr(actual, field.name)
            if wanted == got and (not isinstance(got, datetime) or _is_utc(got)):
                continue
            law = self._law_of_field(field.name, wanted, got, law)
            self._broken(
                law if law == "add.new" else self._or_look_alike(law, actual.id),
                f"{field.name} of {actual.id!r}: {as_python(wanted)}",
                as_python(got),
            )

    def _law_of_field(self, field: str, expected: Any, actual: Any, law: str) -> str:
        """The law that a wrong field breaks, given the law that the last call obeyed."""
        if field in _ROUNDED:
            law = self._law_of_time(expected, actual, law)
        if field == "created" and not _is_utc(actual):
            return "time.utc"
        if field == "owner" and expected is not None:
            return "data.exact"
        if field == "lost" and expected and law not in {"claim.carries", "add.replace-claimed"}:
            return "lost.for-good"
        if field == "payload" and law == "add.new":
            return "data.exact"
        if law in {"add.replace-claimed", "batch.nothing-else"} or law.startswith("time."):
            return law
        law = _LAW_OF_FIELD.get(field, law)
        return _LAW_OF_CLAIMED.get(field, law) if law == "claim.carries" else law

    def _law_of_time(self, expected: Any, actual: Any, law: str) -> str:
        """``law``, unless the way in which a time is wrong names a better one."""
        if not isinstance(expected, datetime) or not isinstance(actual, datetime):
            return law
        if not _is_utc(actual) or _is_of_another_zone(expected, actual):
            return "time.utc"
        # Microseconds leave nothing to round, so there a difference has another reason.
        if abs(expected - actual) <= self.step and self.step > _MICROSECOND:
            return "time.rounds-up"
        if _has_lost_digits(expected, actual):
            return "time.rounds-up"
        if not _ORDINARY[0] <= expected <= _ORDINARY[1]:
            return "time.extremes"
        return law

    def _or_look_alike(self, law: str, event_id: str) -> str:
        """``id.byte-exact`` if another id was likely taken for this one, else ``law``.

        Likely it is only where this event should have been absent, or left alone.
        """
        if law not in _LAWS_OF_ABSENCE:
            return law
        alike = _careless(event_id)
        others = (other for other in self.model.events if other != event_id)
        return "id.byte-exact" if any(_careless(other) == alike for other in others) else law

    def _broken(
        self,
        law: str,
        expected: object,
        actual: object,
        shown: Shown = Shown.FIND,
        *,
        cause: Exception | None = None,
    ) -> NoReturn:
        """The law is broken.

        Args:
            law: its id.
            expected, actual: see :class:`LawBroken`.
            shown: where the actual value was seen.
            cause: the exception that should not have been raised.
        """
        self.broken = True
        raise LawBroken(
            self.blame or law,
            expected=expected,
            actual=actual,
            program=self.program.lines(shown, backend=self._name),
            raised=where(cause) if cause is not None else "",
        ) from cause


def _laws(expected: Sequence[Expected[Any]]) -> dict[str, str]:
    """By which law each event that a batch names is as it is afterwards."""
    laws: dict[str, str] = {}
    for item in expected:
        laws[item.id] = "batch.in-order" if item.id in laws else item.law
    return laws


def _is_of_another_zone(expected: datetime, actual: datetime) -> bool:
    """Whether it is as much too early or too late as a zone may be; nothing else of the suite is."""
    shift = abs(expected - actual)
    return timedelta(0) < shift <= timedelta(hours=14) and not shift % timedelta(minutes=15)


def _has_lost_digits(expected: datetime, actual: datetime) -> bool:
    """Whether a column of milliseconds or seconds, where more are declared, makes one of the other."""
    return (
        abs(expected - actual) < timedelta(seconds=1)
        and expected.microsecond > 999
        and actual.microsecond % 1000 == 0
    )


def _careless(event_id: str) -> str:
    """What a careless collation compares: no case, no accents, no padding, nothing after NUL."""
    decomposed = unicodedata.normalize("NFKD", event_id.partition("\0")[0].strip())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def _is_utc(value: datetime) -> bool:
    return value.utcoffset() == timedelta(0)
