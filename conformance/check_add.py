"""Tests of adding events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import attrs
from hypothesis import strategies as st

from futurama.backend import IfExists, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import IF_EXISTS, LEASE_ENDS, at, claimed, dead, enter, event
from futurama.conformance.strategies import START

__all__ = ["AddChecks"]

_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)
_LIVE = st.sampled_from(["waiting", "claimed", "lost"])


class AddChecks(SuiteBase):
    """The laws ``add.*``."""

    def test_add_new(self) -> None:
        """Whatever if_exists says, an id that is free is ADDED."""

        def program(run: Lockstep, draw: Draw) -> None:
            values = self.values()
            run.add([draw(values.events())], if_exists=draw(IF_EXISTS))
            run.add(draw(st.lists(values.events(), max_size=4)), if_exists=draw(IF_EXISTS))

        self.prove(program)

    def test_add_raise(self) -> None:
        """A live event is neither overwritten nor moved; its neighbours in the batch are added."""

        def program(run: Lockstep, draw: Draw) -> None:
            enter(run, draw(_LIVE))
            run.add([event(run, "b"), event(run, "a", due=5, payload=b"2"), event(run, "c")])

        self.prove(program)
        self._prove_what_is_no_repeat("raise")

    def test_add_keep(self) -> None:
        """The stored event stays as it is; its neighbours in the batch are added."""

        def program(run: Lockstep, draw: Draw) -> None:
            enter(run, draw(_LIVE))
            events = [event(run, "b"), event(run, "a", due=5, payload=b"2"), event(run, "c")]
            run.add(events, if_exists="keep")

        self.prove(program)
        self._prove_what_is_no_repeat("keep")

    def test_add_replace(self) -> None:
        """Every field of a waiting event is overwritten, and its attempts are forgotten."""

        def program(run: Lockstep, draw: Draw) -> None:
            enter(run, draw(st.sampled_from(["waiting", "lost"])))
            run.add([draw(self.values().events(ids=st.just("a")))], if_exists="replace")
            run.claim(now=at(run, 30), lease_until=at(run, 40))

        self.prove(program)
        self._prove_what_is_no_repeat("replace")

    def test_add_replace_claimed(self) -> None:
        """Who held the claim can neither report nor renew it, and the event counts as lost."""

        def program(run: Lockstep, draw: Draw) -> None:
            claim = claimed(run, until=draw(LEASE_ENDS))
            run.add([event(run, payload=b"new", due=draw(st.integers(0, 20)))], if_exists="replace")
            if draw(st.booleans()):
                run.settle([Settlement.done(claim)], now=at(run, 1))
            else:
                run.renew([claim], now=at(run, 1), lease_until=at(run, 11))
            run.cancel(["a"])

        self.prove(program)

    def test_add_dead(self) -> None:
        """A dead letter is refused, kept or replaced as asked."""

        def program(run: Lockstep, draw: Draw) -> None:
            dead(run)
            run.add([event(run, payload=b"new", due=5)], if_exists=draw(IF_EXISTS))
            run.claim(now=at(run, 5), lease_until=at(run, 9))

        self.prove(program, examples=6)

    def _prove_what_is_no_repeat(self, if_exists: IfExists) -> None:
        """An event that differs from the stored one in any single field is another event."""

        def program(changed: Mapping[str, Any], run: Lockstep, draw: Draw) -> None:
            run.add([event(run)], if_exists=draw(IF_EXISTS))
            run.add([attrs.evolve(event(run), **changed)], if_exists=if_exists)

        changes: Sequence[Mapping[str, Any]] = [
            {"trigger_type": "T"},
            {"trigger_time": START + _SECOND},
            {"payload": b"2"},
            {"created": START + _MICROSECOND},
        ]
        self.prove_each(changes, program, examples=1)
