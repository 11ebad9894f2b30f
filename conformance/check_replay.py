"""Tests of repeating a call whose outcome is unknown."""

from __future__ import annotations

from itertools import product
from typing import get_args

from hypothesis import strategies as st

from futurama.backend import IfExists, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    STATES,
    at,
    claimed,
    dead,
    enter,
    event,
    population,
    reports,
    waiting,
)

__all__ = ["ReplayChecks"]


class ReplayChecks(SuiteBase):
    """The laws ``replay.*``: every reply is lost once, and the call repeated."""

    def test_replay_add(self) -> None:
        """A stored repeat is ADDED and changes nothing, whatever became of the event meanwhile."""

        def program(case: tuple[IfExists, str, str], run: Lockstep, draw: Draw) -> None:
            if_exists, before, fate = case
            if before:
                enter(run, before)
            twins = [event(run, payload=b"1"), event(run, payload=b"2"), event(run, "b")]
            events = draw(st.permutations(twins))[: draw(st.integers(1, 3))]
            run.lose_reply("add", events, if_exists=if_exists)
            until = at(run, 9 if fate == "expired" else 20)
            for claim in [] if fate == "waiting" else run.claim(now=at(run, 9), lease_until=until):
                if fate == "retried":
                    run.settle([Settlement.retry(claim, at(run, 25))], now=at(run, 9))
                if fate == "buried":
                    run.settle([Settlement.bury(claim, "why")], now=at(run, 9))
            run.lose_reply("add", events, if_exists=if_exists)

        befores = ["", "waiting", "claimed", "dead"]
        fates = ["waiting", "claimed", "expired", "retried", "buried"]
        self.prove_each(product(get_args(IfExists), befores, fates), program, examples=1)

    def test_replay_cancel(self) -> None:
        """What was removed is not found the second time."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run)
            ids = st.lists(st.sampled_from([*STATES, "absent"]), min_size=1, max_size=5)
            run.lose_reply("cancel", draw(ids))

        self.prove(program)

    def test_replay_reschedule(self) -> None:
        """A change made twice is the same change."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run)
            ids = st.sampled_from([*STATES, "absent"])
            moves = self.values().moves(ids)
            run.lose_reply("reschedule", draw(st.lists(moves, min_size=1, max_size=4)))

        self.prove(program)

    def test_replay_claim(self) -> None:
        """Events claimed by the lost reply come back when their leases end, marked as lost."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, *"abcd")
            run.lose_reply(
                "claim",
                owner="a",
                now=at(run, 0),
                due_before=at(run, 0),
                lease_until=at(run, draw(st.integers(0, 3))),
                limit=draw(st.integers(1, 4)),
            )
            run.claim(now=at(run, draw(st.integers(1, 4))), lease_until=at(run, 9))

        self.prove(program)

    def test_replay_renew(self) -> None:
        """A lease moved twice ends where it was moved to."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = [claimed(run, "a", until=2), population(run)]
            now, until = draw(st.integers(0, 4)), draw(st.integers(0, 9))
            run.lose_reply("renew", claims, now=at(run, now), lease_until=at(run, until))

        self.prove(program)

    def test_replay_settle(self) -> None:
        """What was reported gives False the second time and is not reported again."""

        def program(run: Lockstep, draw: Draw) -> None:
            claims = [claimed(run, "a"), population(run)]
            settlements = [draw(reports(run, claim)) for claim in claims]
            run.lose_reply("settle", settlements, now=at(run, draw(st.integers(1, 10))))

        self.prove(program)

    def test_replay_requeue(self) -> None:
        """What was requeued is not dead the second time."""

        def program(run: Lockstep, draw: Draw) -> None:
            population(run)
            ids = st.lists(st.sampled_from([*STATES, "absent"]), min_size=1, max_size=5)
            run.lose_reply("requeue", draw(ids), now=at(run, 5))

        self.prove(program)

    def test_replay_purge(self) -> None:
        """What was purged is not counted the second time."""

        def program(run: Lockstep, draw: Draw) -> None:
            for number, died in enumerate(draw(st.lists(st.integers(0, 4), max_size=4))):
                dead(run, f"d{number}", died=died)
            run.add([event(run, "live")])
            run.lose_reply("purge", before=at(run, draw(st.integers(0, 5))))

        self.prove(program)
