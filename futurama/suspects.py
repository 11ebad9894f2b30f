"""Events whose claims were lost: one of them may be what has ended its process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from futurama.backend import Claim, Settlement
from futurama.times import EARLIEST, to_us
from futurama.triggers import BoundTrigger

__all__ = ["Suspects"]

_CLAIMING_US = 100_000
"""To claim many events and to put them back takes less, even if the server is busy."""

_DEADLY_US = 200_000
"""What kills its process mostly does so at once; a call that takes longer is not waited for."""

_PAUSE = timedelta(milliseconds=100)
"""Until a suspect that was put back may be claimed again: by then others have ended or been put back, too."""


@attrs.frozen
class _Watched:
    """A suspect that is held; since when, and when its call is due, on the local timer."""

    claim: Claim
    since_us: int
    call_us: int
    is_last: bool


class Suspects:
    """Decides how many suspects are held at once, because each is charged an attempt if one of them kills.

    A suspect is an event that was lost before. One is held at first, and one more for each that has
    ended since, so their number doubles. One in its last attempt is held while no other suspect is:
    then only what kills is out of attempts.

    All others are put back, uncharged, until a time when it may be their turn, so that they do not
    stand before other events. What is held for longer than a lease delays no other suspect any more,
    and when none has come for so long, everything begins anew with one.

    Args:
        bound: the triggers, by trigger type.
        holds: whether a claim is still held, ended and unreported ones included.
        look_ahead: how long before its time an event is claimed.
        lease_us: how long a claim lasts unless renewed.
    """

    def __init__(
        self,
        bound: Mapping[str, BoundTrigger],
        *,
        holds: Callable[[Claim], bool],
        look_ahead: timedelta,
        lease_us: int,
    ) -> None:
        self._triggers = bound
        self._holds = holds
        self._look_ahead = look_ahead
        self._lease_us = lease_us
        self._watched: list[_Watched] = []
        self._ended = 0
        self._seen_us = 0
        self._queue_end = EARLIEST
        self._crowded_until_us = 0

    def choose(
        self, claims: Sequence[Claim], *, now: datetime, timer_us: int
    ) -> tuple[Sequence[Claim], Sequence[Settlement]]:
        """Which of these new claims to hold, and the releases that put back the others.

        What is put back is charged until that was reported, so nothing may be called before.

        Args:
            now: the backend's time.
            timer_us: the local timer.
        """
        if not any(map(self._is_suspect, claims)):
            return claims, []
        self._look_after(timer_us)
        pause = self._pause(timer_us)
        chosen: list[Claim] = []
        put_back: list[Settlement] = []
        for claim in claims:
            if not self._is_suspect(claim):
                chosen.append(claim)
            elif self._is_admitted(claim):
                chosen.append(claim)
                call_us = timer_us + max(0, to_us(claim.due) - to_us(now))
                self._watched.append(_Watched(claim, timer_us, call_us, self._is_last(claim)))
            else:
                due = now + self._turns(len(put_back)) * pause
                if self._is_last(claim):
                    due = self._queue_up(now + pause)
                put_back.append(Settlement.release(claim, due))
                until_us = timer_us + to_us(due) - to_us(now)
                self._crowded_until_us = max(self._crowded_until_us, until_us)
        return chosen, put_back

    def are_being_called(self, timer_us: int) -> bool:
        """Whether some call may kill what would be claimed now before that could be put back.

        Only while there are more suspects than may be held.
        """
        return timer_us < self._crowded_until_us and any(
            each.call_us - _CLAIMING_US <= timer_us < each.call_us + _DEADLY_US
            and self._holds(each.claim)
            for each in self._watched
        )

    def _is_suspect(self, claim: Claim) -> bool:
        """Whether it was lost before, and will be called."""
        if not claim.lost_before or (trigger := self._triggers.get(claim.trigger_type)) is None:
            return False
        return not trigger.policy.is_exhausted(claim.attempt - 1)

    def _is_last(self, claim: Claim) -> bool:
        return self._triggers[claim.trigger_type].policy.is_exhausted(claim.attempt)

    @property
    def _allowed(self) -> int:
        return 1 + self._ended

    def _look_after(self, timer_us: int) -> None:
        """Find out which of those that are watched have ended, or are held for too long."""
        held = [each for each in self._watched if self._holds(each.claim)]
        self._ended += len(self._watched) - len(held)
        if timer_us - self._seen_us > self._lease_us:
            self._ended = 0
        self._seen_us = timer_us
        self._watched = [each for each in held if timer_us - each.since_us < self._lease_us]

    def _is_admitted(self, claim: Claim) -> bool:
        if not self._watched:
            return True
        is_alone = self._is_last(claim) or self._watched[0].is_last
        return not is_alone and len(self._watched) < self._allowed

    def _pause(self, timer_us: int) -> timedelta:
        """As long again as those that are held already take; longer than the look-ahead at any rate."""
        age_us = timer_us - self._watched[0].since_us if self._watched else 0
        return self._look_ahead + max(_PAUSE, timedelta(microseconds=age_us))

    def _turns(self, rank: int) -> int:
        """After how many pauses it may be admitted, if so many were put back before it."""
        return (1 + rank // self._allowed).bit_length()

    def _queue_up(self, earliest: datetime) -> datetime:
        """When the next one in its last attempt has its turn: they come back one by one."""
        self._queue_end = max(earliest, self._queue_end + self._look_ahead + _PAUSE)
        return self._queue_end
