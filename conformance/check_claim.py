"""Tests of claiming events."""

from __future__ import annotations

import attrs
from hypothesis import strategies as st

from futurama.backend import Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    SOME_STATES,
    at,
    claimed,
    dead,
    event,
    population,
    reports,
    waiting,
)
from futurama.times import LATEST

__all__ = ["ClaimChecks"]

_STEPS = st.integers(0, 6)
_PLAIN = ("a", "b", "Z", "~", "é", "\uff5e", "\U0001f600")
"""Ids whose order differs between bytes, UTF-16 and collations; none looks like another."""
_PLAIN_IDS = st.sampled_from(_PLAIN)


class ClaimChecks(SuiteBase):
    """The laws ``claim.*``."""

    def test_claim_due(self) -> None:
        """The horizon decides, to the step, also where it lies before now.

        Running leases that end sooner do not use up the limit.
        """

        def program(run: Lockstep, draw: Draw) -> None:
            if draw(st.booleans()):
                dead(run, "dead")
            ids = draw(st.lists(_PLAIN_IDS, min_size=1, max_size=4, unique=True))
            run.add([event(run, event_id, due=draw(_STEPS)) for event_id in ids])
            run.claim(
                now=at(run, draw(_STEPS)), due_before=at(run, draw(_STEPS)), lease_until=at(run, 9)
            )

        self.prove(program)

        def program_with_a_limit(run: Lockstep, draw: Draw) -> None:
            claimed(run, until=3)
            waiting(run, "b", due=4)
            horizon = at(run, draw(st.integers(4, 5)))
            run.claim(now=at(run, 1), due_before=horizon, lease_until=at(run, 9), limit=1)

        self.prove(program_with_a_limit, examples=2)

    def test_claim_look_ahead(self) -> None:
        """A running lease is not cut short by a horizon that lies behind its end."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=draw(st.integers(2, 6)))
            waiting(run, "b", due=draw(_STEPS))
            run.claim(
                now=at(run, 1), due_before=at(run, draw(st.integers(2, 9))), lease_until=at(run, 9)
            )
            run.settle([Settlement.done(claim)], now=at(run, 1))

        self.prove(program)

    def test_claim_order(self) -> None:
        """Due first, then the bytes of the id; expired claims stand in the same line."""

        def program(run: Lockstep, draw: Draw) -> None:
            ids = draw(st.permutations(_PLAIN))
            for some in (ids[:3], ids[3:]):  # not all at once, for a backend may sort a batch
                run.add([event(run, event_id, due=draw(st.integers(0, 2))) for event_id in some])
            run.claim(now=at(run, 0), lease_until=at(run, 1), limit=draw(st.integers(1, 2)))
            run.claim(now=at(run, 3), lease_until=at(run, 9), limit=draw(st.integers(1, 4)))
            run.claim(now=at(run, 3), lease_until=at(run, 9))

        self.prove(program)

        def program_at_the_end_of_time(run: Lockstep, draw: Draw) -> None:  # noqa: ARG001 -- there is but one
            # A float of seconds cannot tell these two apart, nor any after the year 2242.
            run.add([attrs.evolve(event(run, "a"), trigger_time=LATEST - run.step)])
            run.add([attrs.evolve(event(run, "b"), trigger_time=LATEST - 2 * run.step)])
            run.claim(now=LATEST, lease_until=LATEST, limit=1)

        self.prove(program_at_the_end_of_time, examples=1)

    def test_claim_limit(self) -> None:
        """A claim stops at its limit and the next one goes on from there."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, *"abcdef")
            for _ in range(3):
                run.claim(now=at(run, 0), lease_until=at(run, 9), limit=draw(st.integers(1, 4)))
            run.claim(now=at(run, 0), lease_until=at(run, 9), limit=2**31 - 1)

        self.prove(program)

    def test_claim_exclusive(self) -> None:
        """While a lease runs nobody is handed the event, its own owner included."""

        def program(run: Lockstep, draw: Draw) -> None:
            claimed(run, until=5)
            waiting(run, "b", due=draw(st.integers(0, 6)))
            now = at(run, draw(st.integers(0, 4)))
            run.claim(now=now, lease_until=at(run, 9), owner=draw(st.sampled_from("ab")))

        self.prove(program)

    def test_claim_lease(self) -> None:
        """From the very end of a lease on the event is handed out again, once, whatever the horizon.

        What waits behind the horizon does not use up the limit.
        """

        def program(run: Lockstep, draw: Draw) -> None:
            until = draw(st.integers(1, 4))
            claimed(run, until=until)
            for _ in range(2):
                now = until + draw(st.integers(0, 2))
                run.claim(
                    now=at(run, now),
                    due_before=at(run, now - draw(st.integers(0, 4))),
                    lease_until=at(run, draw(st.sampled_from([9, 9, 0]))),
                    owner=draw(st.sampled_from("ab")),
                )

        self.prove(program)

        def program_with_a_limit(run: Lockstep, draw: Draw) -> None:
            claimed(run, until=3)
            waiting(run, "b", due=2)
            now = at(run, draw(st.integers(3, 4)))
            run.claim(now=now, due_before=at(run, 1), lease_until=at(run, 9), limit=1)

        self.prove(program_with_a_limit, examples=2)

    def test_claim_attempt(self) -> None:
        """Retries and expired leases count, releases do not."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "a")
            for round_ in range(4):
                claims = run.claim(now=at(run, 3 * round_ + 3), lease_until=at(run, 3 * round_ + 5))
                if draw(st.booleans()):
                    run.settle([draw(reports(run, c)) for c in claims], now=at(run, 3 * round_ + 4))

        self.prove(program)

    def test_claim_token(self) -> None:
        """No later claim on the same id repeats a token, whatever happens and whoever claims."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, "a")
            for number in range(3):
                run.use(number)  # in turns, from the first example on: counters might be equal then
                (claim,) = run.claim(now=at(run, 1), lease_until=at(run, draw(st.integers(0, 1))))
                match draw(st.sampled_from(["expire", "release", "replace", "cancel", "reopen"])):
                    case "release":
                        run.settle([Settlement.release(claim)], now=at(run, 0))
                    case "replace":
                        run.add([event(run, payload=b"new")], if_exists="replace")
                    case "cancel":
                        run.cancel(["a"])
                        waiting(run, "a")
                    case "reopen":
                        run.reopen()

        self.prove(program, instances=1 + self.capabilities.shared)

    def test_claim_carries(self) -> None:
        """A claim carries what the last change of the event left behind."""

        def program(run: Lockstep, draw: Draw) -> None:
            values = self.values()
            run.add([draw(values.events(ids=st.just("a"), times=values.near))])
            (claim,) = run.claim(now=at(run, 9), lease_until=at(run, 10))
            payload = draw(st.none() | values.payloads)
            run.settle([Settlement.retry(claim, draw(values.near), payload)], now=at(run, 9))
            run.claim(now=at(run, 9), lease_until=at(run, 10))
            run.claim(now=at(run, 10), lease_until=at(run, 11))

        self.prove(program)

    def test_claim_next_due(self) -> None:
        """The earliest due is told whether or not anything was handed out."""

        def program(run: Lockstep, draw: Draw) -> None:
            if draw(st.booleans()):
                population(run, draw(SOME_STATES))
            for event_id in draw(st.lists(_PLAIN_IDS, max_size=3, unique=True)):
                waiting(run, event_id, due=draw(st.integers(0, 9)))
            for _ in range(2):
                now = at(run, draw(_STEPS))
                run.claim(now=now, lease_until=at(run, draw(st.integers(0, 12))), limit=2)
                run.cancel([draw(_PLAIN_IDS)])

        self.prove(program)
