"""The heart of an instance: claims events shortly before their time and keeps their leases.

What is due within the look-ahead is claimed into :class:`~futurama.held.HeldClaims`, from which
workers take each call at its very time (:mod:`futurama.calls`); how calls end is reported in
batches (:mod:`futurama.reports`), and what does not end is found (:mod:`futurama.watchdog`). All of it is written as steps that a runtime runs.
"""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial

import attrs

from futurama.backend import Claim, EventBackend, Settlement
from futurama.backoff import RetryPolicy
from futurama.batching import Batcher
from futurama.calls import Caller
from futurama.claim_size import ClaimSize
from futurama.clock import BackendClock
from futurama.config import Config
from futurama.errors import BackendError, OutcomeUnknownError
from futurama.health import Health
from futurama.held import Held, HeldClaims
from futurama.parts import in_parts
from futurama.reports import Report, Reporter
from futurama.retrying import writing
from futurama.running import RunningCalls
from futurama.runtime import Runtime
from futurama.stats import Stats
from futurama.suspects import Suspects
from futurama.times import to_us
from futurama.triggers import BoundTrigger, close_all
from futurama.watchdog import Watchdog

__all__ = ["Ended", "Scheduler"]

_log = logging.getLogger("futurama.scheduler")
_statistics_log = logging.getLogger("futurama.statistics")

_UNTOUCHED_SHARE = 0.25
"""No call starts in this last part of a lease: room for clocks and pauses that we cannot see."""

_RENEWED_AFTER_SHARE = 1 / 3
"""A lease is renewed when this share of it is over: two renewals may fail before it matters."""

_RENEWED_AGAIN_SHARE = 1 / 6
"""After a failure renewals pause no longer than this share of a lease: meanwhile others need theirs."""

_FAR_SHARE = 0.25
"""A backend that takes longer than this part of a lease to answer is too far away for it."""

_UPKEEP_SECONDS = 10.0
"""How often the backend's clock is measured; a quartz that is off by 100 ppm drifts 1 ms meanwhile."""

_PURGE_SECONDS = 600.0

_BEHIND_US = 10_000
"""Calls this late mean that the workers cannot keep up: then other instances may take the rest."""

_GATHERED_SHARE = 0.1
"""Events that come within the look-ahead one after another are claimed together, when this share of it
has passed: each claim is a transaction, and each keeps calls that are due from the interpreter."""

_OWN_SHARE = 0.5
"""For events that this instance itself stores, it looks when less than this share of the look-ahead is
left: by then its usual looks have found most of them."""

_CLAIMED_PER_WORKER = 2
"""The smallest claims: one call under way and one to follow it, for each worker."""

_BREATH_SECONDS = 0.01
"""How soon to look again whether suspects have been called, or others have given back what they withdrew."""

_GRACE_SHARE = 0.1
"""What coroutines that are cancelled have of the time in which an instance is to stop, to clean up."""

_LONGEST_GRACE_SECONDS = 1.0

_IDLE_SECONDS = 0.1
"""In this time a loop that has nothing to do has ended."""

_MAX_BATCH = 1000
"""Most leases renewed, and most withdrawn claims reported, at once: no transaction is long."""


@attrs.frozen
class Ended:
    """What became of a claim that ended without a call.

    Attributes:
        is_ours: whether the backend has accepted that; if not, the claim was lost before, or an
            earlier try was accepted and its answer lost.
        is_in_doubt: a call may be in flight nevertheless: of an earlier, silent owner, or of
            whoever has claimed the event since.
    """

    is_ours: bool
    is_in_doubt: bool


