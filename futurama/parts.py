"""Writing a batch of which a part may be locked or refused, without failing the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias, TypeVar

from futurama.errors import (
    BackendError,
    BackendRejectedError,
    BackendUnavailableError,
    EventsLockedError,
    OutcomeUnknownError,
)

__all__ = ["in_parts", "may_pass"]

Item = TypeVar("Item")
Result = TypeVar("Result")
Part: TypeAlias = tuple[Sequence[Item], Sequence[Result] | Exception]


def in_parts(
    write: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> Iterator[Part[Item, Result]]:
    """Write ``items`` together; if some of them are the reason why that fails, the others without them.

    What is locked is not tried again here. If an item is refused, each is written on its own, until
    something fails that is no item's fault: then nothing more is tried, so that an outage is waited
    for once and not once for each item.

    Args:
        write: writes a batch, returns one result per item, or raises.

    Yields:
        Each part, as soon as that is known, with its results or with the error that it met.
    """
    try:
        results = write(items)
    except EventsLockedError as exc:
        locked, others = exc.split(items)
        yield locked, exc
        if others:
            yield from in_parts(write, others)
    except Exception as exc:  # whatever it is, it is for whoever wants these items written
        if len(items) == 1 or may_pass(exc):
            yield items, exc
        else:
            yield from _one_by_one(write, items)
    else:
        yield items, _checked(results, items)


def _one_by_one(
    write: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> Iterator[Part[Item, Result]]:
    for number, item in enumerate(items):
        try:
            results = write([item])
        except Exception as exc:  # as above
            yield [item], exc
            if may_pass(exc):
                if rest := items[number + 1 :]:
                    yield rest, _untried(exc)
                return
        else:
            yield [item], _checked(results, [item])


def _untried(error: Exception) -> Exception:
    """What became of those that follow on the one that has met ``error``."""
    if isinstance(
        error, OutcomeUnknownError | EventsLockedError
    ):  # which are true of that one only
        return BackendUnavailableError(
            f"not tried, because the write before it failed ({error})", backend=error.backend
        )
    return error


def _checked(results: Sequence[Result], items: Sequence[Item]) -> Sequence[Result] | Exception:
    if len(results) != len(items):
        return ValueError(f"got {len(results)} results for {len(items)} items")
    return results


def may_pass(error: Exception) -> bool:
    """Whether the same may succeed later: also a wrong password may be put right."""
    return isinstance(error, BackendError) and not isinstance(error, BackendRejectedError)
