"""What figures belong to."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.circumstances import Circumstances, commit_of, cpu_model


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with one commit."""
    (tmp_path / "futurama").mkdir()
    (tmp_path / "futurama" / "queue.py").write_text("")
    who = ["-c", "user.name=any", "-c", "user.email=any@example.org"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "any"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


def test_the_commit_is_that_of_the_checkout(checkout: Path) -> None:
    """The commit is named by its abbreviation."""
    command = ["git", "rev-parse", "HEAD"]
    full = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert full.startswith(commit_of(checkout))
    assert commit_of(checkout)


def test_code_that_differs_from_the_commit_is_marked(checkout: Path) -> None:
    """A change of what is measured counts, a change of the results does not."""
    commit = commit_of(checkout)
    (checkout / "results.md").write_text("any")
    assert commit_of(checkout) == commit
    (checkout / "futurama" / "new.py").write_text("")
    assert commit_of(checkout) == f"{commit}+"


def test_a_folder_without_repository_has_no_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a missing repository nor a missing git is an error."""
    assert commit_of(tmp_path) == ""
    monkeypatch.setenv("PATH", "")
    assert commit_of(tmp_path) == ""
    assert str(Circumstances("2026-05-31", "", "2 cores", "a server")) == (
        "a server. Measured on 2026-05-31 on 2 cores."
    )


def test_the_processor_has_a_name(tmp_path: Path) -> None:
    """The first processor stands for all."""
    file = tmp_path / "cpuinfo"
    file.write_text("processor\t: 0\nmodel name\t: A Processor\n\nmodel name\t: Another\n")
    assert cpu_model(file) == "A Processor"


def test_today_is_a_day() -> None:
    """What is measured now is described without a server."""
    today = Circumstances.of_today()
    assert len(today.day) == len("2026-05-31")
    assert " cores, " in today.machine
    assert today.with_server("a server").server == "a server"
