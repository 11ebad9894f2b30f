"""The virtual environment in which the peers are installed."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "python"]

ROOT = Path(__file__).resolve().parents[2]

_REQUIREMENTS = ROOT / "benchmarks" / "peers-requirements.txt"
_FOLDER = ROOT / ".venv-peers"
_INSTALLED = _FOLDER / "installed-requirements.txt"


@functools.cache
def python() -> str:
    """The interpreter of the environment, which is made anew whenever the requirements change."""
    interpreter = str(_FOLDER / "bin" / "python")
    wanted = _REQUIREMENTS.read_text()
    if not _INSTALLED.exists() or _INSTALLED.read_text() != wanted:
        subprocess.run([sys.executable, "-m", "venv", "--clear", _FOLDER], check=True)
        quietly = ["--quiet", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [interpreter, "-m", "pip", *quietly, "install", "-r", _REQUIREMENTS], check=True
        )
        _INSTALLED.write_text(wanted)
    return interpreter
