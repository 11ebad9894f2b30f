"""Tests of repeating a call whose outcome is unknown."""

from __future__ import annotations

from itertools import product
from typing import Any, get_args

from hypothesis import strategies as st

from futurama.backend import IfExists, Move, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import (
    SOME_STATES,
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

_ANY = st.sampled_from([*STATES, "absent"])
_MEANWHILE = ("", "something else happens")
"""Between the lost reply and the repeat."""


class ReplayChecks(SuiteBase):
    """The laws ``replay.*``: a reply is lost, something else may happen, the call is repeated."""

    def test_replay_add(self) -> None:
        """A repeat is ADDED, whatever became of the event meanwhile, and stores it only if it is gone."""

        def program(case: tuple[IfExists, str, str], run: Lockstep, draw: Draw) -> None:
            if_exists, before, fate = case
            if before:
                enter(run, before)
            twins = [event(run, payload=b"1"), event(run, payload=b"2"), event(run, "b")]
            events = draw(st.permutations(twins))[: draw(st.integers(1, 3))]
            run.lose_reply("add", events, if_exists=if_exists)
            until = at(run, 9 if fate == "expired" else 20)
            for claim in [] if fate == "waiting" else run.claim(now=at(run, 9), lease_until=until):
                if fate == "done":
                    run.settle([Settlement.done(claim)], now=at(run, 9))
                if fate == "retried":
                    run.settle([Settlement.retry(claim, at(run, 25))], now=at(run, 9))
                if fate == "buried":
                    run.settle([Settlement.bury(claim, "why")], now=at(run, 9))
            run.repeat("add", events, if_exists=if_exists)

        befores = ["", "waiting", "claimed", "dead"]
        fates = ["waiting", "claimed", "expired", "done", "retried", "buried"]
        self.prove_each(product(get_args(IfExists), befores, fates), program, examples=1)

    def test_replay_cancel(self) -> None:
        """What was removed is not found the second time, unless it was added again meanwhile."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            ids = draw(st.lists(_ANY, min_size=1, max_size=5))
            run.lose_reply("cancel", ids)
            if meanwhile:
                waiting(run, draw(st.sampled_from(ids)), due=30)
            run.repeat("cancel", ids)

        self.prove_each(_MEANWHILE, program, examples=8)

    def test_replay_reschedule(self) -> None:
        """A change made twice is the same change, and refused if the event was claimed meanwhile."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            moves = draw(st.lists(self.values().moves(_ANY), min_size=1, max_size=4))
            run.lose_reply("reschedule", moves)
            match meanwhile:
                case "claimed":
                    run.claim(now=at(run, 20), lease_until=at(run, 40))
                case "moved":
                    run.reschedule([Move(id="waiting", trigger_time=at(run, 30), payload=b"3")])
            run.repeat("reschedule", moves)

        self.prove_each(["nothing", "claimed", "moved"], program, examples=5)

    def test_replay_claim(self) -> None:
        """Events claimed by the lost reply come back when their leases end, marked as lost."""

        def program(run: Lockstep, draw: Draw) -> None:
            waiting(run, *"abcd")
            asked: dict[str, Any] = {
                "owner": "a",
                "now": at(run, 0),
                "due_before": at(run, 0),
                "lease_until": at(run, draw(st.integers(0, 3))),
                "limit": draw(st.integers(1, 4)),
            }
            run.lose_reply("claim", **asked)
            run.repeat("claim", **asked)
            run.claim(now=at(run, draw(st.integers(1, 4))), lease_until=at(run, 9))

        self.prove(program)

    def test_replay_renew(self) -> None:
        """A lease moved twice ends where it was moved to, unless the claim was lost meanwhile."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            claims = [claimed(run, "a", until=2), *population(run, draw(SOME_STATES))]
            now, until = at(run, draw(st.integers(0, 4))), at(run, draw(st.integers(0, 9)))
            run.lose_reply("renew", claims, now=now, lease_until=until)
            if meanwhile:
                run.claim(now=at(run, 9), lease_until=at(run, 12))
            run.repeat("renew", claims, now=now, lease_until=until)

        self.prove_each(_MEANWHILE, program, examples=8)

    def test_replay_settle(self) -> None:
        """What was reported gives False the second time, whoever holds the event by then."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            claims = [claimed(run, "a"), *population(run, draw(SOME_STATES))]
            settlements = [draw(reports(run, claim)) for claim in claims]
            now = at(run, draw(st.integers(1, 10)))
            run.lose_reply("settle", settlements, now=now)
            if meanwhile:
                run.claim(now=at(run, 10), lease_until=at(run, 12))
            run.repeat("settle", settlements, now=now)

        self.prove_each(_MEANWHILE, program, examples=8)

    def test_replay_requeue(self) -> None:
        """What was requeued is not dead the second time, unless it died again."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            population(run, draw(SOME_STATES))
            ids = draw(st.lists(_ANY, min_size=1, max_size=5))
            run.lose_reply("requeue", ids, now=at(run, 5))
            if meanwhile:
                claims = run.claim(now=at(run, 5), lease_until=at(run, 9))
                run.settle([Settlement.bury(claim, "again") for claim in claims], now=at(run, 6))
            run.repeat("requeue", ids, now=at(run, 5))

        self.prove_each(_MEANWHILE, program, examples=8)

    def test_replay_purge(self) -> None:
        """What was purged is not counted the second time, what died meanwhile is."""

        def program(meanwhile: str, run: Lockstep, draw: Draw) -> None:
            for number, died in enumerate(draw(st.lists(st.integers(0, 4), max_size=4))):
                dead(run, f"d{number}", died=died)
            before = at(run, draw(st.integers(0, 5)))
            run.lose_reply("purge", before=before)
            if meanwhile:
                dead(run, "late", died=draw(st.integers(0, 4)))
            run.repeat("purge", before=before)

        self.prove_each(_MEANWHILE, program, examples=8)
