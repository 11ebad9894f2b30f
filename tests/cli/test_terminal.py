"""What people see at a terminal."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import PATIENCE_SECONDS, ROOT, Cli


def at_a_terminal(cwd: Path, *arguments: str) -> tuple[int, str]:
    """(exit status, output) of a command whose output is a terminal."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "futurama.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    output = b""
    with contextlib.suppress(OSError):  # Linux reports the end of a terminal as an error
        while chunk := os.read(ours, 65536):
            output += chunk
    os.close(ours)
    return process.wait(PATIENCE_SECONDS), output.decode()


def test_demo_shows_bars(cli: Cli) -> None:
    """The demonstration shows bars while it runs, and then the report."""
    options = ("--events", "10", "--seconds", "0.2", "--config", str(cli.config))
    status, output = at_a_terminal(cli.folder, "demo", *options)
    assert status == 0, output
    assert "━" in output
    assert "late (p99)" in output
    assert output.endswith("every event was called once, not before its time, or cancelled\r\n")


def test_list_has_headings(cli: Cli) -> None:
    """At a terminal a list is a table with headings, and shows markup as what it is."""
    cli.json("create", "http", "+1h", "--id", "[red]a")
    status, output = at_a_terminal(cli.folder, "list", "--config", str(cli.config))
    assert status == 0
    assert "due, or died" in output
    assert "[red]a" in output
