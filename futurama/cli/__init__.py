"""The command ``futurama``. Needs click and rich: ``pip install "futurama[cli]"``."""

from __future__ import annotations

import sys

__all__ = ["main"]

_NEEDED = {"click", "rich"}


def main() -> None:
    """Run the command line, and exit.

    The status is 0 if all went well, 1 after an error, 2 if the command was not understood.
    """
    try:
        from futurama.cli.app import app  # noqa: PLC0415 -- it may be missing what it needs
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.exit(
            f'Error: the command line needs {exc.name}; install it: pip install "futurama[cli]"'
        )
    app()
