"""The command lines of the faults and of the soak."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import attrs
import pytest

from futurama.conformance.account import Account
from futurama.conformance.promises import Breach, Judgement, Promise
from tests.faults import __main__ as faults
from tests.faults import soak
from tests.faults.results import Row, page
from tests.faults.scenario import Circumstances
from tests.faults.scenarios import SCENARIOS
from tests.faults.stage import Outcome
from tests.interrupting import interrupted

_ACCOUNT = Account(
    creations=[],
    answers=[],
    calls=[],
    steps=[],
    left={},
    disturbances=[],
    epoch_us=0,
    resolution=timedelta.resolution,
)


def _outcome(breaches: int = 0) -> Outcome:
    broken = [
        Breach(promise=Promise.LOST, event_id=f"e{number}", why="as planned")
        for number in range(breaches)
    ]
    judgement = Judgement(breaches=broken, repeats=0, books={})
    return Outcome(judgement=judgement, account=_ACCOUNT, figures={"events": 7}, bugs=[])


Runs = Callable[[Callable[[Circumstances], Outcome]], None]


@pytest.fixture
def every_scenario(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Makes all scenarios do this, in a thread of this process."""

    def replace(run: Callable[[Circumstances], Outcome]) -> None:
        for name, each in SCENARIOS.items():
            monkeypatch.setitem(SCENARIOS, name, attrs.evolve(each, run=run))

    monkeypatch.setattr(faults, "workers", lambda number: ThreadPoolExecutor(1))
    return replace


