"""What a run of the scenarios comes to, as a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

import attrs

from futurama.conformance.promises import Promise
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import LEASE_SECONDS, LONG_LEASE_SECONDS, SQLITE_LEASE_SECONDS, Outcome

__all__ = ["Row", "page"]


@attrs.frozen(kw_only=True)
class Row:
    """One scenario on one backend.

    Attributes:
        name, backend, seed: of the scenario that was run.
        figures: what was counted; empty if it failed altogether.
        violations: what was broken.
        untested: what did not happen although the scenario is about it.
        seconds: how long all of it took.
    """

    name: str
    backend: str
    seed: int
    figures: Mapping[str, Any]
    violations: Sequence[str]
    untested: Sequence[str] = ()
    seconds: float = 0.0

    @classmethod
    def of_outcome(cls, name: str, backend: str, seed: int, outcome: Outcome) -> Self:
        """A run that came to its end."""
        return cls(
            name=name,
            backend=backend,
            seed=seed,
            figures=outcome.figures,
            violations=outcome.violations,
            untested=outcome.untested,
        )

    @classmethod
    def of_failure(cls, name: str, backend: str, seed: int, traceback: str) -> Self:
        """A run that did not."""
        return cls(name=name, backend=backend, seed=seed, figures={}, violations=[traceback])

    @property
    def has_failed(self) -> bool:
        """Whether it does not show that all promises are kept under the fault."""
        return bool(self.violations or self.untested)

    @property
    def line(self) -> str:
        """For the terminal."""
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        verdict = "BROKEN" if self.violations else "UNTESTED" if self.untested else "ok"
        return (
            f"{verdict:8} {self.name} ({self.backend}, seed {self.seed}, "
            f"{self.seconds:.0f} s): {figures}"
        )


_INTRODUCTION = """\
# What is survived

Made by `make chaos`. Real instances, processes of their own, share a real server; clients create, cancel and move
events, and triggers succeed, fail and give up, while something breaks. Everybody writes down what was asked and
answered, when each call began and ended, and what broke, into files that outlive their processes; afterwards
`futurama.conformance.promises` decides, event by event, from all of it together, whether all of this held under each fault below:

{promises}

"The laws of backends" are those of [conformance.md](conformance.md): the answers to all operations on an event, unanswered ones
included, have an order that explains them. A *repeat* is a call that followed on one that had not failed, because
whoever made that had died, stood still or was cut off, because the machine itself stood still (gave nobody a processor, or its disk, for a quarter of a lease, which happened as often as *stalls* says), because it took longer than `trigger_timeout_sec` allows, or because the answer to
`create` was lost and its repeat stored anew what had been called meanwhile; nothing else excuses one. *Recovered* is how long after the last fault everything that was due by then had been called or,
where faults were no excuse and went on as long as the load, how long after that nothing was left. The lease was
{lease:g} s, on SQLite {sqlite_lease:g} s, and {long_lease:g} s where nothing may be repeated.

`python -m tests.faults NAME --seed N --keep DIR` repeats a row and keeps its records and logs.

"""

_HEADINGS = (
    "fault",
    "how",
    "on",
    "events",
    "calls",
    "repeats",
    "stalls",
    "recovered, s",
    "held",
    "seed",
)


def page(rows: Sequence[Row]) -> str:
    """The page that tells what was survived."""
    promises = "\n".join(f"* {promise.value}" for promise in Promise)
    lines = [_line(_HEADINGS), _line(["---"] * len(_HEADINGS)), *map(_row, rows)]
    introduction = _INTRODUCTION.format(
        promises=promises,
        lease=LEASE_SECONDS,
        sqlite_lease=SQLITE_LEASE_SECONDS,
        long_lease=LONG_LEASE_SECONDS,
    )
    return introduction + "\n".join(lines) + "\n"


def _row(row: Row) -> str:
    held = "**no**" if row.violations else "**?**" if row.untested else "all"
    figures = dict(row.figures)
    if figures.get("recovery s", 0) is None:
        figures["recovery s"] = figures.get("finished after s")
    shown = [
        _shown(figures, name) for name in ("events", "calls", "repeats", "stalls", "recovery s")
    ]
    scenario = SCENARIOS[row.name]
    name = f"{scenario.fault} (`{row.name}`)"
    return _line([name, scenario.how, row.backend, *shown, held, str(row.seed)])


def _shown(figures: Mapping[str, Any], name: str) -> str:
    if name not in figures:
        return "?"
    value = figures[name]
    return "–" if value is None else f"{value:,}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
