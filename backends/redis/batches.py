"""Batches in portions: while a script runs, the server does nothing else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from futurama.backends.redis.server import Server
from futurama.errors import BackendUnavailableError, OutcomeUnknownError

__all__ = ["MOST_BYTES", "MOST_ITEMS", "partly_done", "portions", "write"]

MOST_ITEMS = 250
"""Per script, which then holds up the server for 2 to 5 ms. It must stay far below 4,000, because scripts
pass two values per item to ``unpack``."""

MOST_BYTES = 1024 * 1024
"""Of all arguments of a script, or of all payloads in its answer, unless a single item has more: it
holds up the server for about as long."""


def write(
    server: Server, name: str, constants: Sequence[Any], items: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """Run a script that gives one answer per item on all items, one portion after the other.

    Raises:
        OutcomeUnknownError: also when some portions were done and others were not.
        BackendError: nothing was changed.
    """
    answers: list[Any] = []
    for portion in portions(items):
        with partly_done(begun=bool(answers)):
            answers += server.write(name, *constants, *chain.from_iterable(portion))
    return answers


def portions(items: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    """``items`` in portions that one script may have."""
    start = size = 0
    for end, item in enumerate(items):
        item_size = sum(len(value) for value in item if isinstance(value, bytes))
        if end > start and (end - start == MOST_ITEMS or size + item_size > MOST_BYTES):
            yield items[start:end]
            start, size = end, 0
        size += item_size
    if start < len(items):
        yield items[start:]


@contextlib.contextmanager
def partly_done(*, begun: bool) -> Iterator[None]:
    """Of a batch that was begun nobody can say any more that nothing was changed."""
    try:
        yield
    except BackendUnavailableError as error:
        if not begun:
            raise
        text = str(error).removeprefix(f"{error.backend}: ")
        raise OutcomeUnknownError(
            f"a part of the batch was done, then: {text}", backend=error.backend
        ) from error
