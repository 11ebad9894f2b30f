"""What a benchmark returns: verified figures, and what is made of several runs."""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping, Sequence

import attrs

__all__ = ["Figure", "VerificationError", "median_of", "quantile"]


_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "<": operator.lt,
}


class VerificationError(AssertionError):
    """A benchmark did not do what it claims to measure."""


@attrs.frozen
class Figure:
    """One measured number.

    Attributes:
        name: what was measured.
        value: the number.
        unit: of the number; empty for a ratio.
        goal: what it should reach, as ``>= 0.9`` or ``<= 1``; empty if there is no goal.
        is_detail: it is there for plots; tables leave it out.
    """

    name: str
    value: float
    unit: str = ""
    goal: str = ""
    is_detail: bool = False

    @property
    def is_reached(self) -> bool | None:
        """Whether the value is what it should be; None if there is no goal."""
        if not self.goal:
            return None
        sign, bound = self.goal.split()
        return _COMPARISONS[sign](self.value, float(bound.replace(",", "")))


def median_of(runs: Sequence[Sequence[Figure]]) -> list[tuple[Figure, float, float]]:
    """(the median as a figure, least, greatest) of the same figures measured several times."""
    result = []
    for same in zip(*runs, strict=True):
        values = [figure.value for figure in same]
        median = attrs.evolve(same[0], value=statistics.median(values))
        result.append((median, min(values), max(values)))
    return result


def quantile(values: Sequence[int], q: float) -> int:
    """The least of ``values`` that a share ``q`` of them does not exceed."""
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]
