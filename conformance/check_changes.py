"""Tests of what people ask for: cancelling, rescheduling, dead letters."""

from __future__ import annotations

from hypothesis import strategies as st

from futurama.backend import Claim, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    LEASE_ENDS,
    SOME_STATES,
    at,
    claimed,
    dead,
    enter,
    lost,
    population,
    waiting,
)

__all__ = ["ChangeChecks"]


class ChangeChecks(SuiteBase):
    """The laws ``cancel.*``, ``reschedule.*``, ``requeue.*`` and ``purge.*``."""

    def test_cancel_waiting(self) -> None:
        """Events that were never handed out, retried or released are CANCELLED, due or not."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "a", "b", due=draw(st.integers(0, 5)))
            claims = run.claim(now=at(run, 3), lease_until=at(run, 9), limit=1)
            run.settle([_back(draw, run, claim) for claim in claims], now=at(run, 3))
            run.cancel(["a", "b"])
            run.cancel(["a"])

        self.prove(program)

    def test_cancel_claimed(self) -> None:
        """A claimed event is removed, before and after the end of its lease."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=draw(LEASE_ENDS))
            run.cancel(["a"])
            run.renew([claim], now=at(run, 0), lease_until=at(run, 9))
            run.claim(now=at(run, 9), lease_until=at(run, 20))

        self.prove(program)

    def test_cancel_lost(self) -> None:
        """A call of a silent owner may still be under way, so it cannot be CANCELLED."""

        def program(run: Lockstep, draw: Draw) -> None:
            lost(run)
            if draw(st.booleans()):
                (claim,) = run.claim(now=at(run, 20), lease_until=at(run, 30))
                run.settle([_back(draw, run, claim)], now=at(run, 21))
            run.cancel(["a"])

        self.prove(program, examples=6)

    def test_cancel_dead(self) -> None:
        """A dead letter is not found and stays."""

        def program(run: Lockstep, draw: Draw) -> None:
            dead(run, died=draw(st.integers(0, 3)))
            run.cancel(["a"])

        self.prove(program, examples=3)

    def test_cancel_absent(self) -> None:
        """An id that never was, or is no more, is not found."""

        def program(run: Lockstep, draw: Draw) -> None:
            enter(run, draw(st.sampled_from(["waiting", "claimed"])), "b")
            run.cancel([draw(self.values().ids.filter(lambda event_id: event_id != "b")), "b"])
            run.cancel(["b"])

        self.prove(program)

    def test_reschedule_waiting(self) -> None:
        """Time, payload, both or neither change; attempts, type and created stay."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "a")
            if draw(st.booleans()):
                (claim,) = run.claim(now=at(run, 0), lease_until=at(run, 9))
                run.settle([_back(draw, run, claim)], now=at(run, 1))
            run.reschedule([draw(self.values().moves(st.just("a")))])
            run.claim(now=at(run, 3), lease_until=at(run, 9))

        self.prove(program)

    def test_reschedule_claimed(self) -> None:
        """Nobody moves an event from under its holder, nor after the lease has ended."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=draw(LEASE_ENDS))
            run.reschedule([draw(self.values().moves(st.just("a")))])
            run.renew([claim], now=at(run, 0), lease_until=at(run, 9))

        self.prove(program)

    def test_reschedule_lost(self) -> None:
        """A call of a silent owner may still be under way, so nothing is changed."""

        def program(run: Lockstep, draw: Draw) -> None:
            lost(run)
            run.reschedule([draw(self.values().moves(st.just("a")))])

        self.prove(program)

    def test_reschedule_dead(self) -> None:
        """A dead letter is not found and does not change."""

        def program(run: Lockstep, draw: Draw) -> None:
            dead(run)
            run.reschedule([draw(self.values().moves(st.just("a")))])

        self.prove(program)

    def test_reschedule_absent(self) -> None:
        """No event comes into being by being moved."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "b")
            run.reschedule([draw(self.values().moves(st.just("a")))])

        self.prove(program)

    def test_requeue_dead(self) -> None:
        """A dead letter waits again from now on, and is claimed as for the first time."""

        def program(run: Lockstep, draw: Draw) -> None:
            dead(run)
            run.requeue(["a"], now=draw(self.values().near))
            run.claim(now=at(run, draw(st.integers(0, 8))), lease_until=at(run, 9))

        self.prove(program)

    def test_requeue_others(self) -> None:
        """Live and absent events are left alone."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            ids = st.lists(st.sampled_from(["waiting", "claimed", "lost", "absent"]), min_size=1)
            run.requeue(draw(ids), now=draw(self.values().near))

        self.prove(program)

    def test_purge_before(self) -> None:
        """What died before the instant goes; what died at it, later or never stays."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            for number, died in enumerate(draw(st.lists(st.integers(0, 4), max_size=4))):
                dead(run, f"d{number}", died=died)
            run.purge(before=draw(self.values().near))
            run.purge(before=at(run, 99))

        self.prove(program)


def _back(draw: Draw, run: Lockstep, claim: Claim) -> Settlement:
    """A report after which the event waits again."""
    retry = Settlement.retry(claim, at(run, 2))
    return draw(st.sampled_from([Settlement.release(claim), retry]))
