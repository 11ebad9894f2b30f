"""Wall clocks of single processes that can be put off; all their other clocks stay.

libfaketime (0.9.10) would be the usual way, but lets ``time.sleep`` of Python 3.11 fail: it takes times of
CLOCK_MONOTONIC, on which that counts, for times of the wall clock.
"""

from __future__ import annotations

import functools
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.servers.process import temporary_folder

__all__ = ["WallClock"]

_SOURCE = Path(__file__).with_suffix(".c")


class WallClock:
    """A wall clock for processes that are started with :attr:`environment`; Linux only.

    Args:
        file: where it is kept; made, and right at first.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.put_off(0.0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the processes need in theirs."""
        return {"LD_PRELOAD": str(_library()), "WALL_CLOCK": str(self._file)}

    def put_off(self, seconds: float) -> None:
        """Let it be off by so much, from now on."""
        self._file.touch()
        with self._file.open("r+b", buffering=0) as file:
            file.write(struct.pack("=q", int(seconds * 1e9)))


@functools.cache
def _library() -> Path:
    """What is loaded into the processes; made once per process."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    assert compiler, "no C compiler is installed (Debian: sudo apt-get install gcc libc6-dev)"
    library = temporary_folder("futurama-wall-clock-") / "wall_clock.so"
    options = ["-Wall", "-O2", "-shared", "-fPIC"]
    subprocess.run([compiler, *options, "-o", library, _SOURCE, "-ldl"], check=True)
    return library