def test_a_fault_that_is_not_on_the_backend_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names the fault and the backends it is on."""
    with pytest.raises(SystemExit) as caught:
        faults.main(["galera-conflicts", "--backend", "redis"])
    assert caught.value.code == 2
    assert "galera-conflicts is not on redis, only on mysql" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--jobs", "0"], ["--events", "0"], ["--seconds", "-1"], ["--seconds", "nan"]]
)
def test_numbers_that_make_no_sense_are_refused(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the argument and the value."""
    with pytest.raises(SystemExit) as caught:
        faults.main(words)
    assert caught.value.code == 2
    assert f"argument {words[0]}: {words[1]!r} is not a" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["nothing"], ["--backend", "redis"], ["--events", "9"], ["--seconds", "1"]]
)
def test_a_run_of_a_part_does_not_write_the_page(
    words: list[str], tmp_path: Path, every_scenario: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so in its first line."""
    written = tmp_path / "page.md"
    written.write_text("as it was")
    every_scenario(lambda given: _outcome())
    assert faults.main([*words, "--markdown", str(written)]) == 0
    assert written.read_text() == "as it was"
    assert capsys.readouterr().out.startswith(f"{written} stays as it is")


def test_a_whole_run_writes_the_page(tmp_path: Path, every_scenario: Runs) -> None:
    """It has a row for each fault on each backend, also if some were not survived."""
    written = tmp_path / "page.md"
    every_scenario(lambda given: _outcome(breaches=given.backend == "redis"))
    assert faults.main(["--seed", "7", "--markdown", str(written)]) == 1
    rows = [line for line in written.read_text().splitlines() if line.endswith("| 7 |")]
    assert len(rows) == sum(len(each.backends) for each in SCENARIOS.values())
    assert sum("**no**" in row for row in rows) == sum("| redis |" in row for row in rows)


def test_what_is_broken_is_told_with_how_to_repeat_it(
    every_scenario: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of many violations the first are shown and the others counted."""
    every_scenario(lambda given: _outcome(breaches=23))
    words = ["zombies", "--backend", "mysql", "--seed", "7", "--events", "9", "--seconds", "1.5"]
    assert faults.main(words) == 1
    line, *violations, more, repeat, last = capsys.readouterr().out.splitlines()
    assert line.startswith("BROKEN")
    assert len(violations) == 20
    assert more == "    and 3 more"
    assert repeat == f"    to repeat: python -m tests.faults {' '.join(words)} --keep DIR"
    assert last == "0 of 1 faults survived"


def test_a_fault_that_did_not_happen_is_told_beside_what_is_broken(
    every_scenario: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """The reason is one line, hides nothing and is a failure by itself."""
    every_scenario(
        lambda given: _outcome(breaches=given.seed).needs(0, "nobody died").needs(1, "all is well")
    )
    for breaches, verdict in enumerate(["UNTESTED", "BROKEN"]):
        assert faults.main(["zombies", "--seed", str(breaches)]) == 1
        line, *told = capsys.readouterr().out.splitlines()
        assert line.startswith(verdict)
        assert sum("as planned" in each for each in told) == breaches
        assert told[breaches] == "    the fault was not put to the test: nobody died"
        assert "all is well" not in "".join(told)


def test_the_page_does_not_call_untested_what_is_survived() -> None:
    """What did not happen is a question mark."""
    row = Row.of_outcome("zombies", "mysql", 7, _outcome().needs(0, "nobody died"))
    assert "| **?** | 7 |" in page([row])


def test_an_error_is_told_with_its_traceback(
    every_scenario: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a scenario raises is nothing that it has planned."""

    def fail(given: Circumstances) -> Outcome:
        raise RuntimeError("no server")

    every_scenario(fail)
    assert faults.main(["zombies"]) == 1
    assert "RuntimeError: no server" in capsys.readouterr().out


def test_interruption_is_one_line(every_scenario: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit status is that of shells."""

    def interrupt(given: Circumstances) -> Outcome:
        raise KeyboardInterrupt

    every_scenario(interrupt)
    assert faults.main(["zombies"]) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


_INTERRUPTED = """
import sys, time
from tests.faults.command import interruptible, workers

@interruptible
def main():
    with workers(2) as processes:
        processes.submit(print, "at work", flush=True).result()
        list(processes.map(time.sleep, [600] * 9))

sys.exit(main())
"""


def test_workers_end_with_an_interruption() -> None:
    """Nothing is left that holds the output open, and nobody prints a traceback."""
    assert interrupted(_INTERRUPTED) == (130, "", "interrupted\n")


_SAMPLE = soak.Sample(memory_mb=60.0, memory_blocks=280_000, threads=23, files=11)


class _Rounds:
    """In the place of a soak: one outcome after the other, then Ctrl-C."""

    def __init__(self, *outcomes: Outcome) -> None:
        self._outcomes = iter(outcomes)
        self.injected: dict[str, int] = {}
        self.samples = [_SAMPLE]

    def round(self, number: int) -> Outcome:
        for outcome in self._outcomes:
            return outcome
        raise KeyboardInterrupt


def test_the_soak_tells_each_round_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was broken is known before somebody interrupts, and told once."""
    former = signal.getsignal(signal.SIGINT), threading.excepthook
    rounds = _Rounds(_outcome(), _outcome(breaches=1), _outcome(breaches=2))
    monkeypatch.setattr(soak, "_soak", lambda arguments: contextlib.nullcontext(rounds))
    try:
        assert soak.main(["--minutes", "5"]) == 130
    finally:
        signal.signal(signal.SIGINT, former[0])
        threading.excepthook = former[1]
    printed = capsys.readouterr()
    _, first, second, e0, third, e1 = printed.out.splitlines()
    assert [line[:8] for line in (first, second, third)] == ["round 1:", "round 2:", "round 3:"]
    assert (e0, e1) == tuple(f"    P1: nothing is lost: e{n}: as planned" for n in range(2))
    assert printed.err == "interrupted after 3 rounds\n"


def test_a_soak_that_wears_nothing_out() -> None:
    """What is taken more of at times is no wear, nor what is taken in the beginning."""
    samples = [_SAMPLE] * 9
    samples[0] = attrs.evolve(_SAMPLE, threads=3, files=4)
    samples[8] = attrs.evolve(_SAMPLE, memory_mb=120.0, memory_blocks=400_000)
    assert soak.wear(samples) == []


@pytest.mark.parametrize(
    ("name", "a_round"),
    [("memory_mb", 5.0), ("memory_blocks", 200), ("threads", 1), ("files", 3)],
)
def test_a_soak_that_wears_something_out(name: str, a_round: float) -> None:
    """What is taken more of with every round is told."""
    first = getattr(_SAMPLE, name)
    samples = [attrs.evolve(_SAMPLE, **{name: first + n * a_round}) for n in range(9)]
    expected = f"{name}: {first + a_round:.0f} at first, {first + 7 * a_round:.0f} in the end"
    assert soak.wear(samples) == [expected]


@pytest.mark.parametrize("minutes", ["0", "-3", "soon"])
def test_a_soak_lasts(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No time at all is refused, because nothing would be tested in it."""
    with pytest.raises(SystemExit) as caught:
        soak.main(["--minutes", minutes])
    assert caught.value.code == 2
    assert f"{minutes!r} is not a number above 0" in capsys.readouterr().err
