"""The claims that this instance holds, ordered by the time of their calls."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum, auto

from futurama.backend import Claim
from futurama.followers import LeaderFollowers, UsualDuration
from futurama.times import to_us
from futurama.triggers import BoundTrigger

__all__ = ["Held", "HeldClaims", "Phase"]


class Phase(Enum):
    """How far a held claim has come."""

    WAITING = auto()
    """Its call may start."""
    PARKED = auto()
    """Only a renewal can tell whether its call may start: little is left of the lease, or a report
    on it could not be confirmed."""
    WITHDRAWN = auto()
    """Its call will not start here."""
    STARTED = auto()
    """Its call has started; it may have ended."""
    ABANDONED = auto()
    """Its call may go on, but nobody waits for it: its lease is not renewed any more."""
    FORGOTTEN = auto()
    """It is not held any more."""


class Held:
    """One claim and what has become of it here.

    Attributes:
        claim: as the backend gave it.
        trigger: what to call; None if this instance knows nothing of the type.
        due_us: when to call, on the backend's clock.
        lease_end_us: when the claim ends, on the local timer, counted from before it was asked for.
        phase: how far it has come here.
        usual: how long calls of its type usually take.
        started_us, runner: see :class:`futurama.running.RunningCalls`.
        has_ended: whether how it ended is known here, if not yet to the backend.
    """

    __slots__ = (
        "claim",
        "due_us",
        "has_ended",
        "lease_end_us",
        "phase",
        "runner",
        "started_us",
        "trigger",
        "usual",
    )

    started_us: int
    runner: int | asyncio.Task[object] | None

    def __init__(
        self, claim: Claim, trigger: BoundTrigger | None, usual: UsualDuration, lease_end_us: int
    ) -> None:
        self.claim = claim
        self.trigger = trigger
        self.usual = usual
        self.due_us = to_us(claim.due)
        self.lease_end_us = lease_end_us
        self.phase = Phase.WAITING
        self.has_ended = False

    @property
    def is_callable(self) -> bool:
        """Whether its call has yet to start here."""
        return self.phase in (Phase.WAITING, Phase.PARKED)


class HeldClaims:
    """A heap of claims from which many threads take calls, each at its very time; thread-safe.

    Whoever takes a call makes it itself; which of the waiting threads that is, see
    :class:`~futurama.followers.LeaderFollowers`.

    A claim is held from :meth:`add` until :meth:`forget`: before, during and after its call, until
    the backend knows how it ended.

    Args:
        bound: the triggers, by trigger type.
        monotonic_us: the local timer.
        backend_us: the backend's time for a time of the local timer.
        margin_us: no call starts when less than this is left of the lease.
    """

    def __init__(
        self,
        bound: Mapping[str, BoundTrigger],
        *,
        monotonic_us: Callable[[], int],
        backend_us: Callable[[int], int],
        margin_us: int,
    ) -> None:
        self._triggers = bound
        self._monotonic_us = monotonic_us
        self._backend_us = backend_us
        self._margin_us = margin_us
        self._by_id: dict[str, Held] = {}
        self._heap: list[tuple[int, int, Held]] = []
        self._numbers = itertools.count()
        self._is_closed = False
        self._is_stuck = False
        self._free_workers = 0
        self._lock = threading.Lock()
        self._threads = LeaderFollowers(self._lock, monotonic_us)
        self._usual = {trigger_type: UsualDuration() for trigger_type in bound}
        self._usual_of_unknown = UsualDuration()

    def __len__(self) -> int:
        """How many claims are held, called or not."""
        return len(self._by_id)

    @property
    def waiting(self) -> int:
        """How many calls have yet to start, those that were withdrawn lately included."""
        return len(self._heap)

    @property
    def is_giving_back(self) -> bool:
        """Whether a claim is held only until the backend knows that no call is to be waited for."""
        with self._lock:
            gone = {Phase.WITHDRAWN, Phase.ABANDONED}
            return any(held.phase in gone for held in self._by_id.values())

    def add(self, claims: Iterable[Claim], *, lease_end_us: int) -> bool:
        """Hold ``claims`` and call each when it is due; False: :meth:`close` was called, none is held."""
        with self._lock:
            if self._is_closed:
                return False
            for claim in claims:
                self._push(self._hold(claim, lease_end_us))
            self._threads.look_by(self._seconds_to_next())
            return True

    def add_withdrawn(self, claims: Iterable[Claim], *, lease_end_us: int) -> Sequence[Held]:
        """Hold ``claims`` until they are reported, and call none of them."""
        with self._lock:
            withdrawn = [self._hold(claim, lease_end_us) for claim in claims]
            for held in withdrawn:
                held.phase = Phase.WITHDRAWN
            return withdrawn

    def holds(self, claim: Claim) -> bool:
        """Whether this very claim is held."""
        with self._lock:
            held = self._by_id.get(claim.id)
            return held is not None and held.claim is claim

    def next(self) -> Held | None:
        """The next claim that is due, waiting for it; None after :meth:`close`.

        Its call has started, unless it is to be made by a coroutine: that has to :meth:`start` it.
        """
        with self._lock:
            self._is_stuck = False
            self._free_workers += 1
            self._threads.come_back()
            try:
                return self._wait_for_next()
            finally:
                self._free_workers -= 1

    def next_now(self) -> Held | None:
        """As :meth:`next`, but None if none is due now."""
        with self._lock:
            self._is_stuck = False
            return self._pop_due()

    def seconds_to_next(self) -> float:
        """How long until the next claim is due; ``math.inf`` if nothing is to be called."""
        with self._lock:
            return self._seconds_to_next()

    def is_behind(self, *, count: int, lateness_us: int) -> bool:
        """Whether this instance cannot keep up, so that others should take what is due.

        ``count`` or more calls wait and the first of them is that late already; or calls were given
        back because nobody came for them, and no worker has come since.
        """
        with self._lock:
            if self._is_stuck and not self._free_workers:
                return True
            return len(self._heap) >= count and self._now_us() - self._heap[0][0] > lateness_us

    def start(self, held: Held) -> bool:
        """Whether the call may begin now; from then on it cannot be withdrawn.

        False if it was withdrawn or lost meanwhile, or if too little is left of the lease.
        """
        with self._lock:
            return held.phase is Phase.WAITING and self._start(held, self._monotonic_us())

    def withdraw(self, event_id: str) -> Held | None:
        """Keep a call from starting; None if it is not held or has started."""
        with self._lock:
            held = self._by_id.get(event_id)
            if held is None or not held.is_callable:
                return None
            held.phase = Phase.WITHDRAWN
            return held

    def has_ended(self, event_id: str) -> bool:
        """Whether an event is held of which only the backend does not know that its claim has ended."""
        with self._lock:
            held = self._by_id.get(event_id)
            return held is not None and held.has_ended

    def withdraw_all(self) -> Sequence[Held]:
        """Keep all calls from starting that have not."""
        with self._lock:
            waiting = [held for held in self._by_id.values() if held.is_callable]
            for held in waiting:
                held.phase = Phase.WITHDRAWN
            return waiting

    def restore(self, held: Held) -> None:
        """Undo :meth:`withdraw`: the call may start once a renewal has shown that it is still ours.

        What was to be reported may have been, though its answer was lost.
        """
        with self._lock:
            if held.phase is Phase.WITHDRAWN:
                held.phase = Phase.PARKED

    def withdraw_overdue(self, *, older_than_us: int) -> Sequence[Held]:
        """Withdraw what should be renewed and is due, but nobody has come to call it."""
        with self._lock:
            now_us = self._now_us()
            overdue = [
                held
                for held in self._by_id.values()
                if held.phase is Phase.WAITING
                and held.lease_end_us < older_than_us
                and held.due_us < now_us
            ]
            for held in overdue:
                held.phase = Phase.WITHDRAWN
            self._is_stuck |= bool(overdue)
            return overdue

    def forget_replaced(self, event_id: str, created: datetime) -> None:
        """An event with this id was stored at ``created``: a claim on a former one is void."""
        with self._lock:
            held = self._by_id.get(event_id)
            if held is not None and held.claim.created != created:
                self._supersede(held)

    def forget(self, ended: Iterable[Held]) -> None:
        """The backend knows how these claims ended, or they are lost."""
        with self._lock:
            for held in ended:
                if self._by_id.get(held.claim.id) is held:
                    del self._by_id[held.claim.id]
                held.phase = Phase.FORGOTTEN

    def abandon(self, held: Held) -> None:
        """Its call has not returned, and nobody waits for that any more."""
        with self._lock:
            if held.phase is Phase.STARTED:
                held.phase = Phase.ABANDONED

    def to_renew(self, *, older_than_us: int) -> Sequence[Held]:
        """The claims whose lease ends before ``older_than_us`` on the local timer, and parked ones."""
        with self._lock:
            return [
                held
                for held in self._by_id.values()
                if (held.lease_end_us < older_than_us and held.phase is not Phase.ABANDONED)
                or held.phase is Phase.PARKED
            ]

    def earliest_lease_end_us(self) -> int | None:
        """When the first lease of all that are renewed ends, on the local timer."""
        with self._lock:
            return min(
                (
                    held.lease_end_us
                    for held in self._by_id.values()
                    if held.phase is not Phase.ABANDONED
                ),
                default=None,
            )

    def renewed(self, held: Held, *, lease_end_us: int) -> None:
        """The lease now lasts until ``lease_end_us``; a call that waited for this may start."""
        with self._lock:
            held.lease_end_us = lease_end_us
            if held.phase is Phase.PARKED:
                held.phase = Phase.WAITING
                self._push(held)
                self._threads.look_by(self._seconds_to_next())

    def close(self) -> None:
        """Let :meth:`next` return None in every thread, and hold nothing more that is to be called."""
        with self._lock:
            self._is_closed = True
            self._threads.wake_all()

    def _wait_for_next(self) -> Held | None:
        while not self._is_closed:
            if not self._threads.is_expected and (held := self._pop_due()) is not None:
                self._threads.leave(is_brief=held.usual.is_brief, is_more=bool(self._heap))
                return held
            self._threads.wait(self._seconds_to_next())
        return None

    def _supersede(self, former: Held | None) -> None:
        if former is not None and former.phase is not Phase.STARTED:
            del self._by_id[former.claim.id]
            former.phase = Phase.FORGOTTEN

    def _hold(self, claim: Claim, lease_end_us: int) -> Held:
        trigger = self._triggers.get(claim.trigger_type)
        usual = self._usual.get(claim.trigger_type, self._usual_of_unknown)
        held = Held(claim, trigger, usual, lease_end_us)
        self._supersede(self._by_id.get(claim.id))  # a new claim proves the old one lost
        self._by_id[claim.id] = held
        return held

    def _push(self, held: Held) -> None:
        heapq.heappush(self._heap, (held.due_us, next(self._numbers), held))

    def _pop_due(self) -> Held | None:
        if not self._heap:
            return None
        timer_us = self._monotonic_us()
        now_us = self._backend_us(timer_us)
        while self._heap:
            due_us, _, held = self._heap[0]
            is_waiting = held.phase is Phase.WAITING
            if is_waiting and due_us > now_us:
                return None
            heapq.heappop(self._heap)
            if is_waiting and (_is_for_coroutine(held) or self._start(held, timer_us)):
                return held
        return None

    def _start(self, held: Held, timer_us: int) -> bool:
        is_short = timer_us > held.lease_end_us - self._margin_us
        held.phase = Phase.PARKED if is_short else Phase.STARTED
        return not is_short

    def _now_us(self) -> int:
        return self._backend_us(self._monotonic_us())

    def _seconds_to_next(self) -> float:
        if not self._heap:
            return math.inf
        return max(0, self._heap[0][0] - self._now_us()) / 1e6


def _is_for_coroutine(held: Held) -> bool:
    return held.trigger is not None and held.trigger.is_async
