"""A right backend that stores whole seconds, and those that round wrongly."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs

from futurama.backend import Claim, ClaimBatch, Move, NewEvent, Settlement
from futurama.backends.memory import MemoryBackend, MemorySettings
from futurama.conformance.strategies import START
from futurama.times import LATEST, ceil_to, floor_to
from tests.mutants.registry import MEMORY, breaks

__all__ = ["COARSE", "CoarseBackend"]

_SECOND = timedelta(seconds=1)
COARSE = attrs.evolve(MEMORY, resolution=_SECOND)


class CoarseBackend(MemoryBackend):
    """The memory backend with a resolution of one second; breaks no law."""

    def __init__(self, settings: MemorySettings | None = None) -> None:
        super().__init__(settings)
        self.capabilities = COARSE

    def round(self, value: datetime) -> datetime:
        """As times are stored."""
        return ceil_to(value, _SECOND)

    def add(self, events: Sequence[NewEvent], **kwargs: Any) -> Any:
        rounded = [attrs.evolve(e, trigger_time=self.round(e.trigger_time)) for e in events]
        return super().add(rounded, **kwargs)

    def reschedule(self, moves: Sequence[Move]) -> Any:
        return super().reschedule(
            [
                m
                if m.trigger_time is None
                else attrs.evolve(m, trigger_time=self.round(m.trigger_time))
                for m in moves
            ]
        )

    def claim(self, *, lease_until: datetime, **kwargs: Any) -> ClaimBatch:
        return super().claim(lease_until=self.round(lease_until), **kwargs)

    def renew(self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime) -> Any:
        return super().renew(claims, now=now, lease_until=self.round(lease_until))

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        rounded = [
            s if s.due is None else attrs.evolve(s, due=self.round(s.due)) for s in settlements
        ]
        return super().settle(rounded, now=now)

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Any:
        return super().requeue(ids, now=self.round(now))


@breaks("time.rounds-up", capabilities=COARSE)
class Truncates(CoarseBackend):
    """What MariaDB does to fractions of a second."""

    def round(self, value: datetime) -> datetime:
        return floor_to(value, _SECOND)


@breaks("time.rounds-up", capabilities=COARSE)
class RoundsHalfUp(CoarseBackend):
    """What MySQL does to fractions of a second."""

    def round(self, value: datetime) -> datetime:
        return floor_to(value + _SECOND / 2, _SECOND)


@breaks("time.rounds-up", capabilities=COARSE)
class RoundsHalfToEven(CoarseBackend):
    """What ``round`` does to fractions of a second."""

    def round(self, value: datetime) -> datetime:
        seconds = round((value - START) / _SECOND)
        return value if value > LATEST - _SECOND else START + seconds * _SECOND


class _RoundsDown(CoarseBackend):
    """One operation takes times as whole seconds, whatever their fraction."""

    def floor(self, value: datetime | None) -> Any:
        return None if value is None else floor_to(value, _SECOND)


@breaks("time.rounds-up", capabilities=COARSE)
class ReschedulesDown(_RoundsDown):
    """``reschedule`` does."""

    def reschedule(self, moves: Sequence[Move]) -> Any:
        floored = [attrs.evolve(m, trigger_time=self.floor(m.trigger_time)) for m in moves]
        return super().reschedule(floored)


@breaks("time.rounds-up", capabilities=COARSE)
class RenewsDown(_RoundsDown):
    """``renew`` does."""

    def renew(self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime) -> Any:
        return super().renew(claims, now=now, lease_until=self.floor(lease_until))


@breaks("time.rounds-up", capabilities=COARSE)
class RetriesDown(_RoundsDown):
    """``settle`` does."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        floored = [attrs.evolve(s, due=self.floor(s.due)) for s in settlements]
        return super().settle(floored, now=now)


@breaks("time.rounds-up", capabilities=COARSE)
class RequeuesDown(_RoundsDown):
    """``requeue`` does."""

    def requeue(self, ids: Sequence[str], *, now: datetime) -> Any:
        return super().requeue(ids, now=self.floor(now))


@breaks("time.rounds-up", capabilities=COARSE)
class KeepsTheExactLease(CoarseBackend):
    """Rounds everything but the end of leases."""

    def claim(self, **kwargs: Any) -> ClaimBatch:
        return MemoryBackend.claim(self, **kwargs)


@breaks("time.never-early", capabilities=COARSE)
class RoundsTheHorizonUp(CoarseBackend):
    """Compares in the resolution of the column."""

    def claim(self, *, lease_until: datetime, **kwargs: Any) -> ClaimBatch:
        horizon = {name: self.round(kwargs.pop(name)) for name in ("now", "due_before")}
        return super().claim(lease_until=lease_until, **horizon, **kwargs)


@breaks("purge.before", capabilities=COARSE)
class RoundsThePurgeDown(CoarseBackend):
    """Compares in the resolution of the column, rounded the wrong way."""

    def purge(self, *, before: datetime) -> int:
        return super().purge(before=floor_to(before, _SECOND))


@breaks("fence.lease-end", capabilities=COARSE)
class LosesTheLastSecond(CoarseBackend):
    """Rounds now up before it is compared with the end of the lease."""

    def settle(self, settlements: Sequence[Settlement], *, now: datetime) -> Any:
        return super().settle(settlements, now=self.round(now))


@breaks("fence.lease-end", capabilities=COARSE)
class CutsTheEndOff(CoarseBackend):
    """Renews what the first claims say of the end of their leases, not what the store does."""

    def renew(self, claims: Sequence[Claim], *, now: datetime, lease_until: datetime) -> Any:
        return super().renew(claims, now=self.round(now), lease_until=lease_until)


@breaks("data.exact", capabilities=COARSE)
class RoundsCreatedToo(CoarseBackend):
    """Stores created in a column like the others."""

    def add(self, events: Sequence[NewEvent], **kwargs: Any) -> Any:
        return super().add(
            [attrs.evolve(e, created=self.round(e.created)) for e in events], **kwargs
        )
