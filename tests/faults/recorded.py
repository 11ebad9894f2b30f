"""A backend that writes down everything that it is asked and answers."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from futurama.backend import EventBackend
from tests.between import Between
from tests.faults.record import Recorder

__all__ = ["RecordedBackend"]

_RECORDED = {"add", "cancel", "reschedule", "claim", "renew", "settle", "requeue"}
"""What changes events."""


class RecordedBackend(Between):
    """Passes everything on, and writes down what changes events.

    Args:
        inner: the backend.
        recorder: of this process.
    """

    def __init__(self, inner: EventBackend, recorder: Recorder) -> None:
        super().__init__(inner)
        self._around = recorder.around

    def pass_on(self, operation: str, arguments: Mapping[str, Any]) -> Any:
        """Write down what is asked, and what the answer is."""
        ask = partial(super().pass_on, operation, arguments)
        return self._around(operation, arguments, ask) if operation in _RECORDED else ask()
