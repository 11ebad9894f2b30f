"""Repeating what a backend could not do just now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from futurama.backoff import full_jitter_seconds
from futurama.errors import BackendError
from futurama.runtime import Runtime

__all__ = ["retrying"]

_log = logging.getLogger("futurama.backend")

Result = TypeVar("Result")


def retrying(
    operation: Callable[[], Result],
    *,
    runtime: Runtime,
    timeout: float,
    on_error: Callable[[BackendError], None] = lambda _: None,
) -> Result:
    """Call ``operation`` until it succeeds; every operation of a backend may be repeated.

    Args:
        operation: what to do.
        runtime: how to wait.
        timeout: seconds after which the last error is raised instead of another repeat.
        on_error: told of each failure.

    Raises:
        BackendError: one that says that a repeat makes no sense, or the last one.
    """
    deadline_us = runtime.monotonic_us() + int(timeout * 1e6)
    failures = 0
    while True:
        try:
            return operation()
        except BackendError as exc:
            on_error(exc)
            failures += 1
            pause = full_jitter_seconds(failures)
            if not exc.retryable or runtime.monotonic_us() + pause * 1e6 > deadline_us:
                raise
            _log.info("repeating after %s", exc)
        runtime.sleep(pause)
