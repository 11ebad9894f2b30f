"""Tests of overlapping calls and of processes that die; what happened is judged by ``history``."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random

from futurama.backend import EventBackend
from futurama.conformance.check_capabilities import CapabilityChecks
from futurama.conformance.crash import kill_and_look
from futurama.conformance.drain import drain
from futurama.conformance.failure import SAME_STORE, LawBroken
from futurama.conformance.history import Kind, Step, check
from futurama.conformance.processes import ChildFailedError, run_processes
from futurama.conformance.profile import profile, seed
from futurama.conformance.stage import connected, opened
from futurama.conformance.workload import Plan, run_threads

__all__ = ["ConcurrencyChecks"]

_WORKERS = 4
_LONG, _SHORT = 10_000, 4
"""Leases, in calls: such that none ends, and such that many do."""
_SWITCH_SECONDS = 1e-6
"""Python lets a thread run for 5 ms by default, in which a call on memory is long over."""


class ConcurrencyChecks(CapabilityChecks):
    """The laws ``concurrency.*``, ``shared.processes`` and ``crash.*``."""

    def test_concurrency_exclusive(self) -> None:
        """Everyone grabs the same few events; no lease ends before it is reported."""
        self._overlap({Kind.ADD: 3, Kind.CLAIM: 6, Kind.SETTLE: 4}, lease=_LONG)

    def test_concurrency_fence(self) -> None:
        """Leases end all the time, and claims are reported and renewed too late."""
        weights = {Kind.ADD: 3, Kind.CLAIM: 5, Kind.SETTLE: 5, Kind.RENEW: 3}
        self._overlap(weights, lease=_SHORT)

    def test_concurrency_cancel(self) -> None:
        """Events are cancelled and moved while others claim them."""
        weights = {
            Kind.ADD: 5,
            Kind.CLAIM: 4,
            Kind.SETTLE: 2,
            Kind.CANCEL: 3,
            Kind.RESCHEDULE: 3,
        }
        self._overlap(weights, lease=_LONG)

    def test_concurrency_nothing_lost(self) -> None:
        """Everything at once, and in the end what is stored is what the replies said."""
        self._overlap(_EVERYTHING, lease=_SHORT)

    def test_shared_processes(self) -> None:
        """The same with processes, each with an instance of its own."""
        if not self.capabilities.shared:
            self.prove_absence()
            return
        with opened(type(self)) as backend, _told_of_children("shared.processes"):
            connect = self.portable_connector(backend)
            plan = self._plan(_EVERYTHING, lease=_SHORT, number=0)
            history = run_processes(connect, plan, _WORKERS)
            try:
                self._judge(backend, history)
            except LawBroken as broken:
                hint = "" if _shows_anything(history) else f" ({SAME_STORE})"
                raise _named("shared.processes", broken, hint) from None

    def test_crash_acknowledged(self) -> None:
        """A process that makes calls of every kind is killed at a random moment."""
        if not self.capabilities.durable:
            self.prove_absence()
            return
        random = Random(seed())
        for number in range(profile().kills):
            with type(self).make_backend() as backend, _told_of_children("crash.acknowledged"):
                connect = self.portable_connector(backend)
                backend.close()  # the victim has the store to itself, for it need not be shared
                kill_and_look(type(self), connect, random, at_rest=number % 2 == 0)

    def _overlap(self, weights: Mapping[Kind, int], *, lease: int) -> None:
        for number in range(profile().runs):
            with opened(type(self)) as backend, self._instances(backend) as backends:
                plan = self._plan(weights, lease=lease, number=number)
                with _hasty():
                    history = run_threads(backends, plan)
                self._judge(backend, history)

    def _judge(self, backend: EventBackend, history: Sequence[Step]) -> None:
        """Find the worst first: a wrong next_due mostly follows from something else."""
        step = self.capabilities.resolution
        check([one for one in history if one.kind is not Kind.NEXT_DUE], step)
        drain(backend, history)
        check(history, step)

    def _plan(self, weights: Mapping[Kind, int], *, lease: int, number: int) -> Plan:
        return Plan(
            seed=f"{seed()}.{number}",
            weights=weights,
            replaces=number % 2 == 0,
            lease=lease,
            resolution=self.capabilities.resolution,
            calls=profile().calls,
            seconds=profile().seconds,
        )

    @contextmanager
    def _instances(self, backend: EventBackend) -> Iterator[Sequence[EventBackend]]:
        """One instance for half of the workers, and another for the other half where possible."""
        if not self.capabilities.shared:
            yield [backend] * _WORKERS
            return
        with connected(type(self), backend) as other:
            yield [backend, other] * (_WORKERS // 2)


_EVERYTHING = {
    Kind.ADD: 6,
    Kind.CLAIM: 6,
    Kind.SETTLE: 8,
    Kind.RENEW: 2,
    Kind.CANCEL: 1,
    Kind.RESCHEDULE: 2,
    Kind.REQUEUE: 3,
    Kind.PURGE: 3,
    Kind.READ: 1,
}


def _shows_anything(history: Sequence[Step]) -> bool:
    return any(step.kind is Kind.READ and step.outcome is not None for step in history)


def _named(law: str, broken: LawBroken, hint: str = "") -> LawBroken:
    """What was found, named by what is special here; which law it was stays in the text."""
    expected = f"{broken.law}: {broken.expected}{hint}"
    return LawBroken(law, expected=expected, actual=broken.actual, raised=broken.raised)


@contextmanager
def _told_of_children(law: str) -> Iterator[None]:
    """Let a child that could not do its work break ``law``."""
    try:
        yield
    except ChildFailedError as error:
        if error.broken:
            raise _named(law, error.broken) from None
        expected = "an instance made by connector() opens in another process"
        if error.had_begun:
            expected = "every call succeeds in another process, beside those of others"
        raise LawBroken(law, expected=expected, actual=error.what, raised=error.raised) from None


@contextmanager
def _hasty() -> Iterator[None]:
    """Let Python switch between threads far more often than usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)
