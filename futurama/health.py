"""How one kind of work with the backend is doing."""

from __future__ import annotations

import logging

from futurama.backoff import full_jitter_seconds
from futurama.stats import Stats

__all__ = ["Health"]

_log = logging.getLogger("futurama.health")


class Health:
    """Says once that something fails and once that it works again, and how long to wait meanwhile.

    Args:
        what: the work, for the log: ``"claiming"``.
        stats: counts the failures.
    """

    def __init__(self, what: str, stats: Stats) -> None:
        self._what = what
        self._stats = stats
        self._failures = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last try failed."""
        return self._failures > 0

    def failed(self, error: Exception) -> float:
        """Count a failure; return how many seconds to wait before the next try."""
        self._stats.count("backend_errors")
        self._failures += 1
        level = logging.WARNING if self._failures == 1 else logging.DEBUG
        _log.log(level, "%s fails, trying again until it works: %s", self._what, error)
        return full_jitter_seconds(self._failures)

    def worked(self) -> None:
        """The last try succeeded."""
        if self._failures:
            _log.warning("%s works again after %d failures", self._what, self._failures)
            self._failures = 0
