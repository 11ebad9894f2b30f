"""Tests of what becomes of claims: lost, renewed, fenced off, reported."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

from hypothesis import strategies as st

from futurama.backend import Settlement, SettlementKind
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    at,
    claimed,
    dead,
    event,
    lost,
    report,
    reports,
    waiting,
)

__all__ = ["SettleChecks"]

_INSTANCES = st.integers(0, 1)
"""Which one makes the next calls, where there are two; else the only one makes them all."""


class SettleChecks(SuiteBase):
    """The laws ``lost.*``, ``renew.*``, ``fence.*`` and ``settle.*``."""

    def test_lost_counted(self) -> None:
        """A second claim after an expired lease counts as lost, one after a report does not."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=2)
            if draw(st.booleans()):
                run.settle([draw(reports(run, claim))], now=at(run, 1))
            claims = run.claim(now=at(run, 3), lease_until=at(run, 9))
            run.settle([Settlement.release(each) for each in claims], now=at(run, 3))
            run.cancel(["a"])

        self.prove(program)

    def test_lost_for_good(self) -> None:
        """Nothing that happens to a lost event makes it forget."""

        def program(run: Lockstep, draw: Draw) -> None:
            lost(run)
            (claim,) = run.claim(now=at(run, 20), lease_until=at(run, 30))
            if draw(st.booleans()):
                run.renew([claim], now=at(run, 20), lease_until=at(run, 31))
            run.settle([draw(reports(run, claim))], now=at(run, 21))
            run.requeue(["a"], now=at(run, 22))
            if draw(st.booleans()):
                run.add([event(run, payload=b"new")], if_exists="replace")
            run.claim(now=at(run, 40), lease_until=at(run, 50))

        self.prove(program)

        def program_of_a_dead_event(run: Lockstep, draw: Draw) -> None:
            claimed(run, until=1)
            (claim,) = run.claim(now=at(run, 1), lease_until=at(run, 10))
            run.settle([Settlement.bury(claim, "why")], now=at(run, 1))
            run.add([event(run, due=draw(st.integers(1, 2)))], if_exists="replace")

        self.prove(program_of_a_dead_event, examples=2)

    def test_renew_extends(self) -> None:
        """A renewed lease ends when the renewal says, be it later, sooner, now or in the past."""

        def program(until: int, run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=5)
            run.renew([claim], now=at(run, 2), lease_until=at(run, until))
            run.claim(now=at(run, draw(st.integers(0, 9))), lease_until=at(run, 20))
            run.settle([Settlement.release(claim)], now=at(run, until - 1))

        self.prove_each([-1, 0, 1, 2, 3, 4, 5, 6, 9], program)

    def test_fence_settle(self) -> None:
        """Whoever lost an event to another claim cannot report it, the new holder can; on any instance."""

        def program(run: Lockstep, draw: Draw) -> None:
            stale = claimed(run, until=1)
            run.use(1)
            (held,) = run.claim(now=at(run, 1), lease_until=at(run, 10))
            run.use(draw(_INSTANCES))
            run.settle([draw(reports(run, stale))], now=at(run, draw(st.integers(0, 5))))
            run.settle([draw(reports(run, held))], now=at(run, 5))

        self.prove(program, instances=1 + self.capabilities.shared)

    def test_fence_renew(self) -> None:
        """Whoever lost an event to another claim cannot renew it, the new holder can; on any instance."""

        def program(run: Lockstep, draw: Draw) -> None:
            stale = claimed(run, until=1)
            run.use(1)
            (held,) = run.claim(now=at(run, 1), lease_until=at(run, 10))
            run.use(draw(_INSTANCES))
            now = at(run, draw(st.integers(0, 5)))
            run.renew([stale], now=now, lease_until=at(run, 20))
            run.renew([held], now=now, lease_until=at(run, 20))

        self.prove(program, instances=1 + self.capabilities.shared)

    def test_fence_reported(self) -> None:
        """After any report that leaves the event stored, the claim is worth nothing."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run)
            first, *_ = draw(st.permutations(["retry", "bury", "release"]))
            report = {
                "retry": Settlement.retry(claim, at(run, 8)),
                "bury": Settlement.bury(claim, "why"),
                "release": Settlement.release(claim),
            }[first]
            run.settle([report], now=at(run, 1))
            if draw(st.booleans()):
                run.renew([claim], now=at(run, 1), lease_until=at(run, 12))
            run.settle([draw(reports(run, claim))], now=at(run, 1))

        self.prove(program)

    def test_fence_gone(self) -> None:
        """A claim on an event that was cancelled or done can be neither renewed nor reported."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run)
            if draw(st.booleans()):
                run.cancel(["a"])
            else:
                run.settle([Settlement.done(claim)], now=at(run, 1))
            if draw(st.booleans()):
                run.renew([claim], now=at(run, 1), lease_until=at(run, 12))
            run.settle([draw(reports(run, claim))], now=at(run, 1))

        self.prove(program)

    def test_fence_lease_end(self) -> None:
        """A claim is lost at the very end of its lease, and held until just before it."""

        def program(
            case: tuple[int, timedelta, SettlementKind | int], run: Lockstep, _: Draw
        ) -> None:
            until, offset, how = case
            claim = claimed(run, until=until)
            now = at(run, until) + offset
            if isinstance(how, int):
                run.renew([claim], now=now, lease_until=at(run, how))
            else:
                run.settle([report(run, claim, how)], now=now)

        step = self.capabilities.resolution
        offsets = [-step, timedelta(microseconds=-1), timedelta(0), step]
        longer, shorter = 8, 0
        # Two ends: doubles tell one of each eight microseconds from the one before.
        cases = product([5, 3], offsets, [longer, shorter, *SettlementKind])
        self.prove_each(cases, program, examples=1)

    def test_settle_done(self) -> None:
        """The event is gone, and only this one."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, *"abc")
            claims = run.claim(now=at(run, 0), lease_until=at(run, 9), limit=2)
            run.settle([Settlement.done(draw(st.sampled_from(claims)))], now=at(run, 1))

        self.prove(program)

    def test_settle_retry(self) -> None:
        """The new due may lie anywhere; the payload is replaced if one is given, an empty one too."""

        def program(run: Lockstep, draw: Draw) -> None:
            values = self.values()
            claim = claimed(run)
            payload = draw(st.none() | st.just(b"") | values.payloads)
            run.settle([Settlement.retry(claim, draw(values.instants), payload)], now=at(run, 1))

        self.prove(program)

    def test_settle_bury(self) -> None:
        """A dead letter keeps everything, knows why and when, and is never handed out."""

        def program(run: Lockstep, draw: Draw) -> None:
            dead(run, died=draw(st.integers(0, 9)), reason=draw(self.values().reasons))
            run.claim(now=at(run, 99), lease_until=at(run, 100))

        self.prove(program)

    def test_settle_release(self) -> None:
        """Due and attempt are as if there had been no claim, or the due is the one of the report."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "a", due=draw(st.integers(0, 5)))
            claims = run.claim(now=at(run, 0), due_before=at(run, 5), lease_until=at(run, 6))
            if draw(st.booleans()):
                claims = run.claim(now=at(run, 6), lease_until=at(run, 20))
            if draw(st.booleans()):
                run.renew(claims, now=at(run, 0), lease_until=at(run, 30))
            later = draw(st.none() | st.builds(at, st.just(run), st.integers(0, 12)))
            run.settle([Settlement.release(claim, later) for claim in claims], now=at(run, 1))
            run.claim(now=at(run, 9), lease_until=at(run, 20))

        self.prove(program)
