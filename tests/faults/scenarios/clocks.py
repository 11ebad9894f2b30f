"""Wall clocks that are wrong, and jump."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping

import attrs

from tests.faults.processes import Instance
from tests.faults.scenario import Circumstances, scenario
from tests.faults.stage import LEASE_SECONDS, Outcome, Stage
from tests.faults.wall_clock import WallClock

_FOLLOWING_A_SERVER = ("mysql", "postgresql", "redis")
"""Instances on SQLite follow the clock of their machine, of which there is one."""

_HOUR_SECONDS = 3600.0

_OFF_SECONDS = {
    "a": LEASE_SECONDS / 2,
    "b": -LEASE_SECONDS / 2,
    "c": _HOUR_SECONDS,
    "d": -_HOUR_SECONDS,
}

_BETWEEN_JUMPS_SECONDS = 0.2

_TOLERATED_SECONDS = 0.5
"""What lies between two looks at a clock."""


@scenario(
    fault="the clocks of instances are wrong",
    how="four instances, whose clocks are off by half a lease and by an hour, each way",
    backends=_FOLLOWING_A_SERVER,
)
def wrong_clocks(given: Circumstances) -> Outcome:
    """Nothing is early, late or repeated: all follow the clock of the server."""
    with _stage_with_clocks(given, _OFF_SECONDS) as (stage, _):
        with stage.load(given.plan()):
            off = {instance.name: _seconds_off(instance) for instance in stage.instances}
        for place, wanted in _OFF_SECONDS.items():
            is_off = abs(off[place] - wanted) < _TOLERATED_SECONDS
            stage.needs(is_off, f"the clock of {place} was off by {off[place]:.1f} s")
        return stage.outcome()


@scenario(
    fault="the clocks of instances jump",
    how="one of three every 0.2 s under load, an hour or half a lease back or forth",
    backends=_FOLLOWING_A_SERVER,
)
def jumping_clocks(given: Circumstances) -> Outcome:
    """The same: what they measure themselves, they measure by CLOCK_BOOTTIME."""
    seen: list[float] = []
    with _stage_with_clocks(given, dict.fromkeys("abc", 0.0)) as (stage, clocks):
        offsets = [0.0, *_OFF_SECONDS.values()]
        stage.chance.shuffle(offsets)
        with stage.load(given.plan()) as load:
            for offset in itertools.cycle(offsets):
                if not load.is_running:
                    break
                place = stage.chance.choice(sorted(clocks))
                clocks[place].put_off(offset)
                seen.append(_seconds_off(stage.places[place]))
                time.sleep(_BETWEEN_JUMPS_SECONDS)
        outcome = stage.outcome()
    outcome = outcome.needs(
        max(seen, default=0.0) > _HOUR_SECONDS - 1, "no clock was ever an hour ahead"
    ).needs(min(seen, default=0.0) < 1 - _HOUR_SECONDS, "no clock was ever an hour behind")
    return attrs.evolve(outcome, figures={**outcome.figures, "jumps": len(seen)})


@contextlib.contextmanager
def _stage_with_clocks(
    given: Circumstances, off_seconds: Mapping[str, float]
) -> Iterator[tuple[Stage, Mapping[str, WallClock]]]:
    """An instance in each place, with a clock of its own that is off by so much; and these clocks."""
    clocks = {place: WallClock(given.folder / f"{place}.clock") for place in off_seconds}
    with given.any_store() as store, given.stage(store, instances=0) as stage:
        for place, clock in clocks.items():
            clock.put_off(off_seconds[place])
            stage.launch(place, environment=clock.environment)
        stage.wait_until_ready()
        yield stage, clocks


def _seconds_off(instance: Instance) -> float:
    """By how much its clock differs from ours."""
    shown: float = instance.stats()["wall_clock"]
    return shown - time.time()
