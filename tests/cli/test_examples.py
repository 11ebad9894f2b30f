"""The examples work as they stand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import ROOT, Cli, Spawn, wait_until

EXAMPLES = ROOT / "examples"


def test_sqlite_app(tmp_path: Path) -> None:
    """The application reminds of what was not cancelled, in order, and ends."""
    program = EXAMPLES / "sqlite_app.py"
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "cancel: cancelled"
    assert [line.partition(": ")[2] for line in lines[1:]] == ["put it in", "take it out"]


def test_custom_triggers(cli: Cli, spawn: Spawn, tmp_path: Path) -> None:
    """Both triggers do what their docstrings say."""
    source = EXAMPLES / "custom_triggers.py"
    (tmp_path / source.name).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    instance = spawn("run", "custom_triggers:TRIGGERS", "--config", str(cli.config))
    instance.line()
    cli.json("create", "greet", "now", json.dumps({"name": "Leela"}))
    assert instance.line() == "Hello, Leela! (attempt 1)\n"
    cli.json("create", "poll", "now", json.dumps({"left": 2}))
    assert [instance.line(), instance.line()] == ["polled, 1 left\n", "polled, 0 left\n"]
    cli.json("create", "greet", "now")
    wait_until(lambda: cli.json("stats")["dead"] == 1)
    instance.send(signal.SIGTERM)
    assert instance.finish()[0] == 0


def test_unit_test(tmp_path: Path) -> None:
    """The example of a unit test passes."""
    program = EXAMPLES / "test_reminders.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(program)]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