class Scheduler:
    """One instance. Made and driven by :class:`futurama.queue.Queue`.

    Args:
        backend: opened.
        bound: the triggers, by trigger type.
        config: the core's keys.
        default_policy: when to try an event again for which no trigger is registered here.
        owner: this instance's name.
        clock: the backend's clock.
        runtime: runs the steps.
        stats: counts.
        poll_seconds: the longest time between two looks for due events.
    """

    def __init__(
        self,
        backend: EventBackend,
        bound: Mapping[str, BoundTrigger],
        config: Config,
        *,
        default_policy: RetryPolicy,
        owner: str,
        clock: BackendClock,
        runtime: Runtime,
        stats: Stats,
        poll_seconds: float,
    ) -> None:
        self._backend = backend
        self._triggers = bound
        self._config = config
        self._owner = owner
        self._clock = clock
        self._runtime = runtime
        self._stats = stats
        self._lease_us = int(config.consumer_lock_timeout_sec * 1e6)
        self._look_ahead = timedelta(seconds=config.consumer_time_window_sec)
        self._poll_seconds = poll_seconds
        self._held = HeldClaims(
            bound,
            monotonic_us=runtime.monotonic_us,
            backend_us=clock.at,
            margin_us=int(self._lease_us * _UNTOUCHED_SHARE),
        )
        self._suspects = Suspects(
            bound,
            holds=self._held.holds,
            look_ahead=self._look_ahead,
            lease_us=self._lease_us,
        )
        self._reporter = Reporter(
            backend,
            self._held,
            clock=clock,
            runtime=runtime,
            stats=stats,
            on_acknowledged=self._acknowledged,
        )
        self._coroutines = runtime.make_coroutines("futurama-coroutines", config.max_coroutines)
        self._running = RunningCalls()
        self._caller = Caller(
            self._held,
            default_policy=default_policy,
            capabilities=backend.capabilities,
            keeps_dead_letters=config.dead_letter_days > 0,
            clock=clock,
            timer_us=runtime.monotonic_us,
            coroutines=self._coroutines,
            running=self._running,
            stats=stats,
            report=self._report,
            lets_through=runtime.lets_through,
        )
        self._withdrawn: Batcher[Settlement, bool] = Batcher(
            self._settle_withdrawn, max_batch=_MAX_BATCH
        )
        self._claim_health = Health("claiming events", stats)
        self._renew_health = Health("renewing leases", stats)
        self._upkeep_health = Health("upkeep", stats)
        self._claim_size = ClaimSize(
            least=_CLAIMED_PER_WORKER * config.max_worker_threads,
            most=config.consumer_select_limit,
        )
        self._wants_room = False
        self._is_far = False
        self._next_claim_us = sys.maxsize
        started_us = runtime.monotonic_us()
        self._next_sample_us = started_us
        self._next_purge_us = started_us
        self._next_stats_us = started_us + int(config.stat_interval_sec * 1e6)
        self._report_loop = runtime.make_loop("futurama-report", self._reporter.step)
        self._renew_loop = runtime.make_loop("futurama-renew", self.renew_step)
        self._upkeep_loop = runtime.make_loop("futurama-upkeep", self.upkeep_step)
        self._claim_loop = runtime.make_loop("futurama-claim", self.claim_step)
        self._workers = runtime.make_workers(
            "futurama-call", config.max_worker_threads, self._held, self._perform
        )
        self._watchdog = Watchdog(
            self._running,
            self._held,
            self._caller,
            backend,
            timeout_seconds=config.trigger_timeout_sec,
            lease_seconds=config.consumer_lock_timeout_sec,
            clock=clock,
            timer_us=runtime.monotonic_us,
            stats=stats,
            replace_worker=self._workers.replace,
            lose=self._reporter.lose,
            wake_renewals=self._renew_loop.wake,
            on_ended=self._is_due_again,
        )
        self._watchdog_loop = runtime.make_loop("futurama-watchdog", self._watchdog.step)

    def start(self) -> None:
        """Begin to claim and to call."""
        self._coroutines.start()
        self._report_loop.start()
        self._renew_loop.start()
        self._upkeep_loop.start()
        self._workers.start()
        self._watchdog_loop.start()
        self._claim_loop.start()

    def stop(self, timeout: float) -> bool:
        """Claim no more, give back what has not started, let running calls end, report them.

        Args:
            timeout: seconds to wait for running calls and for the backend; one operation that hangs
                may take the backend's own timeout longer.

        Returns:
            Whether all calls ended, or had been given up, and were reported. What was not is claimed
            again by any instance when its lease ends.
        """
        deadline_us = self._runtime.monotonic_us() + int(timeout * 1e6)
        self._claim_loop.stop(self._seconds_until(deadline_us))
        self._held.close()
        for held in self._held.withdraw_all():
            self._report(Report(held, Settlement.release(held.claim), "released"))
        grace = min(_LONGEST_GRACE_SECONDS, timeout * _GRACE_SHARE)
        functions_ended = self._workers.join(self._seconds_until(deadline_us) - grace)
        coroutines_ended = self._coroutines.join(self._seconds_until(deadline_us), grace=grace)
        functions_ended = functions_ended or self._workers.join(0)
        self._watchdog_loop.stop(self._seconds_until(deadline_us))
        if self._report_loop.stop(max(_IDLE_SECONDS, self._seconds_until(deadline_us))):
            self._report_until(deadline_us)
        self._renew_loop.stop(self._seconds_until(deadline_us))
        self._upkeep_loop.stop(self._seconds_until(deadline_us))
        self._coroutines.close(partial(close_all, self._triggers))
        if len(self._held):
            _log.warning(
                "%s stopped with %d calls unfinished or unreported; they are repeated when their "
                "leases end",
                self._owner,
                len(self._held),
            )
        return functions_ended and coroutines_ended and not len(self._held)

    # -- for the queue --------------------------------------------------------------------------

    def waits_until(self, due_us: int) -> None:
        """This instance has stored an event that is due then: look in time."""
        look_us = due_us - int(self._look_ahead.total_seconds() * 1e6 * _OWN_SHARE)
        if look_us < self._next_claim_us and not self._claim_health.is_failing:
            self._claim_loop.wake()

    def end_uncalled(
        self, event_id: str, settlement: Callable[[Claim], Settlement]
    ) -> Ended | None:
        """End the claim on an event that is held here and was not called; None if there is none.

        Meanwhile no call starts, and afterwards none under this claim.

        Raises:
            BackendError: it could not be reported within ``operation_timeout_sec``. The event is
                called after all, once a renewal has shown that it is still held.
        """
        held = self._held.withdraw(event_id)
        if held is None:
            return None
        errors: list[BackendError] = []
        try:
            is_ours = writing(
                self._withdrawn,
                settlement(held.claim),
                runtime=self._runtime,
                timeout=self._config.operation_timeout_sec,
                on_error=errors.append,
            )
        except BackendError:
            self._held.restore(held)
            self._renew_loop.wake()
            raise
        except BaseException:  # interrupted: another thread may still write the report
            self._held.forget([held])
            raise
        finally:
            self._stats.count("backend_errors", len(errors))
        self._held.forget([held])
        was_lost = any(isinstance(error, OutcomeUnknownError) for error in errors)
        return Ended(is_ours, held.claim.lost_before or (was_lost and not is_ours))

    def report_first(self, event_id: str) -> None:
        """If the claim on this event has ended here, let the backend know before it is asked anything.

        Else an event that was called a moment ago would seem to be called still.
        """
        if self._held.has_ended(event_id):
            self._reporter.write_all()

    def forget_replaced(self, event_id: str, created: datetime) -> None:
        """This instance has stored an event over a former one: do not call that any more."""
        self._held.forget_replaced(event_id, created)

    def snapshot(self) -> dict[str, int]:
        """How many claims this instance holds, and how many of them have ended unreported."""
        return {"held": len(self._held), "unreported": len(self._reporter)}

    # -- steps ----------------------------------------------------------------------------------

    def claim_step(self) -> float:
        """Claim what is due within the look-ahead."""
        self._wants_room = True  # first, so that room made from here on is not missed
        if not self._room():
            return self._poll_seconds
        asked_us = self._runtime.monotonic_us()
        if self._suspects.are_being_called(asked_us):
            return _BREATH_SECONDS
        self._claim_size.has_room(now_us=asked_us, waiting=self._held.waiting)
        room = self._room()
        self._wants_room = False
        # Whatever is created while the backend looks may be missed by it: then look once more.
        self._next_claim_us = sys.maxsize
        now = self._clock.now()
        look_ahead = self._suspects.look_ahead(asked_us)
        horizon = now + look_ahead
        try:
            batch = self._backend.claim(
                owner=self._owner,
                now=now,
                due_before=horizon,
                lease_until=self._lease_until(now),
                limit=room,
            )
        except BackendError as exc:
            return self._claim_health.failed(exc)
        self._claim_health.worked()
        self._stats.count("claimed", len(batch.claims))
        claims, too_many = self._suspects.choose(batch.claims, now=now, timer_us=asked_us)
        if too_many:
            self._next_claim_us = self._clock.now_us() + int(_BREATH_SECONDS * 1e6)
            self._put_back(too_many, lease_end_us=asked_us + self._lease_us)
        if claims:
            self._hold(claims, lease_end_us=asked_us + self._lease_us)
        if too_many:
            return _BREATH_SECONDS
        if len(batch.claims) == room:
            self._claim_size.was_filled(
                now_us=self._runtime.monotonic_us(), waiting=self._held.waiting
            )
            return 0
        wait = self._poll_seconds
        if batch.next_due is not None and batch.next_due > now:
            # What is due within the look-ahead and was not claimed is claimed by another, whose
            # lease or transaction may end: look again when it is due.
            is_ahead = batch.next_due > horizon
            seen = horizon - _GATHERED_SHARE * look_ahead if is_ahead else now
            wait = min(wait, (batch.next_due - seen).total_seconds())
        self._next_claim_us = self._clock.now_us() + int(wait * 1e6)
        return wait

    def renew_step(self) -> float:
        """Renew leases in time, and let those of calls that were given up end."""
        return min(self._renew_leases(), self._watchdog.end_leases())

    def _renew_leases(self) -> float:
        """Renew every lease of which a third is over; give up those that have ended.

        What is due and was not called for so long is given back: the workers are stuck.
        """
        asked_us = self._runtime.monotonic_us()
        renew_us = int(self._lease_us * (1 - _RENEWED_AFTER_SHARE))
        for each in self._held.withdraw_overdue(older_than_us=asked_us + renew_us):
            self._report(Report(each, Settlement.release(each.claim), "released"))
        held = self._held.to_renew(older_than_us=asked_us + renew_us)[:_MAX_BATCH]
        if held:
            try:
                self._renew(held)
            except BackendError as exc:
                self._reporter.lose(
                    each for each in held if each.lease_end_us < asked_us and each.is_callable
                )
                pause = self._renew_health.failed(exc)
                return min(pause, self._lease_us * _RENEWED_AGAIN_SHARE / 1e6)
            self._renew_health.worked()
        self._workers.wake()
        earliest_us = self._held.earliest_lease_end_us()
        if earliest_us is None:
            return self._lease_us * _RENEWED_AFTER_SHARE / 1e6
        return max(0.0, (earliest_us - renew_us - self._runtime.monotonic_us()) / 1e6) + 0.01

    def _renew(self, held: Sequence[Held]) -> None:
        failure = None
        for part, outcome in in_parts(self._renew_together, held):
            if isinstance(outcome, Exception):
                failure = outcome
                continue
            for each, lease_end_us in zip(part, outcome, strict=True):
                if lease_end_us is not None:
                    self._held.renewed(each, lease_end_us=lease_end_us)
                elif each.is_callable:
                    self._reporter.lose([each])
                else:
                    self._held.forget([each])  # its report will be refused and counted
        if failure is not None:
            raise failure

    def _renew_together(self, held: Sequence[Held]) -> Sequence[int | None]:
        """When the lease of each ends from now on, on the local timer; None: it is not ours."""
        asked_us = self._runtime.monotonic_us()
        now = self._clock.now()
        renewed = self._backend.renew(
            [each.claim for each in held], now=now, lease_until=self._lease_until(now)
        )
        return [asked_us + self._lease_us if is_ours else None for is_ours in renewed]

    def upkeep_step(self) -> float:
        """Whatever has to be done now and then."""
        try:
            self._sample_clock()
            self._purge()
        except BackendError as exc:
            return self._upkeep_health.failed(exc)
        self._upkeep_health.worked()
        return min(_UPKEEP_SECONDS, self._log_stats())

    # -- calls and reports ----------------------------------------------------------------------

    def _perform(self, held: Held) -> bool:
        was_given_up = self._caller.perform(held)
        self._use_room()
        return was_given_up

    def _report(self, report: Report) -> None:
        if self._reporter.add(report) or self._is_full():
            self._report_loop.wake()

    def _hold(self, claims: Sequence[Claim], *, lease_end_us: int) -> None:
        if self._held.add(claims, lease_end_us=lease_end_us):
            self._workers.wake()
        else:  # stop() could not wait for the backend any longer
            releases = [Settlement.release(claim) for claim in claims]
            self._put_back(releases, lease_end_us=lease_end_us)

    def _put_back(self, releases: Sequence[Settlement], *, lease_end_us: int) -> None:
        """Release these claims now or, if the backend fails, as soon as that can be reported."""
        withdrawn = self._held.add_withdrawn(
            [release.claim for release in releases], lease_end_us=lease_end_us
        )
        for held, release in zip(withdrawn, releases, strict=True):
            self._report(Report(held, release, "released"))
        self._reporter.write_all()

    def _acknowledged(self, reports: Sequence[Report]) -> None:
        dues = [report.settlement.due for report in reports if report.settlement.due is not None]
        if dues:
            self.waits_until(to_us(min(dues)))
        self._use_room()

    def _is_due_again(self, due: datetime) -> None:
        self.waits_until(to_us(due))
        self._use_room()

    def _settle_withdrawn(self, settlements: Sequence[Settlement]) -> Sequence[bool]:
        return self._backend.settle(settlements, now=self._clock.now())

    def _report_until(self, deadline_us: int) -> None:
        """Write all reports, and let callers and the watchdog end what they are about to give back."""
        while True:
            pause = self._reporter.step()
            left = self._seconds_until(deadline_us)
            if not left or not (self._reporter or self._held.is_giving_back):
                return
            self._runtime.sleep(min(pause, left) if self._reporter else min(_BREATH_SECONDS, left))

    def _use_room(self) -> None:
        """If claiming had to stop because this instance was full, let it go on."""
        if self._wants_room and self._room():
            self._wants_room = False
            self._claim_loop.wake()

    # -- helpers --------------------------------------------------------------------------------

    def _lease_until(self, now: datetime) -> datetime:
        """The end of a lease that is asked for now, by the backend's clock.

        This instance counts the lease from the moment of asking. ``now`` may be behind the backend
        then, so it is not enough to add the lease: it would end there before it ends here.
        """
        return now + timedelta(microseconds=self._clock.behind_us + self._lease_us)

    def _is_full(self) -> bool:
        """Whether nothing can be claimed before something is reported."""
        return len(self._held) >= self._config.max_scheduled_events

    def _room(self) -> int:
        """How many events may be claimed now."""
        size = self._claim_size.size
        is_behind = self._held.is_behind(count=size, lateness_us=_BEHIND_US)
        if is_behind or self._coroutines.backlog >= size:
            return 0
        return max(0, min(size, self._config.max_scheduled_events - len(self._held)))

    def _seconds_until(self, deadline_us: int) -> float:
        return max(0, deadline_us - self._runtime.monotonic_us()) / 1e6

    def _sample_clock(self) -> None:
        now_us = self._runtime.monotonic_us()
        if now_us >= self._next_sample_us:
            self._clock.sample()
            self._next_sample_us = now_us + int(_UPKEEP_SECONDS * 1e6)
            self._watch_distance()

    def _watch_distance(self) -> None:
        """A lease is counted from the moment of asking for it: on long ways little of it is left."""
        was_far, self._is_far = self._is_far, self._clock.behind_us > self._lease_us * _FAR_SHARE
        if self._is_far and not was_far:
            _log.warning(
                "the backend takes %.3f s to answer, much of a lease of %s s: calls will be late and "
                "may be repeated; set consumer_lock_timeout_sec to at least %.0f on every instance",
                self._clock.behind_us / 1e6,
                self._config.consumer_lock_timeout_sec,
                math.ceil(self._clock.behind_us / _FAR_SHARE / 1e6),
            )

    def _purge(self) -> None:
        now_us = self._runtime.monotonic_us()
        if now_us < self._next_purge_us:
            return
        purged = self._backend.purge(
            before=self._clock.now() - timedelta(days=self._config.dead_letter_days)
        )
        if purged:
            _log.info("forgot %d dead letters", purged)
        self._next_purge_us = now_us + int(_PURGE_SECONDS * 1e6)

    def _log_stats(self) -> float:
        """Log the statistics when it is time; return the seconds until the next time."""
        interval = self._config.stat_interval_sec
        if not interval:
            return math.inf
        now_us = self._runtime.monotonic_us()
        if now_us >= self._next_stats_us:
            self._next_stats_us = now_us + int(interval * 1e6)
            _statistics_log.info(
                "statistics of %s: %s", self._owner, self._stats.snapshot() | self.snapshot()
            )
        return (self._next_stats_us - now_us) / 1e6
