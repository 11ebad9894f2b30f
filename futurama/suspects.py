"""Events whose claims were lost: one of them may be what has ended its process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

import attrs

from futurama.backend import Claim, Settlement
from futurama.times import from_us, to_us
from futurama.triggers import BoundTrigger

__all__ = ["Suspects"]

_CLAIMING_US = 100_000
"""To claim many events and to put them back takes less, even if the server is busy."""

_DEADLY_US = 200_000
"""What kills its process mostly does so at once; a call that takes longer is not waited for."""

_HELD_UP_US = _CLAIMING_US + _DEADLY_US
"""So much later than its turn a suspect may be claimed, because another is being called."""

_PAUSE_US = 100_000
"""Until a suspect that was put back may be claimed again: by then others have ended or been put back, too."""

_TURN_US = 20_000
"""For one in its last attempt: about what a claim, a call that takes no time, and its report take."""

_SHORT_LOOK_AHEAD = timedelta(milliseconds=10)
"""While suspects have their turns: half of one, so that mostly one is claimed, and called at once."""


@attrs.frozen
class _Watched:
    """A suspect that is held; since when, and when its call is due, on the local timer."""

    claim: Claim
    since_us: int
    call_us: int


class Suspects:
    """Decides how many suspects are held at once, because each is charged an attempt if one of them kills.

    A suspect is an event that was lost before. One is held at first, and one more for each that has
    ended since, so their number doubles. One in its last attempt is held while no other suspect is:
    then only what kills is out of attempts.

    All others are put back, uncharged, until a time when it may be their turn, so that they do not
    stand before other events. Until the last of these turns events are claimed only just before
    their time: then suspects are held no longer than their calls take, and turns may be short. What
    is held for longer than a lease delays no other suspect any more, and when none has come for so
    long, everything begins anew with one.

    Args:
        bound: the triggers, by trigger type.
        holds: whether a claim is still held, ended and unreported ones included.
        look_ahead: how long before its time an event is claimed while no suspect waits.
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
        self._allowed = 1
        self._seen_us = 0
        self._last_turn_us = -_HELD_UP_US

    def look_ahead(self, timer_us: int) -> timedelta:
        """How long before its time an event is to be claimed now."""
        if self._are_waiting(timer_us):
            return min(self._look_ahead, _SHORT_LOOK_AHEAD)
        return self._look_ahead

    def are_being_called(self, timer_us: int) -> bool:
        """Whether some call may kill what would be claimed now before that could be put back.

        Only while there are more suspects than may be held.
        """
        return self._are_waiting(timer_us) and any(
            each.call_us - _CLAIMING_US <= timer_us < each.call_us + _DEADLY_US
            and self._holds(each.claim)
            for each in self._watched
        )

    def choose(
        self, claims: Sequence[Claim], *, now: datetime, timer_us: int
    ) -> tuple[Sequence[Claim], Sequence[Settlement]]:
        """Which of these new claims to hold, and the releases that put back the others.

        What is put back is charged until that was reported, so nothing may be called before.

        Args:
            now: the backend's time.
            timer_us: the local timer.
        """
        suspects = [claim for claim in claims if self._is_suspect(claim)]
        if not suspects:
            return claims, []
        self._look_after(timer_us)
        zero_us = to_us(now) - timer_us  # the backend's time when the timer showed 0
        refused = [claim for claim in suspects if not self._is_admitted(claim, timer_us, zero_us)]
        ids = {claim.id for claim in refused}
        put_back = [
            Settlement.release(claim, from_us(zero_us + turn_us))
            for claim, turn_us in zip(refused, self._turns(refused, timer_us, zero_us), strict=True)
        ]
        return [claim for claim in claims if claim.id not in ids], put_back

    def _is_suspect(self, claim: Claim) -> bool:
        """Whether it was lost before, and will be called."""
        if not claim.lost_before or (trigger := self._triggers.get(claim.trigger_type)) is None:
            return False
        return not trigger.policy.is_exhausted(claim.attempt - 1)

    def _is_last(self, claim: Claim) -> bool:
        return self._triggers[claim.trigger_type].policy.is_exhausted(claim.attempt)

    def _look_after(self, timer_us: int) -> None:
        """Find out which of those that are watched have ended, or are held for too long."""
        held = [each for each in self._watched if self._holds(each.claim)]
        self._allowed += len(self._watched) - len(held)
        if timer_us - self._seen_us > self._lease_us:
            self._allowed = 1
        self._seen_us = timer_us
        self._watched = [each for each in held if timer_us - each.since_us < self._lease_us]

    def _are_waiting(self, timer_us: int) -> bool:
        """Whether some that were put back may not have had their turn."""
        return timer_us < self._last_turn_us + _HELD_UP_US

    def _is_admitted(self, claim: Claim, timer_us: int, zero_us: int) -> bool:
        """Whether it is held, and watched from now on."""
        is_admitted = self._may_be_held(claim)
        if is_admitted:
            call_us = max(timer_us, to_us(claim.due) - zero_us)
            self._watched.append(_Watched(claim, timer_us, call_us))
        return is_admitted

    def _may_be_held(self, claim: Claim) -> bool:
        if not self._watched:
            return True
        is_alone = self._is_last(claim) or self._is_last(self._watched[0].claim)
        return not is_alone and len(self._watched) < self._allowed

    def _turns(self, claims: Sequence[Claim], timer_us: int, zero_us: int) -> Sequence[int]:
        """When these may be called at the earliest: in their last attempt one by one, after all others.

        Not before they are due. The longer those that are held take already, the later.
        """
        age_us = max((timer_us - each.since_us for each in self._watched), default=0)
        first_us = timer_us + max(_PAUSE_US, age_us)
        in_groups = self._groups(first_us)
        turns = []
        for claim in claims:
            is_last = self._is_last(claim)
            turn_us = max(first_us, self._last_turn_us + _TURN_US) if is_last else next(in_groups)
            turn_us = max(turn_us, to_us(claim.due) - zero_us)
            self._last_turn_us = max(self._last_turn_us, turn_us)
            turns.append(turn_us)
        return turns

    def _groups(self, first_us: int) -> Iterator[int]:
        """As many at first as may be held now, and twice as many after each pause."""
        for number in itertools.count():
            yield from itertools.repeat(first_us + number * _PAUSE_US, self._allowed << number)
