"""What a program does upon Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

__all__ = ["interrupted"]

_PATIENCE_SECONDS = 60.0

_LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
"""
"""As in a terminal: a shell that starts tests as `command &` lets all of them ignore SIGINT."""


def interrupted(program: str, *arguments: str) -> tuple[int, str, str]:
    """Run Python code, send it SIGINT as soon as it has printed ``at work``, and wait for its end.

    Returns:
        Its exit status, and what it printed after that: to its standard output, to its standard error.
    """
    with subprocess.Popen(
        [sys.executable, "-c", _LISTENING + program, *arguments],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line.startswith("at work"), line  # by several processes: they may meet in a line
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=_PATIENCE_SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nobody of the group is left
                os.killpg(process.pid, signal.SIGKILL)
    return process.returncode, output, errors
