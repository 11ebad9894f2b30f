"""Repeating what a backend could not do just now."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from futurama.backoff import full_jitter_seconds
from futurama.batching import Batcher
from futurama.errors import BackendError, EventsLockedError, OutcomeUnknownError
from futurama.runtime import Runtime

__all__ = ["retrying", "writing"]

_log = logging.getLogger("futurama.backend")

Item = TypeVar("Item")
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
        OutcomeUnknownError: the answer to one of the tries was lost, and no later one succeeded.
        BackendError: one that says that a repeat makes no sense, or the last one.
    """
    deadline_us = runtime.monotonic_us() + int(timeout * 1e6)
    failures = 0
    is_in_doubt = False
    while True:
        try:
            return operation()
        except BackendError as exc:
            on_error(exc)
            failures += 1
            pause = full_jitter_seconds(failures)
            is_over = runtime.monotonic_us() + pause * 1e6 > deadline_us
            if not exc.retryable or is_over:
                if is_in_doubt and not isinstance(exc, OutcomeUnknownError):
                    raise _in_doubt_after(exc) from exc
                raise
            is_in_doubt |= isinstance(exc, OutcomeUnknownError)
            _log.info("repeating after %s", exc)
        runtime.sleep(pause)


def writing(
    batcher: Batcher[Item, Result],
    item: Item,
    *,
    runtime: Runtime,
    timeout: float,
    on_error: Callable[[BackendError], None],
) -> Result:
    """As :func:`retrying`: write ``item`` together with those of others.

    While somebody keeps a lock on it, it is tried again alone, so that nobody else waits for that.
    """
    is_locked = False

    def write() -> Result:
        return batcher.call_alone(item) if is_locked else batcher.call(item)

    def note(error: BackendError) -> None:
        nonlocal is_locked
        is_locked = isinstance(error, EventsLockedError)
        on_error(error)

    return retrying(write, runtime=runtime, timeout=timeout, on_error=note)


def _in_doubt_after(last: BackendError) -> OutcomeUnknownError:
    """What the last try says of itself is not true of those before it."""
    return OutcomeUnknownError(
        "the answer to an earlier try was lost, so the change was made or it was not; "
        f"the last try failed ({last})",
        backend=last.backend,
    )
