"""How hard the suite looks: the same few examples every time, or many random ones at night."""

from __future__ import annotations

import os
from functools import cache
from random import Random
from typing import Final, TypeVar

import attrs
import hypothesis
from hypothesis import HealthCheck, Phase, settings

__all__ = ["SEED", "THOROUGH", "VARIABLE", "Profile", "how_to_repeat", "profile", "seed", "seeded"]

T = TypeVar("T", bound=type)

VARIABLE: Final = "FUTURAMA_CONFORMANCE"
THOROUGH: Final = "thorough"
SEED: Final = "FUTURAMA_CONFORMANCE_SEED"


@attrs.frozen
class Profile:
    """How hard the suite looks.

    Attributes:
        thorough: other random examples on every run instead of the same ones; see :func:`seed`.
        times: how many times as many examples as usual.
        steps: how long such a program is at most.
        runs: how often each test of concurrency lets its workers loose.
        calls: how many calls each of them then makes.
        seconds: after how long it stops all the same. Only a slow database takes as long, several
            times what others do, and fewer calls overlap there.
        kills: how many processes the crash test kills.
    """

    thorough: bool
    times: int
    steps: int
    runs: int
    calls: int
    seconds: float
    kills: int

    def settings(self, *, examples: int, shrinks: bool = True) -> settings:
        """The settings for hypothesis, every one of them explicit, for so many examples.

        No database of failures: a suite that runs in other people's repositories leaves no files
        there. No deadline: the first call on a database is slow and that is no failure.
        """
        return settings(
            max_examples=examples,
            stateful_step_count=self.steps,
            derandomize=not self.thorough,
            database=None,
            deadline=None,
            print_blob=False,
            report_multiple_bugs=False,
            phases=(Phase.generate, Phase.shrink) if shrinks else (Phase.generate,),
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
        )


_DEFAULT: Final = Profile(
    thorough=False, times=1, steps=30, runs=3, calls=200, seconds=2.0, kills=3
)
_THOROUGH: Final = Profile(
    thorough=True, times=20, steps=50, runs=10, calls=300, seconds=20.0, kills=30
)


def profile() -> Profile:
    """What the environment variable ``FUTURAMA_CONFORMANCE`` asks for.

    Raises:
        ValueError: it names no profile.
    """
    name = os.environ.get(VARIABLE, "")
    if name not in {"", THOROUGH}:
        raise ValueError(f"{VARIABLE} is {name!r}; set it to {THOROUGH!r} or leave it unset")
    return _THOROUGH if name else _DEFAULT


def seed() -> int:
    """What all that is random in this process depends on.

    Always 0 in the usual profile. In the thorough one it is what the environment variable
    ``FUTURAMA_CONFORMANCE_SEED`` says, so that a run can be repeated, and else another one for
    each process.

    Raises:
        ValueError: the variable holds no number.
    """
    if not profile().thorough:
        return 0
    given = os.environ.get(SEED, "")
    if not given:
        return _drawn()
    if not given.isdecimal():
        raise ValueError(f"{SEED} is {given!r}; set it to the number in a finding")
    return int(given)


@cache
def _drawn() -> int:
    return Random().getrandbits(32)


def seeded(machine: T, number: int) -> T:
    """A state machine whose run of this number draws from :func:`seed`, if that varies at all."""
    return hypothesis.seed(f"{seed()}.{number}")(machine) if profile().thorough else machine


def how_to_repeat() -> str:
    """The environment in which everything is drawn again as now; empty for the usual one."""
    return f"{VARIABLE}={THOROUGH} {SEED}={seed()}" if profile().thorough else ""
