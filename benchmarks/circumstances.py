"""On what something was measured, when, and of which state of the code."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import attrs

__all__ = ["Circumstances", "commit_of", "cpu_model"]

_ROOT = Path(__file__).resolve().parents[1]

_MEASURED = ("futurama", "backends", "benchmarks", "tests/servers")
"""What the figures depend on; the pages that are made of them are not among it."""


@attrs.frozen
class Circumstances:
    """What figures belong to.

    Attributes:
        day: as ``2026-05-31``.
        commit: short, with a ``+`` if the code differs from it; empty if that is not known.
        machine: cores, processor, Python and system.
        server: and the driver.
    """

    day: str
    commit: str
    machine: str
    server: str = ""

    @classmethod
    def of_today(cls) -> Self:
        """Those of this process, without a server."""
        cores = f"{os.cpu_count()} cores"
        python = f"{platform.python_implementation()} {platform.python_version()}"
        machine = ", ".join(filter(None, (cores, cpu_model(), python, platform.system())))
        return cls(datetime.now(UTC).date().isoformat(), commit_of(_ROOT), machine)

    def with_server(self, about: str) -> Self:
        """With what there is to say about the server."""
        return attrs.evolve(self, server=about)

    def __str__(self) -> str:
        commit = f" at commit `{self.commit}`" if self.commit else ""
        return f"{self.server}. Measured on {self.day}{commit} on {self.machine}."


def commit_of(root: Path) -> str:
    """The commit of the checkout in ``root``, see :class:`Circumstances`."""
    try:
        commit = _git(root, "rev-parse", "--short", "HEAD")
        changes = _git(root, "status", "--porcelain", "--", *_MEASURED)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return f"{commit}+" if changes else commit


def cpu_model(file: Path = Path("/proc/cpuinfo")) -> str:
    """The name of the processor; empty where the system does not tell."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _git(root: Path, *words: str) -> str:
    command = ["git", "--no-optional-locks", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()
