"""What happened to one event, for people."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any

from futurama.backend import Claim, Settlement
from futurama.conformance.account import Account
from futurama.conformance.history import OPEN_END, UNKNOWN
from futurama.times import to_us

__all__ = ["story"]


def story(account: Account, event_id: str) -> str:
    """Everything that concerns the event, line by line, with times in milliseconds."""
    lines = sorted(_lines(account, event_id))
    return "\n".join(f"{_ms(start)}..{_ms(end)} {text}" for start, end, text in lines)


def _lines(account: Account, event_id: str) -> Iterator[tuple[int, int, str]]:
    def at(instant: Any) -> str:
        us = instant if isinstance(instant, int) else to_us(instant)
        return f"{(us - account.epoch_us) / 1000:.3f}"

    for one in account.creations:
        if one.event_id == event_id:
            text = f"create for {at(one.trigger_us)} {one.data} -> {_brief(one.outcome)}"
            yield one.start, one.end, text
    for answer in account.answers:
        if answer.event_id == event_id:
            what = "cancel" if answer.trigger_us is None else f"move to {at(answer.trigger_us)}"
            yield answer.start, answer.end, f"{what} -> {_brief(answer.outcome)}"
    for call in account.calls:
        if call.event_id == event_id:
            text = f"{call.instance} calls attempt {call.attempt} -> {_brief(call.ending)}"
            yield call.start, call.end, text
    callers = set()
    for step in account.steps:
        if step.event_id == event_id:
            callers.add(step.caller)
            given = ", ".join(
                f"{key}={_brief(value) if not hasattr(value, 'tzinfo') else at(value)}"
                for key, value in step.arguments.items()
                if key != "owner"
            )
            text = f"  {step.caller} {step.kind.value}({given}) -> {_brief(step.outcome)}"
            yield step.start, step.end, text
    for each in account.disturbances:
        if each.instance is None or each.instance in callers:
            stops = ", stopped" if each.stops else ""
            yield each.start, each.end, f"    ({each.instance} is disturbed{stops})"


def _ms(at: int) -> str:
    return "" if at == OPEN_END else f"{at / 1e6:.6f}"


def _brief(value: object) -> str:
    match value:
        case Claim():
            return f"<{value.token.hex()[:4]} attempt {value.attempt}{' lost' * value.lost_before}>"
        case Settlement():
            return f"{value.kind.value} {_brief(value.claim)}"
        case Enum() if value is not UNKNOWN:
            return value.name
        case _:
            return str(value) if len(str(value)) < 60 else type(value).__name__
