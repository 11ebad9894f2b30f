"""Where looks begin on a server that does not get rid of what was removed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from futurama.backend import AddOutcome, Claim, Move, Settlement
from futurama.backends.sql import SQLBackend, lower_bound
from futurama.backends.sql.lower_bound import Look, LowerBound
from futurama.backends.sqlite import SQLiteBackend, SQLiteSettings
from futurama.times import EARLIEST
from tests.backends.samples import T0, claim_all, event, seconds

_NOW = T0 + seconds(3600)
_LATER = _NOW + seconds(60)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock, as the only item of a list."""
    times = [0.0]
    monkeypatch.setattr(lower_bound, "time", SimpleNamespace(monotonic=lambda: times[0]))
    return times


def _look(bound: LowerBound, *, next_due: datetime | None = _LATER, is_slow: bool = True) -> Look:
    with bound.look() as look:
        bound.learn(look, next_due, now=_NOW, is_slow=is_slow)
    return look


def _next_lower(bound: LowerBound) -> datetime:
    with bound.look() as look:
        return look.lower


@pytest.fixture
def bound(clock: list[float]) -> LowerBound:
    """One that has been learned: a second behind ``_NOW``."""
    bound = LowerBound()
    while _next_lower(bound) == EARLIEST:
        _look(bound)
    return bound


def test_there_is_no_bound_until_several_looks_in_a_row_were_slow(clock: list[float]) -> None:
    """One slow look, and one more after a quick one, are chance: nothing may be missed then."""
    bound = LowerBound()
    for _ in range(10):
        for is_slow in (True, True, True, True, False):
            assert _look(bound, is_slow=is_slow).lower == EARLIEST
    for _ in range(5):
        assert _look(bound).lower == EARLIEST
    assert _look(bound).lower > EARLIEST


@pytest.mark.parametrize(
    ("next_due", "expected"),
    [
        (_LATER, _NOW - seconds(1)),
        (None, _NOW - seconds(1)),
        (T0, T0 - seconds(1)),
        (EARLIEST, EARLIEST),
    ],
)
def test_the_bound_is_a_little_before_what_is_left(
    clock: list[float], next_due: datetime | None, expected: datetime
) -> None:
    """It passes neither the first event nor the time at which others store new ones."""
    bound = LowerBound()
    for _ in range(5):
        _look(bound, next_due=next_due)
    assert _next_lower(bound) == expected


def test_what_this_instance_stores_is_never_below_the_bound(bound: LowerBound) -> None:
    """Storing lowers it, even if the outcome is said to be unknown."""
    with pytest.raises(ZeroDivisionError), bound.storing(T0):
        _ = 1 / 0
    assert _next_lower(bound) == T0


def test_what_is_stored_during_a_look_counts(bound: LowerBound) -> None:
    """A look that may have missed an event does not raise the bound above it."""
    with bound.look() as look:
        with bound.storing(T0):
            pass
        bound.learn(look, _LATER, now=_NOW, is_slow=None)
    assert _next_lower(bound) == T0
    _look(bound)
    assert _next_lower(bound) == _NOW - seconds(1), "by then it has been seen"


def test_once_a_second_a_look_has_no_bound(bound: LowerBound, clock: list[float]) -> None:
    """So what others have stored below it is found; if that was quick, there is no bound any more."""
    clock[0] += 1.1
    look = _look(bound)
    assert look.is_overdue
    assert look.lower == EARLIEST
    assert not _look(bound).is_overdue
    clock[0] += 1.1
    _look(bound, is_slow=False)
    assert _next_lower(bound) == EARLIEST


# -- through a backend ----------------------------------------------------------------------------


@pytest.fixture
def sick(tmp_path: Path, bound: LowerBound) -> Iterator[SQLiteBackend]:
    """A backend with a bound that will not go away, and a claimed event, ``a``."""
    backend = SQLiteBackend(SQLiteSettings(path=str(tmp_path / "events.db")))
    backend._bound = backend._claiming._bound = bound
    backend.open()
    backend.add([event("a")], if_exists="raise")
    yield backend
    backend.close()


def _retry(backend: SQLBackend, claim: Claim) -> object:
    return backend.settle([Settlement.retry(claim, T0)], now=_NOW)


def _release(backend: SQLBackend, claim: Claim) -> object:
    return backend.settle([Settlement.release(claim)], now=_NOW)


def _renew(backend: SQLBackend, claim: Claim) -> object:
    return backend.renew([claim], now=_NOW, lease_until=T0)


def _requeue(backend: SQLBackend, claim: Claim) -> object:
    backend.settle([Settlement.bury(claim, "")], now=_NOW)
    return backend.requeue(["a"], now=T0)


def _reschedule(backend: SQLBackend, claim: Claim) -> object:
    backend.settle([Settlement.retry(claim, _LATER)], now=_NOW)
    return backend.reschedule([Move(id="a", trigger_time=T0)])


def _add(backend: SQLBackend, claim: Claim) -> object:
    backend.settle([Settlement.done(claim)], now=_NOW)
    return backend.add([event("a")], if_exists="raise")


@pytest.mark.parametrize("store", [_retry, _release, _renew, _requeue, _reschedule, _add])
def test_every_way_to_store_an_event_lowers_the_bound(
    sick: SQLBackend, bound: LowerBound, store: Callable[[SQLBackend, Claim], object]
) -> None:
    """What an instance stores itself it hands out with the next claim, however far back it is due."""
    (claim,) = claim_all(sick, now=_NOW)
    claim_all(sick, now=_NOW)
    assert _next_lower(bound) == _NOW - seconds(1)
    store(sick, claim)
    assert [again.id for again in claim_all(sick, now=_NOW)] == ["a"]


def test_a_lease_that_has_ended_from_the_beginning_lowers_the_bound(
    sick: SQLBackend, bound: LowerBound
) -> None:
    """The claim itself tells that it is due again, and the next one hands it out."""
    for _ in range(3):
        batch = sick.claim(owner="me", now=_NOW, due_before=_NOW, lease_until=T0, limit=1)
        assert [claim.id for claim in batch.claims] == ["a"]
        assert batch.next_due == T0


def test_what_another_instance_stores_is_seen_a_second_later(
    sick: SQLiteBackend, bound: LowerBound, clock: list[float]
) -> None:
    """That is what looks without a bound are for; without a bound it is seen at once."""
    claim_all(sick, now=_NOW)
    claim_all(sick, now=_NOW)
    other = SQLiteBackend(sick._settings)
    other.open()
    assert other.add([event("b")], if_exists="raise") == [AddOutcome.ADDED]
    clock[0] += 1.1
    assert [claim.id for claim in claim_all(sick, now=_NOW)] == ["b"]
    other.close()
