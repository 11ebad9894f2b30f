"""A backend and the oracle, walked through the same calls; the first difference is a broken law.

Every method makes the call of the same name on the backend and on the model, compares the answers
item by item, and then compares everything that ``find`` and ``count`` show.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

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
from futurama.conformance.failure import LawBroken
from futurama.conformance.model import Expected, Model, first_unmet
from futurama.conformance.program import Program
from futurama.conformance.replay import LosesReplies
from futurama.conformance.rules import Stored
from futurama.errors import InvalidEventError, OutcomeUnknownError
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Lockstep"]

T = TypeVar("T")

_PAGE = 500
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


class Lockstep:
    """One backend, one model, one program.

    Args:
        backends: opened instances on one empty store; the first one is the main one.
        capabilities: what they are declared to be capable of.
        suite: the name of the suite's class, for the program that is shown.

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
        suite: str = "MyTest",
    ) -> None:
        self.capabilities = capabilities
        self.model = Model(capabilities.resolution)
        self.program = Program(suite)
        self.broken = False
        self._backends = backends
        self._turn = 0
        self._tokens: set[tuple[str, bytes]] = set()
        self.blame: str | None = None

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
            self._broken("claim.next-due", self.model.next_due(), batch.next_due)
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
            self._broken("purge.before", len(purged), actual)
        self._compare_everything({}, otherwise="purge.before")
        return actual

    def find(self, query: Query) -> None:
        """Read all pages of ``query`` and compare them with the model."""
        expected = self.model.find(query)
        actual: list[StoredEvent] = []
        is_paged = False
        for _ in range(len(self.model.events) + 1):
            page = self._call("find", query)
            actual += page.events
            if len(page.events) > query.limit:
                self._broken("find.pages", f"at most {query.limit} events", page.events)
            if page.next is None:
                break
            if len(actual) >= len(expected):
                self._broken("find.pages", "no further page", page.next)
            query = attrs.evolve(query, after=page.next)
            is_paged = True
        self._compare_found(query, expected, actual, is_paged=is_paged)

    def count(self) -> None:
        """Compare ``count`` with the model."""
        expected, actual = self.model.count(), self._look("count")
        if dict(actual) != expected:
            self._broken("count", expected, actual)

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
        """Make a call whose reply never arrives, and then the same call again.

        Whatever differs from the model afterwards breaks ``replay.<operation>``.
        """
        self.blame = f"replay.{operation}"
        self.program.call(self._name, operation, *args, **kwargs)
        try:
            LosesReplies(self.backend).lose(operation, *args, **kwargs)
        except OutcomeUnknownError:
            pass
        except Exception as error:  # whatever it is, a valid call must not raise it
            self._broken("errors", "the call succeeds", repr(error), error)
        if operation == "claim":
            self._claimed_unseen(**kwargs)
        else:
            getattr(self.model, operation)(*args, **kwargs)
        getattr(self, operation)(*args, **kwargs)
        self.blame = None

    def check(self) -> None:
        """Compare everything that can be seen."""
        self._compare_everything({}, otherwise="batch.nothing-else")

    def _claimed_unseen(self, *, owner: str, lease_until: datetime, **window: Any) -> None:
        """The model's part of a claim whose tokens nobody will ever know."""
        for event in self.model.due_for_claim(**window):
            self.model.events[event.id] = rules.claim(
                event, owner=owner, lease_until=lease_until, token=b"never seen", step=self.step
            )

    @property
    def _name(self) -> str:
        return "backend" if self._turn == 0 else f"other{self._turn}"

    def _call(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Note the call and make it; whatever it raises breaks a law."""
        self.program.call(self._name, operation, *args, **kwargs)
        return self._look(operation, *args, **kwargs)

    def _look(self, operation: str, *args: Any, **kwargs: Any) -> Any:
        """Make a call that the program need not show."""
        try:
            return getattr(self.backend, operation)(*args, **kwargs)
        except Exception as error:  # whatever it is, a valid call must not raise it
            law = "data.limit" if isinstance(error, InvalidEventError) else "errors"
            if args and args[0] == []:
                law = "batch.empty"
            self._broken(law, "the call succeeds", repr(error), error)

    def _refused(self, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make a call with a payload that is too long."""
        self.program.call(self._name, operation, *args, **kwargs)
        try:
            actual = getattr(self.backend, operation)(*args, **kwargs)
        except InvalidEventError:
            self._compare_everything({}, otherwise="data.limit")
            return
        except Exception as error:  # any other error is the wrong one
            self._broken("data.limit", "InvalidEventError", repr(error), error)
        self._broken("data.limit", "InvalidEventError", actual)

    def _fits(self, payloads: Sequence[bytes | None]) -> bool:
        limit = self.capabilities.max_data_bytes
        return all(payload is None or len(payload) <= limit for payload in payloads)

    def _answered(self, expected: Sequence[Expected[T]], actual: Sequence[T]) -> Sequence[T]:
        """Compare the answer to a batch, then everything else."""
        outcomes = [item.outcome for item in expected]
        if not expected and len(actual):
            self._broken("batch.empty", [], actual)
        if len(actual) != len(expected):
            self._broken("batch.positional", outcomes, actual)
        if list(actual) != outcomes:
            if len({item.id for item in expected}) == len(expected) and (
                sorted(map(repr, actual)) == sorted(map(repr, outcomes))
            ):
                self._broken("batch.positional", outcomes, actual)
            wrong = next(i for i, item in enumerate(expected) if item.outcome != actual[i])
            earlier = {item.id for item in expected[:wrong]}
            law = "batch.in-order" if expected[wrong].id in earlier else expected[wrong].law
            self._broken(self._or_look_alike(law, expected[wrong].id), outcomes, actual)
        laws: dict[str, str] = {}
        for item in expected:
            laws[item.id] = "batch.in-order" if item.id in laws else item.law
        self._compare_everything(
            laws, otherwise="batch.nothing-else" if expected else "batch.empty"
        )
        return actual

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
        self._broken(law, wanted, got)

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
            self._broken("claim.token", "a token never used for this id before", claim.token)
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
                self._broken(law, f"{field} of {claim.id!r}: {wanted!r}", repr(got))

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
        unwanted = [self.model.events[i] for i in got if i not in wanted]
        if unwanted:
            law = first_unmet(unwanted[0], query) or law
        elif given and set(wanted) - set(got) and not is_paged:
            law = given[0]
        self._broken(law, wanted, got)

    def _compare_everything(self, laws: Mapping[str, str], *, otherwise: str) -> None:
        """Compare all that can be seen with the model.

        Args:
            laws: by which law each event that the last call named is as it is.
            otherwise: the law that is broken when any other event differs.
        """
        seen = self._everything_seen()
        for event_id in sorted(self.model.events.keys() | seen.keys()):
            law = laws.get(event_id, otherwise)
            expected, actual = self.model.events.get(event_id), seen.get(event_id)
            if expected is None or actual is None:
                wanted = f"{event_id!r} is {'absent' if expected is None else 'there'}"
                self._broken(self._or_look_alike(law, event_id), wanted, actual or "it is absent")
            self._compare_event(expected, actual, law)
        wanted_order = [event.id for event in self.model.in_order()]
        if list(seen) != wanted_order:
            self._broken("find.order", wanted_order, list(seen))
        self.count()

    def _everything_seen(self) -> dict[str, StoredEvent]:
        """All events that the backend shows, in the order of its answer."""
        query = Query(limit=_PAGE)
        seen: dict[str, StoredEvent] = {}
        while True:
            page = self._look("find", query)
            for event in page.events:
                if event.id in seen:
                    self._broken("find.pages", "every event once", f"{event.id!r} twice")
                seen[event.id] = event
            if page.next is None:
                return seen
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
                f"{field.name} of {actual.id!r}: {wanted!r}",
                repr(got),
            )

    def _law_of_field(self, field: str, expected: Any, actual: Any, law: str) -> str:
        """The law that a wrong field breaks, given the law that the last call obeyed."""
        if field in _ROUNDED:
            law = self._law_of_time(expected, actual, law)
        if field == "created" and not _is_utc(actual):
            return "time.utc"
        if field == "lost" and expected and law not in {"claim.carries", "add.replace-claimed"}:
            return "lost.for-good"
        if field == "payload" and law == "add.new":
            return "data.exact"
        if law in {"add.replace-claimed", "batch.nothing-else"} or law.startswith("time."):
            return law
        return _LAW_OF_FIELD.get(field, law)

    def _law_of_time(self, expected: Any, actual: Any, law: str) -> str:
        """``law``, unless the way in which a time is wrong names a better one."""
        if not isinstance(expected, datetime) or not isinstance(actual, datetime):
            return law
        if not _is_utc(actual):
            return "time.utc"
        # Microseconds leave nothing to round, so there a difference has another reason.
        if abs(expected - actual) <= self.step and self.step > _MICROSECOND:
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
        self, law: str, expected: object, actual: object, cause: Exception | None = None
    ) -> NoReturn:
        self.broken = True
        raise LawBroken(
            self.blame or law,
            expected=expected,
            actual=actual,
            program=self.program.lines(),
        ) from cause


def _careless(event_id: str) -> str:
    """What a careless collation compares: no case, no accents, no padding, nothing after NUL."""
    decomposed = unicodedata.normalize("NFKD", event_id.partition("\0")[0].strip())
    return "".join(c for c in decomposed if not unicodedata.combining(c)).casefold()


def _is_utc(value: datetime) -> bool:
    return value.utcoffset() == timedelta(0)
