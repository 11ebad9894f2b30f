"""``python -m futurama.conformance`` as a stranger uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from futurama.conformance import LAWS, Status
from futurama.conformance.__main__ import main
from tests.conformance.samples import Sample

SAMPLES = "tests.conformance.samples"
ROOT = Path(__file__).parents[2]


def test_table_has_one_line_per_law(capsys: pytest.CaptureFixture[str]) -> None:
    """What is right ends with 0 and a line of numbers."""
    assert main([f"{SAMPLES}:make_backend", "--law", "count", "--law", "find.ids"]) == 0
    table, summary = capsys.readouterr().out.split("\n\n")
    assert table.split("\n") == ["find.ids  held", "count     held"]
    assert summary.startswith(f"2 of {len(LAWS)} laws: 2 held; ")
    assert " calls on the backend in " in summary


def test_broken_law_is_shown_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """What is wrong ends with 1 and the message."""
    assert main([f"{SAMPLES}:Wrong", "--law", "cancel.claimed", "--law", "count"]) == 1
    table, message, *_ = capsys.readouterr().out.split("\n\n")
    assert table.split("\n") == ["cancel.claimed  broken", "count           held"]
    assert message.startswith("cancel.claimed: A CLAIMED event")


def test_undecided_law_says_what_its_test_met(capsys: pytest.CaptureFixture[str]) -> None:
    """A law about which nothing was found because another one is broken is not called broken."""
    assert main([f"{SAMPLES}:Wrong", "--law", "lifecycle.now", "--law", "claim.token"]) == 1
    assert (
        "claim.token    undecided: its test came upon cancel.claimed first"
        in capsys.readouterr().out
    )


def test_stub_gets_a_short_report(capsys: pytest.CaptureFixture[str]) -> None:
    """What waits is counted, not listed; what is to be written is listed once."""
    assert main([f"{SAMPLES}:make_stub"]) == 1
    printed = capsys.readouterr().out
    assert "13 of 13 raise NotImplementedError or are missing" in printed
    assert len(printed.splitlines()) < 40
    assert f"{Status.WAITS};" in printed


def test_chosen_law_that_waits_says_for_what(capsys: pytest.CaptureFixture[str]) -> None:
    """Who asks for one law is told why nothing is known of it."""
    assert main([f"{SAMPLES}:make_stub", "--law", "count"]) == 1
    assert "count  waits for open()" in capsys.readouterr().out


def test_json_for_tools(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with the sums, the laws and the tests."""
    target = f"{SAMPLES}:make_wrong_backend"
    assert main([target, "--law", "cancel.claimed", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    (result,) = report["results"]
    assert report["laws"] == {"cancel.claimed": "broken"}
    assert (report["ok"], report["calls"]) == (False, result["calls"])
    assert (result["law"], result["status"]) == ("cancel.claimed", "broken")
    assert "backend.cancel" in result["detail"]
    assert result["calls"] > 10


@pytest.mark.parametrize("separator", [":", "::"])
def test_file_may_be_named_by_its_path(separator: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A path needs no thought about how the module is imported, nor about what pytest writes."""
    path = Path(__file__).with_name("samples.py")
    assert main([f"{path}{separator}Sample", "--law", "count"]) == 0
    assert "held" in capsys.readouterr().out


def test_family_of_laws_is_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    """The part before the point will do."""
    assert main([f"{SAMPLES}:Sample", "--law", "purge", "--law", "requeue"]) == 0
    table, _ = capsys.readouterr().out.split("\n\n")
    assert [line.split()[0] for line in table.split("\n")] == [
        "requeue.dead",
        "requeue.others",
        "purge.before",
    ]


def test_interrupted_suite_shows_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has enough of waiting keeps what is known; the status is the one of SIGINT."""

    def interrupt(self: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sample, "test_count", interrupt, raising=False)
    assert main([f"{SAMPLES}:Sample", "--law", "find.ids", "--law", "count"]) == 130
    table, summary = capsys.readouterr().out.split("\n\n")
    assert table == "find.ids  held"
    assert summary.startswith("interrupted; 1 of ")


def test_error_in_the_module_is_shown_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module that cannot be imported is not told by a traceback through the suite."""
    path = tmp_path / "incomplete_module.py"
    path.write_text("from futurama.backend import Capabilities\nCapabilities(durable=True)\n")
    assert main([f"{path}:TestIt"]) == 2
    said = capsys.readouterr().err
    assert "importing incomplete_module raised TypeError(" in said
    assert "line 2, in <module>" in said
    assert "runpy" not in said
    assert "importlib" not in said


def test_connector_goes_with_a_function(capsys: pytest.CaptureFixture[str]) -> None:
    """With a connector the absence of a capability can be proven."""
    target = [f"{SAMPLES}:make_backend", "--connector", f"{SAMPLES}:connector"]
    assert main([*target, "--law", "capabilities.absent"]) == 0
    assert "absent: not declared, and proven not to be there" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to test, as module:name"),
        (["tests"], "must be of the form package.module:name"),
        (["no_such_module:x"], "there is no module 'no_such_module'"),
        (["no_such_file.py:x"], "there is no file no_such_file.py"),
        ([f"{SAMPLES}:Smaple"], "tests.conformance.samples has no 'Smaple'; it has make_backend, "),
        ([f"{SAMPLES}:MemoryBackend"], "is a class; name a subclass of BackendConformance"),
        ([f"{SAMPLES}:MEMORY"], "is a Capabilities; name a subclass"),
        ([f"{SAMPLES}:make_no_manager"], "no context manager; decorate it with @contextmanager"),
        ([f"{SAMPLES}:begun"], "must be callable without arguments"),
        ([f"{SAMPLES}:Sample", "--connector", f"{SAMPLES}:connector"], "has connector() itself"),
        ([f"{SAMPLES}:make_backend", "--connector", f"{SAMPLES}:MEMORY"], "must be a function"),
        (
            [f"{SAMPLES}:Sample", "--law", "claim.oder"],
            "there is no law 'claim.oder'; did you mean claim.order",
        ),
    ],
)
def test_what_cannot_be_tested_is_one_clear_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mistake in the command ends with 2, one line, and what to give instead."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert len(printed.err.splitlines()) == 1


def test_nothing_is_explained_by_the_suite(capsys: pytest.CaptureFixture[str]) -> None:
    """What make_backend yields is looked at by the suite, which says what is wrong with it."""
    assert main([f"{SAMPLES}:make_nothing", "--law", "count"]) == 1
    assert "make_backend() yielded None, which has no operation" in capsys.readouterr().out


def test_runs_as_a_program() -> None:
    """As a program it prints nothing to a stderr that is no terminal."""
    done = subprocess.run(
        [sys.executable, "-m", "futurama.conformance", f"{SAMPLES}:Sample", "--law", "count"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("count  held\n")


def test_progress_is_shown_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person sees how far it is, and nothing of that afterwards."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    main([f"{SAMPLES}:Sample", "--law", "count"])
    assert "2/2 count" in capsys.readouterr().err


def test_thorough_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--thorough`` is the environment variable, which child processes see."""
    monkeypatch.setenv("FUTURAMA_CONFORMANCE", "")
    assert main([f"{SAMPLES}:Sample", "--law", "lifecycle.now", "--thorough"]) == 0
    assert os.environ["FUTURAMA_CONFORMANCE"] == "thorough"
