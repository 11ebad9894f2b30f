"""Tests of ids, data, times and batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from hypothesis import strategies as st

from futurama.backend import Move, Query, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    IF_EXISTS,
    SOME_STATES,
    at,
    claimed,
    dead,
    event,
    lost,
    population,
    reports,
    waiting,
)
from futurama.conformance.strategies import EXTREMES, GAPS, LOOK_ALIKES, OWNERS, START
from futurama.conformance.zones import far_from_utc
from futurama.times import LATEST

__all__ = ["ValueChecks"]

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_OPERATIONS = ("add", "cancel", "reschedule", "requeue", "renew", "settle")
"""Those that take batches."""
_HUGE = 64 * 1024 * 1024
"""A payload at the limit is really stored up to this limit; more would take too long."""
_MANY = 2500
"""More than the placeholders, rows and list elements that one statement takes in most databases."""


class ValueChecks(SuiteBase):
    """The laws ``id.*``, ``data.*``, ``time.*`` and ``batch.*``."""

    def test_id_byte_exact(self) -> None:
        """Ids that look alike are different events, whatever is done to one of them."""

        def program(group: Sequence[str], run: Lockstep, draw: Draw) -> None:
            ids = draw(st.permutations(group))
            run.add([event(run, event_id) for event_id in ids[1:]])
            run.cancel(ids[:1])
            run.add([event(run, ids[0])], if_exists=draw(IF_EXISTS))
            run.find(Query(ids=ids[:1]))
            run.reschedule([Move(id=ids[0], payload=b"moved")])
            run.claim(now=at(run, 0), lease_until=at(run, 9), limit=draw(st.integers(1, 3)))
            run.cancel(ids[-1:])

        self.prove_each(LOOK_ALIKES, program, examples=5)

    def test_data_exact(self) -> None:
        """What was added is found and claimed exactly as it was given."""

        def program(run: Lockstep, draw: Draw) -> None:
            run.add([draw(self.values().events())])
            owner = draw(st.sampled_from(OWNERS))
            run.claim(now=LATEST, lease_until=LATEST, owner=owner, limit=1000)

        self.prove(program, examples=60)

    def test_data_limit(self) -> None:
        """Each operation that takes a payload stores the longest and refuses a longer one."""

        def program(run: Lockstep, draw: Draw) -> None:  # noqa: ARG001 -- there is but one such program
            limit = self.capabilities.max_data_bytes
            # NUL, because it is what quoting makes longest.
            longest, too_long = bytes(limit if limit <= _HUGE else 1), bytes(limit + 1)
            run.add([event(run, "a"), event(run, "b", payload=too_long)])
            run.add(
                [
                    event(run, "a"),
                    event(run, "b", payload=longest),
                    event(run, "c", payload=longest),
                ]
            )
            run.reschedule([Move(id="a", payload=longest), Move(id="b", payload=too_long)])
            run.reschedule([Move(id="a", payload=longest)])
            a, b, _ = run.claim(now=at(run, 0), lease_until=at(run, 9))
            due = at(run, 1)
            run.settle([Settlement.done(a), Settlement.retry(b, due, too_long)], now=due)
            run.settle([Settlement.done(a), Settlement.retry(b, due, longest)], now=due)

        self.prove(program, examples=1)

    def test_time_rounds_up(self) -> None:
        """Every operation that takes a time to store rounds it up."""

        def program(operation: str, run: Lockstep, draw: Draw) -> None:
            # Shortly before a full second, where a column that is coarser than declared shows.
            late = max(_SECOND - 10 * run.step, timedelta(0))
            near = self.values().near.map(lambda instant: instant + late)
            start, later = at(run, 0), at(run, 1) + late
            match operation:
                case "add":
                    run.add([draw(self.values().events(times=near))])
                case "requeue":
                    dead(run)
                    run.requeue(["a"], now=draw(near))
                case "reschedule":
                    waiting(run, "a")
                    run.reschedule([Move(id="a", trigger_time=draw(near))])
                case "claim":
                    waiting(run, "a")
                    run.claim(now=start, lease_until=draw(near))
                case "renew":
                    waiting(run, "a")
                    claims = run.claim(now=start, lease_until=at(run, 9) + late)
                    run.renew(claims, now=start, lease_until=draw(near))
                case "settle":
                    waiting(run, "a")
                    (claim,) = run.claim(now=start, lease_until=at(run, 9) + late)
                    run.settle([Settlement.retry(claim, draw(near))], now=later)

        operations = ["add", "requeue", "reschedule", "claim", "renew", "settle"]
        self.prove_each(operations, program, examples=5)

    def test_time_never_early(self) -> None:
        """A microsecond before an event is due, or before its lease ends, it is not handed out."""

        def program(run: Lockstep, draw: Draw) -> None:
            early = draw(st.sampled_from([_MICROSECOND, run.step - _MICROSECOND, run.step / 2]))
            waiting(run, "a", due=1)
            run.claim(now=at(run, 1) - early, lease_until=at(run, 9))
            run.claim(now=at(run, 1), lease_until=at(run, 9))
            run.claim(now=at(run, 9) - early, lease_until=at(run, 20))

        self.prove(program)

    def test_time_extremes(self) -> None:
        """The first and last years work for every operation that takes a time."""

        def program(extreme: datetime, run: Lockstep, draw: Draw) -> None:
            extremes = self.values().extremes
            run.add([event(run, "b", created=extreme)])
            run.add([draw(self.values().events(ids=st.just("a"), times=st.just(extreme)))])
            run.find(Query(due_from=extreme, due_until=draw(extremes)))
            claims = run.claim(now=extreme, due_before=draw(extremes), lease_until=LATEST)
            run.settle([Settlement.bury(claim, "") for claim in claims[:1]], now=extreme)
            run.settle([Settlement.retry(claim, draw(extremes)) for claim in claims[1:]], now=START)
            run.requeue(["a"], now=draw(extremes))
            run.reschedule([Move(id="a", trigger_time=draw(extremes))])
            run.claim(now=draw(extremes), due_before=LATEST, lease_until=extreme)
            run.purge(before=draw(extremes))

        self.prove_each([*EXTREMES, *GAPS], program, examples=3)

    def test_time_utc(self) -> None:
        """Times given in any zone come back as the same instants, in UTC, wherever the process lives."""

        def program(run: Lockstep, draw: Draw) -> None:
            zoned = self.values().zoned
            run.add([draw(self.values().events(ids=st.just("a"), times=zoned))])
            run.reschedule([Move(id="a", trigger_time=draw(zoned))])
            claims = run.claim(now=LATEST, lease_until=LATEST)
            run.settle([Settlement.retry(claim, draw(zoned)) for claim in claims], now=START)

        with far_from_utc():
            self.prove(program)

    def test_batch_empty(self) -> None:
        """Every operation takes an empty batch, on a backend that holds events in every state."""

        def program(run: Lockstep, draw: Draw) -> None:
            if draw(st.booleans()):
                population(run, draw(SOME_STATES))
            run.add([], if_exists=draw(IF_EXISTS))
            run.cancel([])
            run.reschedule([])
            run.renew([], now=at(run, 0), lease_until=at(run, 50))
            run.settle([], now=at(run, 0))
            run.requeue([], now=at(run, 0))

        self.prove(program, examples=6)

    def test_batch_positional(self) -> None:
        """Outcomes stand in the order of the items, whatever order that is."""

        def program(operation: str, run: Lockstep, draw: Draw) -> None:
            held = population(run, draw(SOME_STATES))
            ids = draw(st.permutations(["waiting", "claimed", "dead", "absent"]))
            match operation:
                case "add":
                    run.add([event(run, i, payload=b"new") for i in ids], if_exists="keep")
                case "cancel":
                    run.cancel(ids)
                case "reschedule":
                    run.reschedule([Move(id=event_id, payload=b"moved") for event_id in ids])
                case "requeue":
                    run.requeue(ids, now=at(run, 99))
                case "renew":
                    claims = draw(st.permutations([*held, lost(run, "z")]))
                    run.renew(claims, now=at(run, 1), lease_until=at(run, 11))
                case "settle":
                    claims = draw(st.permutations([*held, lost(run, "z")]))
                    run.settle([Settlement.release(claim) for claim in claims], now=at(run, 1))

        self.prove_each(_OPERATIONS, program, examples=4)

    def test_batch_in_order(self) -> None:
        """The same event twice in one batch is dealt with twice, one after the other."""

        def program(run: Lockstep, draw: Draw) -> None:
            twins = [event(run, "a", payload=b"1"), event(run, "a", payload=b"2")]
            run.add(twins, if_exists=draw(IF_EXISTS))
            run.reschedule([Move(id="a", payload=b"3"), Move(id="a", payload=b"4")])
            (claim,) = run.claim(now=at(run, 0), lease_until=at(run, 9))
            run.renew([claim, claim], now=at(run, 0), lease_until=draw(self.values().near))
            now = at(run, 0)
            both = [Settlement.bury(claim, "first"), Settlement.done(claim)]
            run.settle(draw(st.permutations(both)), now=now)
            run.requeue(["a", "a"], now=now)
            run.cancel(["a", "a"])

        self.prove(program)

    def test_batch_nothing_else(self) -> None:
        """Neighbours of the event that a call names stay as they are."""

        def program(operation: str, run: Lockstep, draw: Draw) -> None:
            one, *others = draw(st.permutations(["a", "ab", "b", "%", "_"]))
            claim = claimed(run, one)
            run.add([event(run, other, due=1) for other in others])
            if draw(st.booleans()):
                run.claim(now=at(run, 1), lease_until=at(run, 9), limit=2)
            if draw(st.booleans()):
                run.settle([draw(reports(run, claim))], now=at(run, 1))
            match operation:
                case "add":
                    run.add([event(run, one, payload=b"new")], if_exists=draw(IF_EXISTS))
                case "cancel":
                    run.cancel([one])
                case "reschedule":
                    run.reschedule([Move(id=one, payload=b"moved", trigger_time=at(run, 5))])
                case "requeue":
                    run.requeue([one], now=at(run, 1))
                case "renew":
                    run.renew([claim], now=at(run, 1), lease_until=at(run, 11))
                case "settle":
                    run.settle([draw(reports(run, claim))], now=at(run, 1))

        self.prove_each(_OPERATIONS, program, examples=4)

    def test_batch_large(self) -> None:
        """Thousands of events are added, claimed, renewed, settled and cancelled in one call each."""

        def program(run: Lockstep, draw: Draw) -> None:  # noqa: ARG001 -- there is but one such program
            run.blame = "batch.large"
            events = [
                event(run, f"{number:05}", due=number * 2 // _MANY) for number in range(_MANY)
            ]
            run.add(events)
            for time in (at(run, 8), at(run, 5)):
                run.reschedule([Move(id=e.id, payload=b"moved", trigger_time=time) for e in events])
            claims = run.claim(now=at(run, 7), lease_until=at(run, 99), limit=_MANY)
            run.renew(claims, now=at(run, 7), lease_until=at(run, 999))
            third = len(claims) // 3
            reports = [Settlement.done(claim) for claim in claims[:third]]
            reports += [Settlement.bury(claim, "why") for claim in claims[third : 2 * third]]
            reports += [Settlement.retry(claim, at(run, 9)) for claim in claims[2 * third :]]
            run.settle(reports, now=at(run, 8))
            ids = [e.id for e in events]
            run.find(Query(ids=ids, limit=1000))
            run.requeue(ids, now=at(run, 8))
            run.cancel(ids)

        self.prove(program, examples=1)
