"""What the operations return, by type: the mistake of forgetting ``return`` deserves its own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from futurama.backend import AddOutcome, Claim, ClaimBatch, Page, State, StoredEvent
from futurama.events import CancelOutcome, RescheduleOutcome

__all__ = ["unfit_answer"]

_ITEMS: Final[Mapping[str, type]] = {
    "add": AddOutcome,
    "cancel": CancelOutcome,
    "reschedule": RescheduleOutcome,
    "renew": bool,
    "settle": bool,
    "requeue": bool,
}
"""Of what the answer to a batch is a sequence."""


def unfit_answer(operation: str, answer: Any) -> tuple[str, object] | None:
    """What ``operation`` should have returned and what it did; None if the types are right."""
    if operation in _ITEMS:
        item = _ITEMS[operation]
        fits = _is_sequence_of(item, answer)
        return None if fits else (f"a sequence of {item.__name__}", answer)
    if operation == "claim":
        fits = isinstance(answer, ClaimBatch) and _is_sequence_of(Claim, answer.claims)
        return None if fits else ("a ClaimBatch, whose claims are a sequence of Claim", answer)
    if operation == "find":
        fits = isinstance(answer, Page) and _is_sequence_of(StoredEvent, answer.events)
        return None if fits else ("a Page, whose events are a sequence of StoredEvent", answer)
    if operation == "count":
        fits = isinstance(answer, Mapping) and all(isinstance(key, State) for key in answer)
        return None if fits else ("a mapping from State to int", answer)
    if operation == "purge" and type(answer) is not int:
        return "an int", answer
    return None


def _is_sequence_of(item: type, value: object) -> bool:
    return isinstance(value, Sequence) and all(isinstance(one, item) for one in value)
