"""A backend and the oracle, walked through the same calls; the first difference is a broken law.

Every method makes the call of the same name on the backend and on the model, compares the answers
item by item, and then compares everything that ``find`` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
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
    StoredEvent,
)
from futurama.conformance import blame, rules
from futurama.conformance.author import Hooks
from futurama.conformance.failure import SAME_STORE, LawBroken, where
from futurama.conformance.instance import ArgumentChangedError
from futurama.conformance.literals import as_python
from futurama.conformance.model import Expected, Model
from futurama.conformance.pages import all_events
from futurama.conformance.program import Program, Shown
from futurama.conformance.returns import is_utc
from futurama.conformance.rules import Stored
from futurama.conformance.watchdog import HangsError
from futurama.errors import InvalidEventError
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["Lockstep"]

T = TypeVar("T")

_SKEW = timedelta(minutes=10)
"""Clocks differ, but by less than zones do."""


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
        if not isinstance(now, datetime) or not is_utc(now):
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
        self._call(operation, *args, note="the reply is lost", **kwargs)
        laws: dict[str, str] = {}
        otherwise = "batch.nothing-else"
        if operation == "claim":
            laws = dict.fromkeys(self._claimed_unseen(**kwargs), "claim.carries")
        elif operation == "purge":
            self.model.purge(*args, **kwargs)
            otherwise = "purge.before"
        else:
            laws = blame.laws_after(getattr(self.model, operation)(*args, **kwargs))
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
        """Like :meth:`check`, but what was compared after the last call need not be looked at again."""
        if self._is_compared:
            self.count()
        else:
            self.check()

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

    def _call(self, operation: str, *args: Any, note: str = "", **kwargs: Any) -> Any:
        """Note the call and make it; whatever it raises breaks a law."""
        self.program.call(self._name, operation, *args, note=note, **kwargs)
        return self._look(operation, *args, **kwargs)

    def _look(self, operation: str, *args: Any, shown: Shown = Shown.NOTHING, **kwargs: Any) -> Any:
        """Make a call that is in the program already, or whose answer is ``shown`` at its end."""
        try:
            return self._answer(operation, *args, shown=shown, **kwargs)
        except (SkipTest, LawBroken):
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

    def _refused(self, operation: str, *args: Any, **kwargs: Any) -> None:
        """Make a call with a payload that is too long."""
        self.program.call(self._name, operation, *args, **kwargs)
        self.program.refused()
        try:
            actual = self._answer(operation, *args, shown=Shown.NOTHING, **kwargs)
        except (SkipTest, LawBroken):
            raise
        except InvalidEventError:
            self._compare_everything({}, otherwise="data.limit")
            return
        except Exception as error:  # any other error is the wrong one
            self._broken("data.limit", "InvalidEventError", error, Shown.NOTHING, cause=error)
        self._broken("data.limit", "InvalidEventError", actual, Shown.ANSWER)

    def _answer(self, operation: str, *args: Any, shown: Shown, **kwargs: Any) -> Any:
        """What the backend answers; what is wrong with this call alone is raised with the program.

        Such a finding has its own law even while :attr:`blame` is set.
        """
        try:
            return getattr(self.backend, operation)(*args, **kwargs)
        except HangsError as hangs:
            self._explain(hangs.broken, shown)
            raise
        except ArgumentChangedError as broken:
            self._explain(broken, Shown.ARGUMENT)
            raise
        except LawBroken as broken:
            self._explain(broken, Shown.ANSWER if shown is Shown.NOTHING else shown)
            raise

    def _explain(self, broken: LawBroken, shown: Shown) -> None:
        """Add to a finding the calls that led to it."""
        self.broken = True
        broken.program = self.program.lines(shown, backend=self._name)

    def _fits(self, payloads: Sequence[bytes | None]) -> bool:
        limit = self.capabilities.max_data_bytes
        return all(payload is None or len(payload) <= limit for payload in payloads)

    def _answered(self, expected: Sequence[Expected[T]], actual: Sequence[T]) -> Sequence[T]:
        """Compare the answer to a batch, then everything else."""
        outcomes = [item.outcome for item in expected]
        if list(actual) != outcomes:
            law = blame.of_answer(expected, actual, self.model.events)
            self._broken(law, outcomes, list(actual), Shown.ANSWER)
        self._compare_everything(
            blame.laws_after(expected),
            otherwise="batch.nothing-else" if expected else "batch.empty",
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
        if wanted != got:
            law = blame.of_handed_out(
                expected,
                got,
                self.model.events,
                now=now,
                due_before=due_before,
                limit=limit,
                step=self.step,
            )
            self._broken(law, wanted, got, Shown.ANSWER)

    def _compare_claim(self, before: Stored, after: Stored, claim: Claim) -> None:
        """Compare the contents of one claim, the most important fields first."""
        key = (claim.id, claim.token)
        if not claim.token or key in self._tokens:
            self._broken(
                "claim.token", "a token never used for this id before", claim.token, Shown.ANSWER
            )
        self._tokens.add(key)
        wants: Mapping[str, object] = {
            "attempt": after.attempt,
            "lost_before": after.lost,
            "lease_until": after.due,
            "due": before.due,
            "trigger_time": before.trigger_time,
            "trigger_type": before.trigger_type,
            "payload": before.payload,
            "created": before.created,
        }
        for field, wanted in wants.items():
            got = getattr(claim, field)
            if got != wanted:
                law = blame.of_claim_field(field, wanted, got, was_lost=before.lost, step=self.step)
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
        law = blame.of_found(query, wanted, got, self.model.events, is_paged=is_paged)
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
                law = blame.of_presence(law, event_id, self.model.events)
                self._broken(law, wanted, actual or "it is absent")
            self._compare_event(expected, actual, law)
        wanted_order = [event.id for event in self.model.in_order()]
        if list(seen) != wanted_order:
            self._broken("find.order", wanted_order, list(seen))

    def _everything_seen(self) -> dict[str, StoredEvent]:
        """All events that the backend shows, in the order of its answer."""
        look = partial(self._look, "find", shown=Shown.FIND)
        try:
            return {event.id: event for event in all_events(look)}
        except LawBroken as broken:
            if not broken.program:
                self._broken(broken.law, broken.expected, broken.actual)
            raise

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
            if wanted != got:
                law = blame.of_field(field.name, wanted, got, law, self.step)
                if law != "add.new":
                    law = blame.of_presence(law, actual.id, self.model.events)
                expected_field = f"{field.name} of {actual.id!r}: {as_python(wanted)}"
                self._broken(law, expected_field, as_python(got))

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
