"""Every law of the conformance suite finds the backends that break it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from futurama.backend import EventBackend
from futurama.conformance import LAWS, check, patience
from tests.mutants import (  # noqa: F401 -- importing them registers their mutants
    adding,
    answers,
    changing,
    claiming,
    coarse,
    living,
    looking,
    racing,
    repeating,
    settling,
    unanswered,
    values,
)
from tests.mutants.dying import MOST_CALLS, calls_of
from tests.mutants.living import DURABLE, Durable, same_file
from tests.mutants.registry import MOST_SECONDS, MUTANTS, Mutant


@pytest.fixture(autouse=True)
def _short_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of these mutants never answer; the others, in memory, do so at once."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 3.0)


def test_every_law_has_a_mutant() -> None:
    """No law is without a backend that breaks it, and no mutant without a law."""
    assert {mutant.law for mutant in MUTANTS} == set(LAWS)


@pytest.mark.timeout(MOST_SECONDS)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_dies_by_its_own_law(mutant: Mutant) -> None:
    """The test of the law that a mutant breaks names that law, and shows how in a few calls."""

    @contextmanager
    def make_backend() -> Iterator[EventBackend]:
        yield mutant.make()

    report = check(
        make_backend, mutant.capabilities, connector=mutant.connector, laws=[mutant.test]
    )

    (result,) = report.results
    assert result.broken is not None, f"survived: {result.status} {result.detail}"
    assert result.broken.law in {mutant.law, *mutant.others}, result.detail
    assert len(calls_of(result.broken.program)) <= MOST_CALLS, result.detail


def test_durable_mutants_are_made_of_a_right_backend() -> None:
    """What they leave out is all that is wrong with them."""

    @contextmanager
    def make_backend() -> Iterator[EventBackend]:
        yield Durable()

    laws = ["crash.acknowledged", "durable.new-instance"]
    assert check(make_backend, DURABLE, connector=same_file, laws=laws).ok
