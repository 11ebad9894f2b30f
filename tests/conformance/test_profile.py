"""How hard the suite looks, and that what it found by chance is found again."""

from __future__ import annotations

import attrs
import pytest

from futurama.backends.memory import MemoryBackend
from futurama.conformance import check_suite, profile
from tests.conformance.samples import making, suite
from tests.mutants.changing import CancelsTheClaimed


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests do not depend on how they are run."""
    monkeypatch.delenv(profile.VARIABLE, raising=False)
    monkeypatch.delenv(profile.SEED, raising=False)


@pytest.fixture
def thorough(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at night."""
    monkeypatch.setenv(profile.VARIABLE, profile.THOROUGH)


def calls(law: str) -> list[str]:
    """All calls that the test of this law makes on a right backend."""
    made: list[str] = []

    class Listens(MemoryBackend):
        def add(self, *args: object, **kwargs: object) -> object:  # type: ignore[override] # passes on
            made.append(repr((args, kwargs)))
            return super().add(*args, **kwargs)  # type: ignore[arg-type] # passed on

    (result,) = check_suite(suite(make_backend=making(Listens)), laws=[law]).results
    assert result.broken is None
    return made


def test_usual_run_has_always_the_same_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: the usual examples are the same for everyone."""
    monkeypatch.setenv(profile.SEED, "7")
    assert profile.seed() == 0
    assert profile.how_to_repeat() == ""


@pytest.mark.usefixtures("thorough")
def test_thorough_run_has_one_seed() -> None:
    """It is drawn once, so that there is one to name."""
    assert profile.seed() == profile.seed()
    assert str(profile.seed()) in profile.how_to_repeat()


@pytest.mark.usefixtures("thorough")
def test_seed_must_be_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused."""
    monkeypatch.setenv(profile.SEED, "seven")
    with pytest.raises(ValueError, match="FUTURAMA_CONFORMANCE_SEED is 'seven'"):
        profile.seed()


@pytest.mark.usefixtures("thorough")
def test_same_seed_gives_the_same_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a thorough run draws depends on its seed."""
    short = attrs.evolve(profile.profile(), times=1)
    monkeypatch.setattr(profile, "_THOROUGH", short)
    monkeypatch.setenv(profile.SEED, "7")
    first, second = calls("errors"), calls("errors")
    monkeypatch.setenv(profile.SEED, "8")
    assert first == second != calls("errors")


def test_finding_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where that is not clear anyhow."""
    backend = suite(make_backend=making(CancelsTheClaimed))
    (usual_one,) = check_suite(backend, laws=["cancel.claimed"]).results
    monkeypatch.setenv(profile.VARIABLE, profile.THOROUGH)
    monkeypatch.setenv(profile.SEED, "7")
    (thorough_one,) = check_suite(backend, laws=["cancel.claimed"]).results
    assert "again:" not in usual_one.detail
    line = "  again:    FUTURAMA_CONFORMANCE=thorough FUTURAMA_CONFORMANCE_SEED=7\n"
    assert line in thorough_one.detail
