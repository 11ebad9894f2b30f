"""Reporting how claims ended: batched, repeated, bounded by the lease."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from futurama.backend import Claim, Settlement
from futurama.clock import BackendClock
from futurama.held import HeldClaims
from futurama.reports import Report, Reporter
from futurama.stats import Stats
from tests.unit.support import (
    PATIENCE_SECONDS,
    SECOND,
    Background,
    World,
    fails,
    fails_after,
    meanwhile,
    new_event,
    rejected,
    unavailable,
    unknown,
)


class Desk:
    """A reporter with claims of a memory backend to report on.

    Attributes:
        acknowledged: what the reporter said was accepted.
    """

    def __init__(self, world: World, count: int) -> None:
        self.world = world
        self.stats = Stats()
        self.acknowledged: list[Report] = []
        clock = BackendClock(world.backend.now, world.time)
        clock.sample()
        self.held = HeldClaims(
            {}, monotonic_us=world.time.monotonic_us, backend_us=clock.at, margin_us=0
        )
        self.reporter = Reporter(
            world.backend,
            self.held,
            clock=clock,
            runtime=world.time,
            stats=self.stats,
            on_acknowledged=self.acknowledged.extend,
        )
        world.memory.add([new_event(f"{n:04d}") for n in range(count)], if_exists="raise")
        self.claims = world.claim_as_another(limit=count)
        self.held.add(self.claims, lease_end_us=world.time.monotonic_us() + 10_000_000)

    def done(self, *claims: Claim) -> list[bool]:
        """Report these as done; whether each wants to be written now."""
        return [
            self.reporter.add(
                Report(self.held._by_id[claim.id], Settlement.done(claim), "succeeded")
            )
            for claim in claims
        ]

    def counted(self, name: str) -> int:
        """A counter."""
        value: int = self.stats.snapshot()[name]
        return value


def test_reports_are_batched_and_bounded(world: World) -> None:
    """P8: what has gathered is written in few batches of at most a thousand."""
    desk = Desk(world, 2500)
    desk.done(*desk.claims)
    assert [desk.reporter.step() for _ in range(3)] == [0, 0, 0]
    assert world.backend.counts["settle"] == 3
    assert len(desk.acknowledged) == desk.counted("succeeded") == 2500
    assert len(desk.held) == len(desk.reporter) == 0


@pytest.mark.parametrize("fault", [fails(unavailable()), fails(unknown())])
def test_reports_wait_for_the_backend(world: World, fault: object) -> None:
    """P9: what could not be written stays, in order, and is written by the next step."""
    desk = Desk(world, 3)
    desk.done(*desk.claims)
    world.backend.plan("settle", fault)  # type: ignore[arg-type]  # a fault
    assert desk.reporter.step() < 3
    assert len(desk.reporter) == len(desk.held) == 3
    desk.reporter.step()
    assert desk.reporter._health._failures == 0
    assert [report.settlement.claim for report in desk.acknowledged] == list(desk.claims)


def test_reports_rest_after_a_batch(world: World) -> None:
    """The first report is written at once, then some gather: until the next step, or a full batch."""
    desk = Desk(world, 300)
    first, *others, last = desk.claims
    assert desk.done(first) == [True]
    world.backend.plan("settle", meanwhile(lambda: world.time.sleep(0.001)))
    assert desk.reporter.step() == pytest.approx(0.003)
    wants = desk.done(*others)
    assert wants == [False] * 199 + [True] * 99
    assert desk.reporter.step() == 0
    assert desk.reporter.step() == math.inf
    assert desk.done(last) == [True]


@pytest.mark.parametrize(("due_ms", "is_urgent"), [(-1, True), (15, True), (50, False)])
def test_retries_that_are_due_soon_do_not_rest(
    world: World, due_ms: float, *, is_urgent: bool
) -> None:
    """P3: the next attempt is not late because its report had to wait for others."""
    desk = Desk(world, 2)
    first, second = desk.claims
    desk.done(first)
    desk.reporter.step()
    due = world.time.now() + timedelta(milliseconds=due_ms)
    retry = Report(desk.held._by_id[second.id], Settlement.retry(second, due), "retried")
    assert desk.reporter.add(retry) is is_urgent


def test_all_that_waits_can_be_written_at_once(world: World) -> None:
    """Whoever wants to know what the backend says need not wait for the next step."""
    desk = Desk(world, 2500)
    desk.done(*desk.claims)
    desk.reporter.write_all()
    assert len(desk.acknowledged) == 2500
    assert desk.reporter.step() == math.inf


def test_what_another_thread_could_not_write_is_not_forgotten(world: World) -> None:
    """P9: a step that finds nothing waits for whoever writes just now, and tries again if that fails."""
    desk = Desk(world, 1)
    desk.done(*desk.claims)
    is_writing, may_fail = threading.Event(), threading.Event()

    def fail(_: object) -> None:
        is_writing.set()
        assert may_fail.wait(PATIENCE_SECONDS)
        raise unavailable()

    world.backend.plan("settle", fail)
    writer = Background(desk.reporter.write_all)
    assert is_writing.wait(PATIENCE_SECONDS)
    step = Background(desk.reporter.step)
    step.join(0.05)
    may_fail.set()
    writer.result()
    step.result()
    assert len(desk.acknowledged) == 1


def test_an_outage_is_waited_for_once(world: World) -> None:
    """P8: not once for each report, when one of them is refused just before it begins."""
    desk = Desk(world, 500)
    desk.done(*desk.claims)
    world.backend.plan("settle", fails(rejected("0000")), *[fails(unavailable())] * 1000)
    assert desk.reporter.step() > 0
    assert world.backend.counts["settle"] == 2
    assert len(desk.reporter) == len(desk.held) == 500
    world.backend.heal()
    desk.reporter.step()
    assert desk.counted("succeeded") == 500


def test_nobody_waits_for_a_backend_that_fails(world: World) -> None:
    """P9: an outage is waited for once, by the step that tries it."""
    desk = Desk(world, 1)
    desk.done(*desk.claims)
    world.backend.plan("settle", fails(unavailable()))
    desk.reporter.step()
    desk.reporter.write_all()
    assert world.backend.counts["settle"] == 1
    desk.reporter.step()
    assert len(desk.acknowledged) == 1


def test_new_reports_do_not_hurry_what_fails(world: World) -> None:
    """P9: while the backend is out of reach, only the pauses between the tries decide."""
    desk = Desk(world, 300)
    desk.done(desk.claims[0])
    world.backend.plan("settle", fails(unavailable()))
    desk.reporter.step()
    assert not any(desk.done(*desk.claims[1:]))


def test_a_repeated_report_is_lost_or_done(world: World) -> None:
    """P4: a report whose answer was lost is refused the second time, and held no more."""
    desk = Desk(world, 2)
    desk.done(*desk.claims)
    world.backend.plan("settle", fails_after(unknown()))
    desk.reporter.step()
    desk.reporter.step()
    assert len(desk.held) == 0
    assert sum(world.memory.count().values()) == 0
    assert (desk.counted("unconfirmed"), desk.counted("lost")) == (2, 0)


def test_reports_end_with_the_lease(world: World) -> None:
    """P8: what cannot be written until the lease ends is given up, so nothing piles up."""
    desk = Desk(world, 3)
    desk.done(*desk.claims)
    world.backend.outage = unavailable
    desk.reporter.step()
    world.time.sleep(10)
    desk.reporter.step()
    assert len(desk.reporter) == len(desk.held) == 0
    assert desk.counted("lost") == 3


def test_an_outage_does_not_flood_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """P8: a thousand claims that are lost together are two lines, which name some of them."""
    desk = Desk(world, 1000)
    desk.done(*desk.claims)
    world.backend.outage = unavailable
    desk.reporter.step()
    world.time.sleep(10)
    caplog.clear()
    desk.reporter.step()
    assert len(caplog.messages) == 2
    assert all("1000 claims: " in line and "995 more" in line for line in caplog.messages)


def test_bugs_of_a_backend_lose_only_one_batch(world: World) -> None:
    """P9: an error that no backend should raise loses the reports, but the reporter goes on."""
    desk = Desk(world, 2)
    desk.done(desk.claims[0])
    world.backend.plan("settle", fails(KeyError("bug")))
    desk.reporter.step()
    assert desk.counted("lost") == 1
    desk.done(desk.claims[1])
    desk.reporter.step()
    assert desk.counted("succeeded") == 1
    assert len(desk.held) == 0


def test_a_report_that_always_fails_holds_up_no_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P9: even if the error does not tell that one report is the reason, all others get through."""
    desk = Desk(world, 500)
    bad = desk.claims[100]

    def settle(settlements: Sequence[Settlement], *, now: datetime) -> Sequence[bool]:
        if any(settlement.claim is bad for settlement in settlements):
            raise unavailable()
        return world.memory.settle(settlements, now=now)

    monkeypatch.setattr(world.backend, "settle", settle)
    desk.done(*desk.claims)
    for _ in range(50):
        desk.reporter.step()
    assert desk.counted("succeeded") == 499
    assert [report.settlement.claim for report in desk.reporter._pending] == [bad]
    desk.reporter.step()
    assert len(desk.reporter) == 1


def test_what_is_locked_holds_up_no_other_report(world: World) -> None:
    """P8: when somebody keeps a lock on one event, all others are reported, and it as soon as that is over."""
    desk = Desk(world, 4)
    desk.done(*desk.claims)
    world.backend.locked_ids = {desk.claims[1].id}
    assert desk.reporter.step() > 0
    assert desk.counted("succeeded") == 3
    assert len(desk.reporter) == 1
    world.backend.heal()
    desk.reporter.step()
    assert desk.counted("succeeded") == 4
    assert desk.counted("lost") == len(desk.held) == 0


def test_reports_go_on_after_others_were_given_up(world: World) -> None:
    """P9: when a failing batch has ended with its lease, the next report does not wait for ever."""
    queue = world.queue(consumer_lock_timeout_sec=3)
    world.backend.outage, world.backend.broken = unavailable, {"settle", "renew"}
    queue.create("note", timedelta())
    queue.advance(10 * SECOND)
    world.backend.outage = None
    queue.create("note", timedelta())
    queue.advance(10 * SECOND)
    assert queue.stats()["held"] == queue.stats()["unreported"] == 0
    assert sum(world.memory.count().values()) == 0
