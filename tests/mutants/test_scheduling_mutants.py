"""The simulation finds every scheduler and every backend that breaks a promise."""

from __future__ import annotations

import pytest

from futurama.conformance.promises import Promise
from tests.mutants.registry import MOST_SECONDS
from tests.mutants.scheduling import MUTANTS, Mutant
from tests.simulation.simulation import simulate

SEEDS = range(1000)
"""The rarest are shown by one run in two hundred."""


def test_every_promise_has_a_mutant() -> None:
    """There is no promise that nothing breaks here."""
    assert frozenset().union(*(mutant.breaks for mutant in MUTANTS)) == frozenset(Promise)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_simulation_finds(mutant: Mutant) -> None:
    """A run shows what the mutant breaks, and the same run without the mutant breaks nothing."""
    seed = next((seed for seed in SEEDS if _is_shown_by(mutant, seed)), None)
    assert seed is not None
    assert simulate(seed).wrong == ()


def _is_shown_by(mutant: Mutant, seed: int) -> bool:
    with mutant.patched():
        outcome = simulate(seed, backend=mutant.backend, connection=mutant.connection)
    return bool(outcome.broken & mutant.breaks)
