"""Tests of the protocol as such: whether every operation is there and returns what it should."""

from __future__ import annotations

from futurama.backend import Move, Query, Settlement
from futurama.conformance.base import Draw, SuiteBase
from futurama.conformance.examination import examined, to_do
from futurama.conformance.failure import LawBroken
from futurama.conformance.instance import OPERATIONS
from futurama.conformance.lockstep import Lockstep
from futurama.conformance.scenes import at, event

__all__ = ["ProtocolChecks"]


class ProtocolChecks(SuiteBase):
    """The laws ``protocol.*``."""

    def test_protocol_complete(self) -> None:
        """No operation is missing or raises NotImplementedError."""
        unwritten = examined(type(self)).unwritten
        if unwritten:
            raise LawBroken(
                "protocol.complete",
                expected=f"the {len(OPERATIONS)} operations",
                actual=to_do(unwritten),
            )

    def test_protocol_returns(self) -> None:
        """One call of each operation, with one event."""

        def program(run: Lockstep, draw: Draw) -> None:  # noqa: ARG001 -- there is but one such program
            run.add([event(run, "a")])
            run.reschedule([Move(id="a")])
            run.find(Query())
            run.count()
            claims = run.claim(now=at(run, 0), lease_until=at(run, 5))
            run.renew(claims, now=at(run, 0), lease_until=at(run, 9))
            run.settle([Settlement.bury(claim, "why") for claim in claims], now=at(run, 1))
            run.requeue(["a"], now=at(run, 1))
            run.cancel(["a"])
            run.purge(before=at(run, 1))

        self.prove(program, examples=1)
