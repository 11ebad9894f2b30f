"""How hard the suite looks: the same few examples every time, or many random ones at night."""

from __future__ import annotations

import os
from typing import Final

import attrs
from hypothesis import HealthCheck, Phase, settings

__all__ = ["THOROUGH", "VARIABLE", "Profile", "profile"]

VARIABLE: Final = "FUTURAMA_CONFORMANCE"
THOROUGH: Final = "thorough"


@attrs.frozen
class Profile:
    """How hard the suite looks.

    Attributes:
        thorough: other random examples on every run instead of the same ones.
        times: how many times as many examples as usual.
        steps: how long such a program is at most.
        seconds: how long each test of concurrency runs at most.
        kills: how many processes the crash test kills.
    """

    thorough: bool
    times: int
    steps: int
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


_DEFAULT: Final = Profile(thorough=False, times=1, steps=30, seconds=2.0, kills=3)
_THOROUGH: Final = Profile(thorough=True, times=20, steps=50, seconds=20.0, kills=30)


def profile() -> Profile:
    """What the environment variable ``FUTURAMA_CONFORMANCE`` asks for.

    Raises:
        ValueError: it names no profile.
    """
    name = os.environ.get(VARIABLE, "")
    if name not in {"", THOROUGH}:
        raise ValueError(f"{VARIABLE} is {name!r}; set it to {THOROUGH!r} or leave it unset")
    return _THOROUGH if name else _DEFAULT
