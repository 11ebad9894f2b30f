"""What was promised, under every fault that these seeds think of."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.interrupting import interrupted
from tests.simulation import __main__ as command
from tests.simulation.faults import Fault
from tests.simulation.simulation import Outcome, simulate
from tests.simulation.story import story

SEEDS = range(100)
"""That they can find what is wrong is seen by `tests/mutants/test_scheduling_mutants.py`."""


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    """Of one run for each seed."""
    return [simulate(seed) for seed in SEEDS]


def test_every_promise_is_kept(outcomes: list[Outcome]) -> None:
    """P1 to P9 hold whatever happens, and everything finishes once that is over."""
    assert {outcome.seed: outcome.wrong for outcome in outcomes if outcome.wrong} == {}


def test_every_fault_happens(outcomes: list[Outcome]) -> None:
    """The seeds leave out none of the faults, and none of what clients are told."""
    injected: Counter[str] = Counter()
    for outcome in outcomes:
        injected.update(outcome.injected)
    planned = {
        "killed",
        "stands still",
        "cut off",
        "far away",
        "restarted",
        "restarted under load",
        "locked",
        "a part of a batch is locked",
        "all of a batch is locked",
        "refused",
        "a part of a batch is refused",
        "all of a batch is refused",
        "clock set",
        "given up",
    }
    assert injected.keys() == planned | {fault.value for fault in Fault}
    dead = [each.reason for outcome in outcomes for each in outcome.account.left.values()]
    assert any(reason and "was never reported" in reason for reason in dead)
    answers = {str(one.outcome) for outcome in outcomes for one in outcome.account.answers}
    assert len(answers) == 7, f"CANCELLED, RESCHEDULED and the others, twice, or unknown: {answers}"


def test_same_seed_same_history() -> None:
    """A run can be repeated byte by byte, whatever other runs there were meanwhile."""
    first = simulate(3)
    other = simulate(4)
    again = simulate(3)
    assert first.fingerprint == again.fingerprint != other.fingerprint


def test_story_of_an_event_names_who_did_what() -> None:
    """Whoever looks into a failure sees who created, claimed, called and reported an event."""
    outcome = simulate(3)
    called = outcome.account.calls[0]
    text = story(outcome.account, called.event_id)
    assert "create for" in text
    assert f"{called.instance} calls attempt {called.attempt}" in text
    assert "settle(" in text


def test_command_says_how_to_repeat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run that breaks a promise is named with its seed, and the exit status is not zero."""

    def wrong(seed: int) -> Outcome:
        outcome = simulate(seed)
        object.__setattr__(outcome, "wrong", ("P1: nothing is lost: e1: as planned",))
        return outcome

    monkeypatch.setattr(command, "simulate", wrong)
    assert command.main(["--runs", "1", "--seed", "7"]) == 1
    printed = capsys.readouterr().out
    assert "P1: nothing is lost: e1: as planned" in printed
    assert "python -m tests.simulation --runs 1 --seed 7" in printed


def test_command_counts_runs(capsys: pytest.CaptureFixture[str]) -> None:
    """It makes as many runs as it is told, and says how many faults there were."""
    assert command.main(["--runs", "2", "--seed", "1"]) == 0
    assert capsys.readouterr().out.startswith("2 runs from seed 1 on")


@pytest.mark.parametrize("words", [["--runs", "0"], ["--seconds", "0"], ["--processes", "-1"]])
def test_command_refuses_to_do_nothing(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the argument and the value."""
    with pytest.raises(SystemExit) as caught:
        command.main(words)
    assert caught.value.code == 2
    assert f"argument {words[0]}: {words[1]!r} is not a" in capsys.readouterr().err


_ENDLESS = """
import sys
from tests.interrupting import interrupted
from tests.simulation import __main__ as command

def simulate(seed):
    print("at work", flush=True)
    while True:
        try:
            while True: pass
        except BaseException: pass

command.simulate = simulate
sys.exit(command.main(["--processes", sys.argv[1]]))
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_command_ends_when_interrupted(processes: str) -> None:
    """In one line, even within code that would catch everything."""
    status, _, errors = interrupted(_ENDLESS, processes)
    assert (status, errors) == (130, "interrupted\n")
